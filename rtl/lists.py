"""The lists of sparse blocks, on their way from the pool to the steps of the array."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .fifo import StreamFifo
from .list_loader import ListLoader, block_layout, entry_layout
from .ram import TwoPortRam

__all__ = ["ListRing", "Lists"]


class ListRing(wiring.Component):
    """Holds the lists of the next few blocks and hands out each as often as the block has tiles.

    Parameters
    ----------
    entry : :class:`~amaranth.lib.data.StructLayout`
        Layout of an entry.
    steps : :class:`int`
        Entries that fit, and so those of the longest list; a power of two from 16 up.

    Members
    -------
    taken, valid, entry : In
        As of :class:`~heddle.rtl.list_loader.ListLoader`.
    room : :py:`Out(1)`
        Another entry fits.
    block : :py:`In(stream.Signature({"steps": 16, "tiles": 16}))`
        The blocks, in the order of their entries.
    ready : :py:`In(1)`
        Another block is ready, as in the loader.
    o : :py:`Out(stream.Signature(entry))`
        Entries. Once the first one of a list is there, the others come as fast as they are taken.
    """

    BLOCKS = 8
    """Blocks that wait at most."""

    AHEAD = 8
    """Entries that are read ahead of their use: more than the cycles that reading takes."""

    def __init__(self, entry: data.StructLayout, steps: int):
        self.steps = steps
        super().__init__({
            "taken": In(1),
            "valid": In(1),
            "entry": In(entry),
            "room":  Out(1),
            "block": In(stream.Signature(data.StructLayout({"steps": 16, "tiles": 16}))),
            "ready": In(1),
            "o":     Out(stream.Signature(entry)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        layout = self.entry.shape()
        m.submodules.ram = ram = TwoPortRam(layout.size, self.steps)
        m.submodules.blocks = blocks = StreamFifo(self.block.p.shape(), depth=self.BLOCKS)
        m.submodules.queue = queue = StreamFifo(layout, depth=self.AHEAD)
        wiring.connect(m, wiring.flipped(self.block), blocks.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        free = Signal(range(self.steps + 1), init=self.steps)
        ahead = Signal(range(self.AHEAD + 1), init=self.AHEAD)
        begin, place = Signal.like(ram.read_addr), Signal.like(ram.read_addr)
        block = Signal.like(blocks.o.p)
        left = Signal.like(block.steps)
        reads, last_step, last_tile = Signal(), left == 1, block.tiles == 1
        waiting = Signal(range(self.BLOCKS + 1))
        m.d.comb += [
            ram.write_en.eq(self.valid), ram.write_data.eq(self.entry),
            ram.read_addr.eq(place),
            reads.eq(left.any() & ahead.any()),
            blocks.o.ready.eq(waiting.any() & ((left == 0) | reads & last_step & last_tile)),
            queue.i.valid.eq(delay(m, reads, 2, name="read", reset_less=False)),
            Value.cast(queue.i.payload).eq(ram.read_data),
        ]
        begins = blocks.o.valid & blocks.o.ready
        m.d.sync += [
            ram.write_addr.eq(ram.write_addr + self.valid),
            # In the last tile an entry is not needed again. Its place shows a cycle later.
            free.eq(free + (reads & last_tile) - self.taken),
            self.room.eq((free > 1) | (free.any() & ~self.taken)),
            ahead.eq(ahead + (queue.o.valid & queue.o.ready) - reads),
            waiting.eq(waiting + self.ready - begins),
        ]
        with m.If(reads):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
            with m.If(last_step):
                m.d.sync += block.tiles.eq(block.tiles - 1)
                with m.If(~last_tile):
                    m.d.sync += [place.eq(begin), left.eq(block.steps)]
        with m.If(begins):
            m.d.sync += [block.eq(blocks.o.p), left.eq(blocks.o.p.steps),
                         begin.eq(place + reads)]
        return m


class Lists(wiring.Component):
    """:class:`ListLoader` and :class:`ListRing`: from blocks to the entries of their steps.

    A list is read from the pool once, ahead of its use by as many blocks as fit. Across blocks
    and tiles there is an entry in every cycle, if the pool answers in time.

    Parameters
    ----------
    rows, depth, steps, candidates, selector_bits, pool_bits : :class:`int`
        As of :func:`entry_layout`, :class:`ListRing` and :class:`ListLoader`.

    Members
    -------
    i : :py:`In(stream.Signature(block_layout(pool_bits)))`
        Blocks, with lists of 1 to ``steps`` steps.
    pool : :py:`Out(PoolReader(...)).array(readers)`
    o : :py:`Out(stream.Signature(entry_layout(...)))`
        The entries of each block, over again for each of its tiles; as of :class:`ListRing`.
    """

    def __init__(self, *, rows: int, depth: int, steps: int, candidates: int, selector_bits: int,
                 pool_bits: int):
        entry = entry_layout(rows=rows, depth=depth, steps=steps, candidates=candidates)
        self._loader = ListLoader(entry, selector_bits=selector_bits, rows=rows, depth=depth,
                                  pool_bits=pool_bits)
        self._ring = ListRing(entry, steps)
        super().__init__({
            "i":    In(stream.Signature(block_layout(pool_bits))),
            "pool": self._loader.signature.members["pool"],
            "o":    Out(stream.Signature(entry)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.loader = loader = self._loader
        m.submodules.ring = ring = self._ring
        for reader, pool in zip(loader.pool, self.pool):
            wiring.connect(m, reader, wiring.flipped(pool))
        wiring.connect(m, ring.o, wiring.flipped(self.o))
        m.d.comb += [
            loader.i.valid.eq(self.i.valid & ring.block.ready),
            loader.i.p.eq(self.i.p),
            ring.block.valid.eq(self.i.valid & loader.i.ready),
            ring.block.p.steps.eq(self.i.p.steps),
            ring.block.p.tiles.eq(self.i.p.tiles),
            self.i.ready.eq(loader.i.ready & ring.block.ready),
            loader.room.eq(ring.room),
            ring.taken.eq(loader.taken), ring.valid.eq(loader.valid),
            ring.entry.eq(loader.entry), ring.ready.eq(loader.ready),
        ]
        return m
