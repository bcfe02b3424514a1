"""All lanes of NORM, and the root that they share."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .isa import Opcode, instruction_layout
from .norm_format import first_layout, second_layout
from .norm_lane import NEUTRAL_BIAS, NormLane, NormLanePair, control_layout, pair_layout
from .root import Root
from .target import place

__all__ = ["NormLanes", "feature_layout"]


def feature_layout(lanes: int) -> data.StructLayout:
    """A row: vectors of the two inputs, and the parameters of the pass in which it is."""
    return data.StructLayout({"x": 8 * lanes, "o": 8 * lanes, "params": first_layout.size})


class NormLanes(wiring.Component):
    """Two passes over the rows of a tile, a row each cycle if they come so fast.

    Parameters and control walk from lane pair to lane pair; rows are skewed to go with them, and
    results set straight again. At the end of the first pass the sums of the lanes leave one after
    the other for the shared :class:`~heddle.rtl.root.Root`, and their roots come back.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes; even.

    Members
    -------
    job : :py:`In(instruction_layout(Opcode.NORM))`
        Stable while rows are under way.
    second : :py:`In(1)`
        The rows are those of the second pass. Changes only while no rows are under way.
    valid : :py:`In(1)`
        There is a row.
    row : :py:`In(feature_layout(lanes))`
    first, last : :py:`In(1)`
        The row is the first, or the last, of its pass.
    rooted : :py:`Out(1)`
        High for one cycle, :attr:`root_latency` cycles after the last row of a first pass: the
        second pass may begin from the next cycle on.
    stored : :py:`Out(1)`
        ``result`` is a row to store: the sum or what is normalised, at most :attr:`latency` cycles
        after its inputs.
    result : :py:`Out(8 * lanes)`

    Raises
    ------
    ValueError
        If ``lanes`` is not a positive even number.
    """

    def __init__(self, lanes: int):
        if lanes <= 0 or lanes % 2:
            raise ValueError(f"Lanes must be a positive even number, not {lanes}")
        self.lanes = lanes
        self.pairs = lanes // 2
        super().__init__({
            "job":    In(instruction_layout(Opcode.NORM)),
            "second": In(1),
            "valid":  In(1),
            "row":    In(feature_layout(lanes)),
            "first":  In(1),
            "last":   In(1),
            "rooted": Out(1),
            "stored": Out(1),
            "result": Out(8 * lanes),
        })

    @property
    def latency(self) -> int:
        """Most cycles from a row to its result."""
        return NormLane.LATENCY[1] + self.pairs - 1

    @property
    def root_latency(self) -> int:
        """Cycles from the last row of a first pass to ``rooted``."""
        return NormLane.SUMS + self.lanes + Root.LATENCY

    def elaborate(self, platform) -> Module:
        m = Module()
        pairs = [NormLanePair() for _ in range(self.pairs)]
        control = Signal(control_layout)
        self._tell(m, control)
        roots = self._root(m, control, pairs[0].sums)
        x, o, result = self.row.x, self.row.o, Const(0, 0)
        for n, pair in enumerate(pairs):
            m.submodules[f"pair_{n}"] = place(pair, platform)
            m.d.comb += [pair.control.eq(control), pair.roots.eq(roots),
                         pair.x.eq(x[:16]), pair.o.eq(o[:16])]
            # What is left of the row goes on, and so do the results so far.
            if n + 1 < self.pairs:
                m.d.comb += Cat(pair.sums_next).eq(Cat(pairs[n + 1].sums))
                x, o = delay(m, x[16:], name=f"x_{n}"), delay(m, o[16:], name=f"o_{n}")
            result = Cat(delay(m, result, name=f"result_{n}") if n else result, pair.result)
            control, roots = pair.control_next, pair.roots_next
        m.d.comb += self.result.eq(result)
        results = [self.valid & ~self.second & self.job.sum, self.valid & self.second]
        m.d.comb += self.stored.eq(Cat(
            delay(m, result, latency + self.pairs - 1, name=f"stored_{latency}", reset_less=False)
            for result, latency in zip(results, NormLane.LATENCY, strict=True)).any())
        return m

    def _tell(self, m: Module, control: data.View) -> None:
        """Make the control of pair 0 of the parameters of a row."""
        first, second = (data.View(layout, self.row.params)
                         for layout in (first_layout, second_layout))
        factors = [delay(m, factor, time - 1, name=f"factor_{time}")
                   for factor, time in zip((first.sum, second.gain), NormLane.FACTOR, strict=True)]
        bias = delay(m, second.bias, NormLane.BIAS[1] - 1, name="bias_before")
        m.d.comb += [
            control.x.eq(Mux(self.valid, first.x, 0)),
            control.o.eq(Mux(self.valid & self.job.residual, first.o, 0)),
            control.second.eq(self.second),
            control.begin.eq(self.valid & self.first & ~self.second),
            control.factor.eq(delay(m, Mux(self.second, factors[1], factors[0]), name="factor")),
            control.bias.eq(delay(m, Mux(self.second, bias, 0) + NEUTRAL_BIAS, name="bias")),
        ]

    def _root(self, m: Module, control: data.View, sums) -> Signal:
        """Send the sums that pair 0 lays out through the root; return the roots of pairs."""
        m.submodules.root = root = Root()
        left = Signal(range(self.lanes + 1))  # lanes whose sums have not gone in
        end = self.valid & self.last & ~self.second & self.job.norm
        odd = left[0]
        m.d.comb += [
            control.take.eq(delay(m, end, NormLane.SUMS, name="take", reset_less=False)),
            control.move.eq(odd),
            root.job.eq(self.job),
            root.sums.eq(Mux(odd, sums[1], sums[0])),
            self.rooted.eq(delay(m, left == 1, Root.LATENCY, name="rooted", reset_less=False)),
        ]
        with m.If(left.any()):
            m.d.sync += left.eq(left - 1)
        with m.If(control.take):
            m.d.sync += left.eq(self.lanes)

        roots = Signal(pair_layout)
        m.d.sync += [
            roots.valid.eq(delay(m, odd, Root.LATENCY, name="odd", reset_less=False)),
            roots.roots[0].eq(delay(m, root.root, name="even_root")),
            roots.roots[1].eq(root.root),
        ]
        return roots
