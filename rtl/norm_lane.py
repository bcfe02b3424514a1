"""A lane of NORM: rows become values, their sums, and normalised results; two lanes a module."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .choose import choose
from .delay import delay
from .multiply import multiply_add
from .norm_format import (
    BIAS_SHIFT,
    CENTRE_BITS,
    GAIN_FRACTION,
    MEAN_BITS,
    MEAN_FRACTION,
    OUTPUT_SHIFT,
    SCORE_BITS,
    SUM_SHIFT,
    VALUE_BITS,
    VALUE_SHIFT,
    first_layout,
    second_layout,
)
from .root import MANTISSA_BITS, root_layout, sums_layout

__all__ = ["NEUTRAL_BIAS", "NormLane", "NormLanePair", "control_layout", "pair_layout"]

NEUTRAL_BIAS = 1 << GAIN_FRACTION - 1
"""The bias with which results are only rounded."""

_FACTOR_BITS = first_layout["sum"].width + 1
_LOW_BITS = SUM_SHIFT - OUTPUT_SHIFT

control_layout = data.StructLayout({
    "x":      first_layout["x"].width,
    "o":      first_layout["o"].width,
    "second": 1,
    "begin":  1,
    "factor": signed(_FACTOR_BITS),
    "bias":   signed(second_layout["bias"].width + 1),
    "take":   1,
    "move":   1,
})
"""All that a lane pair is told; it walks on to the next pair.

``x``, ``o``
    Scales of the row at the lanes; 0 if there is none, which leaves the sums as they are.
``second``
    The rows are those of the second pass. Changes only while no rows are under way.
``begin``
    The row is the first one of a first pass.
``factor``, ``bias``
    In the first pass the scale of the stored sum and :data:`NEUTRAL_BIAS`, in the second the gain
    and the bias plus :data:`NEUTRAL_BIAS`; ``NormLane.FACTOR`` and ``NormLane.BIAS`` cycles after
    their row.
``take``
    Lay out the sums of the rows so far, and await a new root; ``NormLane.SUMS`` cycles after the
    last row.
``move``
    Lay out the sums of the next pair.
