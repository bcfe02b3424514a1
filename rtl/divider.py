"""The divider: sums of probabilities become the factors of two lanes."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .lanes import factor_layout

__all__ = ["FACTOR_EXPONENT", "SUM_FRACTION", "TOTAL_BITS", "Divider"]

TOTAL_BITS = 28
"""Width of a sum of probabilities."""

SUM_FRACTION = 4
"""Bits by which sums of probabilities are finer than sums of values."""

FACTOR_EXPONENT = 19
"""Shift of a factor less that of the gain, for a sum that needs no normalisation."""

_MULTIPLIER_BITS = factor_layout["multiplier"].width
_DIVISOR_BITS = TOTAL_BITS - SUM_FRACTION


class Divider(wiring.Component):
    """Serial division of a gain by two totals, one after the other.

    A total is first normalised: shifted left by ``z`` bits until its highest bit is set, its upper
    24 bits being the divisor ``n``. Then ``gain · 2^24 / n``, rounded down, is developed bit by
    bit; if it has 18 bits (``e`` = 1) the last one is left out, so that 17 remain: the multiplier.
    The shift is ``exponent - z - e``, saturated to 6 bits. A total of 0 gives 0 and 0.

    Normalisation of the second total overlaps with the division by the first. Another ``load`` may
    follow :attr:`DISTANCE` cycles after the last. Times are cycles after ``load``.

    Members
    -------
    total : :py:`In(28)`
        The totals: the first at 0, the second at 1. If not 0 they are at least 2^14.
    gain : :py:`In(17)`
        At least 2^16; stable from 0 to :attr:`HELD`.
    exponent : :py:`In(7)`
        Stable likewise.
    load : :py:`In(1)`
        Start.
    divide : :py:`In(1)`
        At :attr:`DIVIDE`.
    finish : :py:`In(1)`
        At each of :attr:`FINISH`.
    factors : :py:`Out(factor_layout).array(2)`
        From :attr:`LATENCY` on, until the first ``finish`` after another ``load``.
    """

    _NORMALISE = 13  # from 2^14 to 2^27
    _BITS = _MULTIPLIER_BITS + 1

    DISTANCE = 2 * (_BITS + 1)
    DIVIDE = _NORMALISE + 1
    FINISH = (DIVIDE + _BITS, DIVIDE + 2 * _BITS + 1)
    HELD = FINISH[0] + 1
    LATENCY = FINISH[1] + 2

    def __init__(self) -> None:
        super().__init__({
            "total":    In(TOTAL_BITS),
            "gain":     In(_MULTIPLIER_BITS),
            "exponent": In(7),
            "load":     In(1),
            "divide":   In(1),
            "finish":   In(1),
            "factors":  Out(factor_layout).array(2),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        turn = delay(m, self.finish, name="turn", reset_less=False)
        load = Signal()
        normal, zeros = self._normalise(m)
        divisor = Signal(_DIVISOR_BITS, reset_less=True)
        exponent, places = Signal.like(self.exponent, reset_less=True), Signal.like(zeros)
        remainder = Signal(signed(_DIVISOR_BITS + 1), reset_less=True)
        quotient = Signal(_MULTIPLIER_BITS, reset_less=True)
        more, shorter = Signal(), Signal(reset_less=True)

        # Without restoring: a negative remainder is made good by adding the divisor next time.
        trial = Signal.like(remainder)
        subtract = ~remainder[-1]
        operand = Cat(divisor ^ subtract.replicate(_DIVISOR_BITS), subtract).as_signed()
        m.d.comb += [
            load.eq(self.divide | turn),
            trial.eq(Cat(subtract, remainder).as_signed() + operand),
            more.eq(~(self.finish & quotient[-1])),
        ]
        m.d.sync += [remainder.eq(trial), shorter.eq(quotient[-1])]
        with m.If(more):
            m.d.sync += quotient.eq(Cat(~trial[-1], quotient))
        with m.If(load):
            m.d.sync += [
                divisor.eq(normal[SUM_FRACTION:]),
                places.eq(zeros),
                remainder.eq(self.gain << _DIVISOR_BITS - self._BITS),
            ]
        with m.If(self.divide):
            m.d.sync += exponent.eq(self.exponent)
        shift = exponent - (places + shorter)
        self._deliver(m, turn, ~divisor[-1], quotient, shift)
        return m

    def _normalise(self, m: Module) -> tuple[Signal, Signal]:
        """Return the total, shifted left as far as possible by now, and by how many places."""
        normal, second = (Signal(TOTAL_BITS, name=name, reset_less=True)
                          for name in ("normal", "second"))
        zeros = Signal(range(self._NORMALISE + 1), reset_less=True)
        load, less = Signal(), Signal()
        m.d.comb += [load.eq(self.load | self.divide), less.eq(load | ~normal[-1])]
        with m.If(delay(m, self.load, name="loaded", reset_less=False)):
            m.d.sync += second.eq(self.total)
        with m.If(less):
            m.d.sync += [normal.eq(normal << 1), zeros.eq(zeros + 1)]
        with m.If(load):
            m.d.sync += [normal.eq(Mux(self.load, self.total, second)), zeros.eq(0)]
        return normal, zeros

    def _deliver(self, m: Module, turn: Value, none: Value, multiplier: Value,
                 shift: Value) -> None:
        """Store a factor behind the one before; together they are those of both lanes."""
        first, second = (Signal(factor_layout, name=f"factor_{n}", reset_less=True)
                         for n in range(2))
        bits = factor_layout["shift"].width
        clear = Signal()
        m.d.comb += clear.eq(turn & none)
        with m.If(turn):
            m.d.sync += [
                first.eq(second),
                second.multiplier.eq(multiplier),
                second.shift.eq(Mux(shift[-1], 0, shift | shift[bits].replicate(bits))),
            ]
        with m.If(clear):
            m.d.sync += second.eq(0)
        m.d.comb += [self.factors[0].eq(first), self.factors[1].eq(second)]
