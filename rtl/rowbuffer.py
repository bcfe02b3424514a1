"""Turns tiles that leave the array two rows a cycle into tiles of a row a cycle."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .choose import choose
from .delay import delay
from .target import place

__all__ = ["RowBuffer", "RowBufferPair"]


class RowBufferPair(wiring.Component):
    """The part of a :class:`RowBuffer` for two lanes.

    Members
    -------
    start : :py:`In(1)`
        Rows 0 and 1 of a tile are at ``i`` in the next cycle.
    start_next : :py:`Out(1)`
        ``start`` one cycle later, for the next pair.
    i : :py:`In(signed(32)).array(2, 2)`
        Both lanes of two rows.
    o : :py:`Out(signed(32)).array(2)`
        Both lanes of a row.
    """

    def __init__(self, rows: int):
        self.rows = rows
        super().__init__({
            "start":      In(1),
            "start_next": Out(1),
            "i":          In(signed(32)).array(2, 2),
            "o":          Out(signed(32)).array(2),
        })

    @property
    def module_name(self) -> str:
        """Name that equal pairs share."""
        return f"heddle_row_buffer_r{self.rows}"

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ram = ram = memory.Memory(
            shape=data.ArrayLayout(64, 2), depth=self.rows // 2, init=[],
            attrs={"ram_style": "distributed"})
        write, read = ram.write_port(), ram.read_port(domain="comb")
        row, writing = Signal(range(self.rows)), Signal()
        both = Signal(64, reset_less=True)
        m.d.comb += [
            self.start_next.eq(delay(m, self.start, name="start", reset_less=False)),
            write.en.eq(writing),
            *(write.data[n].eq(Cat(self.i[n])) for n in range(2)),
            read.addr.eq(row[1:]),
            Cat(self.o).eq(both),
        ]
        m.d.sync += [
            writing.eq(self.start | writing & (write.addr != self.rows // 2 - 1)),
            write.addr.eq(Mux(self.start, 0, write.addr + 1)),
            row.eq(Mux(self.start_next, 0, row + 1)),
            both.eq(choose(m, platform, row[0], read.data[1], read.data[0], name="one")),
        ]
        return m


class RowBuffer(wiring.Component):
    """Halves the rate of rows. It holds as much of a tile as is ahead of its output.

    Parameters
    ----------
    rows, lanes : :class:`int`
        Size of a tile; both are even.

    Members
    -------
    start : :py:`In(1)`
        Rows 0 and 1 of a tile are at lane 0 of ``i`` in the next cycle. Not again within ``rows``
        cycles; what else is at ``i`` after the tile does not matter.
    i : :py:`In(signed(32)).array(2, lanes)`
        Two rows a cycle; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    o : :py:`Out(signed(32)).array(lanes)`
        A row a cycle, with the same skew: row ``r`` is at lane 0 :attr:`LATENCY` ``+ r`` cycles
        after row 0 was at ``i``.
    """

    LATENCY = 2

    def __init__(self, *, rows: int, lanes: int):
        self.rows = rows
        self.lanes = lanes
        super().__init__({
            "start": In(1),
            "i":     In(signed(32)).array(2, lanes),
            "o":     Out(signed(32)).array(lanes),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        start = self.start
        for p in range(self.lanes // 2):
            pair = RowBufferPair(self.rows)
            m.submodules[f"pair_{p}"] = place(pair, platform)
            m.d.comb += pair.start.eq(start)
            for lane in range(2):
                m.d.comb += [pair.i[row][lane].eq(self.i[row][2 * p + lane]) for row in range(2)]
                m.d.comb += self.o[2 * p + lane].eq(pair.o[lane])
            start = pair.start_next
        return m
