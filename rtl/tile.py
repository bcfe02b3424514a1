"""Assembles rows to tiles and writes the tiles to the scratchpad, in one of three layouts."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .isa import TOKENS, Layout
from .scratchpad import PoolWriter

__all__ = ["TileBuffer", "TileWriter", "target_layout"]


def target_layout(pool_bits: int) -> data.StructLayout:
    """Where a tile goes: address ``c``, ``part_stride``, ``layout``, and the tokens to ``give``."""
    return data.StructLayout({"c": pool_bits, "part_stride": pool_bits, "layout": 2,
                              "give": TOKENS})


def _order(layout: Layout, rows: int, lanes: int) -> list[int]:
    """Return for each byte of a tile's words, in order, which byte of the tile it is."""
    if layout == Layout.BLOCKS:
        return [row * lanes + part + lane
                for part in range(0, lanes, rows) for row in range(rows) for lane in range(rows)]
    if layout == Layout.TRANSPOSED:
        return [row * lanes + lane for lane in range(lanes) for row in range(rows)]
    return list(range(rows * lanes))


class TileBuffer(wiring.Component):
    """Two tiles: one shifts in row by row, the other, in its final order, out word by word.

    The change of order costs one 4:1 multiplexer a bit: a layout each, or shift.

    Parameters
    ----------
    rows, lanes : :class:`int`
        Size of a tile.
    depth : :class:`int`
        A word has ``depth · rows`` bytes.

    Members
    -------
    i : :py:`In(8 * lanes)`
        A row each cycle.
    last : :py:`In(1)`
        The row is the last of a tile. The tile before must have left: not again within ``rows``
        cycles.
    layout : :py:`In(2)`
        Layout of that tile.
    o : :py:`Out(8 * depth * rows)`
        Word ``w`` of a tile is here :attr:`LATENCY` ``+ w`` cycles after its last row.
    """

    LATENCY = 2

    def __init__(self, *, rows: int, lanes: int, depth: int):
        self.rows = rows
        self.lanes = lanes
        self.depth = depth
        super().__init__({
            "i":      In(8 * lanes),
            "last":   In(1),
            "layout": In(2),
            "o":      Out(8 * depth * rows),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        vector_bits = 8 * self.lanes
        word_vectors = self.depth * self.rows // self.lanes
        tile, words = ([Signal(vector_bits, name=f"{name}_{n}", reset_less=True)
                        for n in range(self.rows)] for name in ("row", "vector"))
        m.d.sync += [row.eq(source) for row, source in zip(tile, [*tile[1:], self.i], strict=True)]
        m.d.comb += self.o.eq(Cat(words[:word_vectors]))

        flat = Cat(tile)
        orders = {layout: _order(layout, self.rows, self.lanes) for layout in Layout}
        for n, vector in enumerate(words):
            # Each vector has its own register that tells it what to do: 4:1 but a fan-out of one
            # vector. Synthesis would make them one again.
            load = Signal(range(len(Layout) + 1), name=f"load_{n}", attrs={"keep": "true"})
            m.d.sync += load.eq(Mux(self.last, self.layout + 1, 0))
            with m.Switch(load):
                for layout, order in orders.items():
                    with m.Case(layout + 1):
                        part = order[n * self.lanes:(n + 1) * self.lanes]
                        m.d.sync += vector.eq(Cat(flat.word_select(byte, 8) for byte in part))
                with m.Default():
                    if n + word_vectors < self.rows:
                        m.d.sync += vector.eq(words[n + word_vectors])
        return m


class TileWriter(wiring.Component):
    """Writes the tiles that a :class:`TileBuffer` assembles, a word a cycle.

    The pool must accept each word in the cycle in which it is offered.

    Parameters
    ----------
    rows, lanes, depth : :class:`int`
        As for :class:`TileBuffer`.
    pool_bits : :class:`int`
        Width of a pool address.

    Members
    -------
    i, last : In
        Rows, as for :class:`TileBuffer`.
    target : :py:`In(stream.Signature(target_layout(pool_bits)))`
        Where each tile goes; offered no later than its last row, and taken after that.
    pool : :py:`Out(PoolWriter(pool_bits, 8 * depth * rows))`
    done : :py:`Out(1)`
        High for one cycle after the last word of a tile was written.
    give : :py:`Out(32)`
        In that cycle, the tokens to give; otherwise 0.
    """

    def __init__(self, *, rows: int, lanes: int, depth: int, pool_bits: int):
        self._buffer = TileBuffer(rows=rows, lanes=lanes, depth=depth)
        self.words = lanes // depth
        self.part_words = rows // depth
        super().__init__({
            "i":      In(8 * lanes),
            "last":   In(1),
            "target": In(stream.Signature(target_layout(pool_bits))),
            "pool":   Out(PoolWriter(pool_bits, 8 * depth * rows)),
            "done":   Out(1),
            "give":   Out(TOKENS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.buffer = buffer = self._buffer
        request, target = self.pool.request, self.target.p
        m.d.comb += [
            buffer.i.eq(self.i),
            buffer.last.eq(self.last),
            buffer.layout.eq(target.layout),
            request.p.data.eq(buffer.o),
        ]

        part, stride = Signal.like(target.c), Signal.like(target.part_stride)
        blocks, tokens = Signal(), Signal.like(target.give)
        index = Signal(range(self.words))
        end, end_part = Signal(), Signal()
        addr = Signal.like(target.c)
        m.d.comb += [
            end.eq(request.valid & (index == self.words - 1)),
            end_part.eq(blocks & (index[:exact_log2(self.part_words)].all())),
            request.p.addr.eq(addr),
        ]
        m.d.sync += [
            self.target.ready.eq(self.last),
            self.done.eq(end),
            self.give.eq(Mux(end, tokens, 0)),
            index.eq(index + 1),
            addr.eq(Mux(end_part, part, addr + 1)),
        ]
        with m.If(end_part):
            m.d.sync += part.eq(part + stride)
        with m.If(end):
            m.d.sync += request.valid.eq(0)
        with m.If(self.target.ready):
            m.d.sync += [
                request.valid.eq(1), index.eq(0), addr.eq(target.c),
                part.eq(target.c + target.part_stride), stride.eq(target.part_stride),
                blocks.eq(target.layout == Layout.BLOCKS), tokens.eq(target.give),
            ]
        if platform is None:  # plain Verilog has no assertions
            m.d.sync += [
                Assert(~request.valid | request.ready, "The pool made the drain wait"),
                Assert(~self.target.ready | self.target.valid, "A tile came without its target"),
            ]
        return m
