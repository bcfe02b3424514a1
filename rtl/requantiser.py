"""Requantisation of a lane: bias or rounding, multiplication, shift and saturation."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay import delay

__all__ = ["FACTOR_ROUND", "FACTOR_SHIFT", "SUM_BITS", "Requantiser"]

SUM_BITS = 27
"""Width of the signed sum of accumulator and bias, to which it saturates: a DSP's A operand."""

FACTOR_SHIFT = 5
"""Fraction bits of an accumulator that a factor of its lane does not see."""

FACTOR_ROUND = 1 << FACTOR_SHIFT - 1
"""Added to such an accumulator, so that dropping these bits rounds."""


class Requantiser(wiring.Component):
    """One lane: ``(i + bias)·multiplier / 2^(shift+1)``, ties away from zero, within ±127.

    The sum saturates to :data:`SUM_BITS` bits first. With ``factor`` it is
    ``(i + FACTOR_ROUND) >> FACTOR_SHIFT`` instead. A value is accepted each cycle; its result
    follows :attr:`LATENCY` cycles later. The multiplication takes one DSP with all its registers:
    subtracting 1 from a negative product (port C) makes rounding half up one half away from zero.
    The shift drops to the 9 bits that decide the result in three steps of 4:1 multiplexers.

    Members
    -------
    i, bias : :py:`In(signed(32))`
    factor : :py:`In(1)`
        Ignore the bias and drop :data:`FACTOR_SHIFT` bits of ``i``, which must be less than
        2^31 − :data:`FACTOR_ROUND`.
    multiplier : :py:`In(17)`
        :attr:`MULTIPLIER_DELAY` cycles after ``i``.
    shift : :py:`In(2).array(3)`
        Bits 5:4, 3:2 and 1:0 of the shift; item ``n`` is :attr:`SHIFT_DELAY` + ``n`` cycles after
        ``i``.
    o : :py:`Out(signed(8))`
    """

    MULTIPLIER_DELAY = 2
    SHIFT_DELAY = 5
    LATENCY = 10

    def __init__(self) -> None:
        super().__init__({
            "i":          In(signed(32)),
            "bias":       In(signed(32)),
            "factor":     In(1),
            "multiplier": In(17),
            "shift":      In(2).array(3),
            "o":          Out(signed(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        value, over = self._shift(m, self._product(m))
        rounded = Signal(signed(9), reset_less=True)
        lost, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            rounded.eq((value >> 1) + value[0]),
            lost.eq(over),
            negative.eq(value[-1]),
        ]
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += o.eq(rounded)
        with m.If(lost | (rounded == 128) | (rounded == -128)):
            m.d.sync += o.eq(Mux(negative, -127, 127))
        m.d.comb += self.o.eq(o)
        return m

    def _product(self, m: Module) -> Signal:
        """Return the product, less 1 if it is negative: five cycles."""
        total, checked = (Signal(signed(33), name=name, reset_less=True)
                          for name in ("total", "checked"))
        fits = Signal(reset_less=True)
        a = Signal(signed(SUM_BITS), reset_less=True)
        b = Signal.like(self.multiplier, reset_less=True)
        less = Signal(signed(1), reset_less=True)
        product, p = (Signal(signed(SUM_BITS + 18), name=name, reset_less=True)
                      for name in ("product", "p"))
        largest = (1 << (SUM_BITS - 1)) - 1
        factor = delay(m, self.factor, 2, name="factor")
        m.d.sync += [
            total.eq(self.i + Mux(self.factor, FACTOR_ROUND, self.bias)),
            checked.eq(total),
            fits.eq(_fits(total, SUM_BITS)),
            a.eq(Mux(fits, checked, Mux(checked[-1], ~largest, largest))),
        ]
        with m.If(factor):
            m.d.sync += a.eq(checked >> FACTOR_SHIFT)
        m.d.sync += [
            b.eq(self.multiplier),
            product.eq(a * b),
            less.eq(a[-1]),
            p.eq(product + less),
        ]
        return p

    def _shift(self, m: Module, value: Value) -> tuple[Value, Value]:
        """Return the shifted value in 9 bits, and whether it needs more: three cycles.

        The sign bit is right in any case.
        """
        over: Value = Const(0)
        for select, unit in zip(self.shift, (16, 4, 1), strict=True):
            sign, bits = value[-1], 9 + (unit - 1)  # what later steps shift out stays, too
            value, before = Signal(signed(bits), name=f"shifted_{unit}", reset_less=True), value
            over, lost = Signal(name=f"over_{unit}", reset_less=True), over
            with m.Switch(select):
                for n in range(4):
                    shifted = before >> n * unit
                    with m.Case(n):
                        m.d.sync += [value.eq(Cat(shifted[:bits - 1], sign)),
                                     over.eq(lost | ~_fits(shifted, bits))]
        return value, over


def _fits(value: Value, width: int) -> Value:
    """Return whether ``width`` bits hold a signed value."""
    upper = value[width - 1:]
    return upper.all() | ~upper.any()
