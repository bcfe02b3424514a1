"""Reads the lists of sparse blocks from the pool and makes entries of them."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .delay import delay
from .fields import FieldReader
from .scratchpad import PoolReader

__all__ = ["ListLoader", "block_layout", "entry_layout"]


def block_layout(pool_bits: int) -> data.StructLayout:
    """A block with a list: its gaps from word ``gaps`` on, ``steps`` of them, ``wide`` or not.

    Selectors follow. The list is gone through once for each of the ``tiles`` of the block.
    """
    return data.StructLayout({"gaps": pool_bits, "steps": 16, "tiles": 16, "wide": 1})


def entry_layout(*, rows: int, depth: int, steps: int, candidates: int) -> data.StructLayout:
    """A step of a list: for each slot the address that it visits, for each weight its candidate."""
    bits = exact_log2(candidates)
    return data.StructLayout({
        "addresses": data.ArrayLayout(range(steps), depth),
        "selectors": unsigned(bits * depth * rows),
    })


class ListLoader(wiring.Component):
    """Reads the lists of blocks from the pool and adds up their gaps, a step a cycle.

    Parameters
    ----------
    entry : :class:`~amaranth.lib.data.StructLayout`
        Layout of an entry (:func:`entry_layout`).
    selector_bits : :class:`int`
        Bits of a selector in the pool, 0 if there are none.
    rows, depth, pool_bits : :class:`int`
        Sizes of a pool word and width of its address.

    Members
    -------
    i : :py:`In(stream.Signature(block_layout(pool_bits)))`
    pool : :py:`Out(PoolReader(...)).array(readers)`
        Reads gaps and, if there are any, selectors.
    room : :py:`In(1)`
        Another entry may follow.
    taken : :py:`Out(1)`
        It does, in the next cycle.
    valid, entry : Out
        An entry.
    ready : :py:`Out(1)`
        High for one cycle for each block: from the second cycle on, what is still missing of it
        comes one entry a cycle as long as there is room, once the blocks before it have ended.
    """

    AHEAD = 32
    """Words that are asked for ahead of their use, of either kind: as many as fit the smallest
    distributed RAM. Of lists that long all words may come before the first entry is used."""

    def __init__(self, entry: data.StructLayout, *, selector_bits: int, rows: int, depth: int,
                 pool_bits: int):
        self.rows = rows
        self.depth = depth
        self.pool_bits = pool_bits
        self.selector_bits = selector_bits
        self.readers = 2 if selector_bits else 1
        super().__init__({
            "i":     In(stream.Signature(block_layout(pool_bits))),
            "pool":  Out(PoolReader(pool_bits, 8 * rows * depth)).array(self.readers),
            "room":  In(1),
            "taken": Out(1),
            "valid": Out(1),
            "entry": Out(entry),
            "ready": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        sizes = {"words": self.AHEAD, "pool_bits": self.pool_bits,
                 "word_bits": 8 * self.rows * self.depth}
        m.submodules.gaps = gaps = FieldReader((4 * self.depth, 8 * self.depth), **sizes)
        readers = [gaps]
        block = self.i.p
        # Narrow gaps of 2 · rows steps fill a word.
        selectors_at = block.gaps + Mux(
            block.wide, (block.steps + self.rows - 1) >> exact_log2(self.rows),
            (block.steps + 2 * self.rows - 1) >> exact_log2(2 * self.rows))
        if self.selector_bits:
            m.submodules.selectors = selectors = FieldReader(
                (self.selector_bits * self.depth * self.rows,), **sizes)
            readers.append(selectors)
            m.d.sync += self._selectors(self.entry.selectors, selectors.o.p.bits)
        for reader, pool, addr in zip(readers, self.pool, (block.gaps, selectors_at)):
            wiring.connect(m, reader.pool, wiring.flipped(pool))
            m.d.comb += [reader.i.valid.eq(self.i.valid & self.i.ready),
                         reader.i.p.addr.eq(addr), reader.i.p.steps.eq(block.steps),
                         reader.o.ready.eq(self.taken)]
        m.d.comb += [
            gaps.i.p.size.eq(block.wide),
            self.i.ready.eq(Cat(reader.i.ready for reader in readers).all()),
            self.taken.eq(self.room & Cat(reader.o.valid for reader in readers).all()),
        ]
        field = gaps.o.p
        for n, address in enumerate(self.entry.addresses):
            gap = Mux(field.size, field.bits.word_select(n, 8), field.bits.word_select(n, 4))
            with m.If(self.taken):
                m.d.sync += address.eq(Mux(field.first, 0, address) + gap)
        m.d.sync += self.valid.eq(self.taken)
        self._tell(m, [reader.ending for reader in readers])
        return m

    def _selectors(self, selectors: Value, fields: Value) -> list:
        """A selector in the pool may have a bit more than it needs."""
        count = self.depth * self.rows
        width = len(selectors) // count
        return [selectors.word_select(n, width).eq(fields.word_select(n, self.selector_bits))
                for n in range(count)]

    def _tell(self, m: Module, endings: list[Value]) -> None:
        """A block is ready when the last words of all its parts have come."""
        counts = [Signal(range(self.AHEAD + 1), name=f"ended_{n}") for n in range(len(endings))]
        ready = Cat(count.any() for count in counts).all()
        m.d.comb += self.ready.eq(delay(m, ready, 2, name="ready", reset_less=False))
        m.d.sync += [count.eq(count + ending - ready) for count, ending in zip(counts, endings)]