"""

pair_layout = data.StructLayout({"valid": 1, "roots": data.ArrayLayout(root_layout, 2)})
"""Roots of a lane pair, on their way past those that have theirs."""


class NormLane(wiring.Component):
    """One lane, a row each cycle, in four DSPs.

    The first two multiply the inputs with their scales. The third squares and adds up the values in
    the first pass, and multiplies them, less the mean, with the root in the second. The fourth
    scales the result, with the bias at its port C. Times are cycles after a row.

    Members
    -------
    x, o : :py:`In(signed(8))`
        A row.
    control : :py:`In(control_layout)`
    root : :py:`In(root_layout)`
        Stable during a second pass.
    sums : :py:`Out(sums_layout)`
        From :attr:`SUMS` on, with those of all rows before.
    result : :py:`Out(signed(8))`
        The stored sum, :attr:`LATENCY` ``[0]`` cycles after a row of the first pass, or what is
        normalised, :attr:`LATENCY` ``[1]`` cycles after one of the second pass.
    """

    _VALUE = 4
    _SCORE = _VALUE + 6
    SUMS = _VALUE + 4
    FACTOR = (_VALUE, _SCORE)
    BIAS = (_VALUE + 1, _SCORE + 1)
    LATENCY = (_VALUE + 4, _SCORE + 4)

    def __init__(self) -> None:
        super().__init__({
            "x":       In(signed(8)),
            "o":       In(signed(8)),
            "control": In(control_layout),
            "root":    In(root_layout),
            "sums":    Out(sums_layout),
            "result":  Out(signed(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        value = self._value(m, platform)
        self._result(m, platform, value, self._score(m, platform, value))
        return m

    def _value(self, m: Module, platform) -> Value:
        """Return the scaled sum of the inputs, at :attr:`_VALUE`; it is 0 without a row."""
        o, o_scale = delay(m, self.o, name="o"), delay(m, self.control.o, name="o_scale")
        width = VALUE_SHIFT + VALUE_BITS
        rounded = multiply_add(m, platform, self.x, Cat(self.control.x, 0).as_signed(),
                               1 << VALUE_SHIFT - 1, width=width, name="rounded")
        value = multiply_add(m, platform, o, Cat(o_scale, 0).as_signed(), rounded, width=width,
                             name="value", addend=0)
        return value[VALUE_SHIFT:][:VALUE_BITS].as_signed()

    def _score(self, m: Module, platform, value: Value) -> Value:
        """Add up the values and their squares; return what is normalised, at :attr:`_SCORE`."""
        second, root = self.control.second, self.root
        number = delay(m, Mux(second, value << MEAN_FRACTION, value)[:MEAN_BITS].as_signed(),
                       name="number")
        factor = delay(m, Mux(second, root.mantissa, value)[:MANTISSA_BITS + 1].as_signed(),
                       name="factor")
        mean = delay(m, Mux(second, root.mean, 0), name="mean")
        centre = (number - mean)[:CENTRE_BITS].as_signed()

        begin = delay(m, self.control.begin, self._VALUE, name="begin")
        begin_squares = delay(m, begin, 3, name="begin_squares")
        first = Signal.like(self.sums.first, reset_less=True)
        m.d.sync += first.eq(Mux(begin, 0, first) + value)
        total = multiply_add(m, platform, centre, factor, keep=~(second | begin_squares), width=48,
                             name="total")  # of squares, or a product by itself
        m.d.comb += [self.sums.first.eq(first), self.sums.second.eq(total)]

        coarse = delay(m, (total >> (root.shift[3:] << 3))[:SCORE_BITS + 7].as_signed(),
                       name="coarse")
        return delay(m, (coarse >> root.shift[:3])[:SCORE_BITS].as_signed(), name="score")

    def _result(self, m: Module, platform, value: Value, score: Value) -> None:
        """Scale a value or what is normalised, and clamp it."""
        second, factor = self.control.second, self.control.factor
        halved = Cat(Const(0, _LOW_BITS), Const(1, 1), score).as_signed()
        gain = factor[:second_layout["gain"].width].as_signed()
        total = multiply_add(m, platform, Mux(second, halved, factor), Mux(second, gain, value),
                             self.control.bias << BIAS_SHIFT + _LOW_BITS, width=48,
                             name="biased")[SUM_SHIFT:].as_signed()
        result = Signal.like(self.result, reset_less=True)
        m.d.sync += result.eq(total)
        with m.If((total > 127) | (total < -127)):
            m.d.sync += result.eq(Mux(total[-1], -127, 127))
        m.d.comb += self.result.eq(result)


class NormLanePair(wiring.Component):
    """Two lanes, the sums that they lay out, and their roots.

    Members
    -------
    x, o : :py:`In(16)`
        A row of both lanes.
    control, control_next : :py:`In(control_layout)`, :py:`Out(control_layout)`
        Control, and the same a cycle later for the next pair.
    sums : :py:`Out(sums_layout).array(2)`
        Sums that are laid out.
    sums_next : :py:`In(sums_layout).array(2)`
        Those of the next pair.
    roots, roots_next : :py:`In(pair_layout)`, :py:`Out(pair_layout)`
        The first roots after ``take`` are kept; others go to the next pair, a cycle later.
    result : :py:`Out(16)`
        Results of both lanes.
    """

    module_name = "heddle_norm_lane_pair"

    def __init__(self) -> None:
        super().__init__({
            "x":            In(16),
            "o":            In(16),
            "control":      In(control_layout),
            "control_next": Out(control_layout),
            "sums":         Out(sums_layout).array(2),
            "sums_next":    In(sums_layout).array(2),
            "roots":        In(pair_layout),
            "roots_next":   Out(pair_layout),
            "result":       Out(16),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        control = self.control
        awaited = Signal()
        passed = Signal(pair_layout)
        m.d.comb += [
            self.control_next.eq(delay(m, control, name="control", reset_less=False)),
            self.roots_next.eq(passed),
        ]
        m.d.sync += [
            awaited.eq(control.take | awaited & ~self.roots.valid),
            passed.eq(self.roots),
            passed.valid.eq(self.roots.valid & ~awaited),
        ]
        for n in range(2):
            m.submodules[f"lane_{n}"] = lane = NormLane()
            root = Signal(root_layout, name=f"root_{n}", reset_less=True)
            sums = Signal(sums_layout, name=f"sums_{n}", reset_less=True)
            m.d.comb += [
                lane.x.eq(self.x.word_select(n, 8)),
                lane.o.eq(self.o.word_select(n, 8)),
                lane.control.eq(control),
                lane.root.eq(root),
                self.sums[n].eq(sums),
                self.result.word_select(n, 8).eq(lane.result),
            ]
            with m.If(awaited & self.roots.valid):
                m.d.sync += root.eq(self.roots.roots[n])
            with m.If(control.take | control.move):
                m.d.sync += sums.eq(choose(m, platform, control.take, lane.sums, self.sums_next[n],
                                           name=f"laid_out_{n}"))
        return m
