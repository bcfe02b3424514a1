"""A stage of the columns on which drained totals leave the systolic array."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay import delay

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Puts one of a few rows, or what comes from the rows above them, on its way down.

    ``below`` shows the chosen input of the cycle before. The choice walks along the lanes: it is
    for the first pair, and a cycle later for the next one. Three rows and what comes from above are
    as many inputs as a LUT chooses from.

    Parameters
    ----------
    pairs : :class:`int`
        Pairs of lanes.
    rows : :class:`int`
        Rows to choose from, at most :attr:`most`.

    Members
    -------
    choice : :py:`In(2)`
        Number of the row counted from 1, or 0 for ``above``.
    above : :py:`In(64).array(pairs)`
        What comes from the rows above.
    data : :py:`In(64).array(rows, pairs)`
        What the rows show.
    below : :py:`Out(64).array(pairs)`
        For the rows below.

    Raises
    ------
    ValueError
        If ``rows`` is out of range.
    """

    most = 3

    def __init__(self, pairs: int, rows: int):
        if not 1 <= rows <= self.most:
            raise ValueError(f"rows must be between 1 and {self.most}, not {rows}")
        self.pairs = pairs
        self.rows = rows
        super().__init__({
            "choice": In(2),
            "above":  In(64).array(pairs),
            "data":   In(64).array(rows, pairs),
            "below":  Out(64).array(pairs),
        })

    @property
    def module_name(self) -> str:
        """Name of the module that all equal collectors share."""
        return f"heddle_collector_p{self.pairs}_r{self.rows}"

    def elaborate(self, platform) -> Module:
        m = Module()
        choice = self.choice
        for pair in range(self.pairs):
            inputs = Array([self.above[pair], *(row[pair] for row in self.data)])
            m.d.comb += self.below[pair].eq(delay(m, inputs[choice], name=f"below_{pair}"))
            choice = delay(m, choice, name=f"choice_{pair}")
        return m
