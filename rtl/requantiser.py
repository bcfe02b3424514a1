"""Requantisation of a lane: bias or rounding, scale, activation and saturation."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .activation import FRACTION_BITS, GATE_BITS, INDICES, VALUE_BITS, GateTable
from .delay import delay
from .multiply import multiply_add

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
    ``(i + FACTOR_ROUND) >> FACTOR_SHIFT`` instead. With an activation, ``multiplier / 2^shift`` is
    the scale to a value with :data:`~.activation.FRACTION_BITS`, which its gate then multiplies; no
    activation is a gate of 1/2 for a value in halves of a step.

    A value is accepted each cycle; its result follows :attr:`LATENCY` cycles later. Each of the two
    multiplications takes one DSP with all its registers: subtracting 1 from a negative product
    (port C) makes rounding half up one half away from zero, and adding a half to the second one
    rounds. Shifts are steps of 4:1 multiplexers.

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
    gate_shift : :py:`In(2).array(2)`
        Bits 3:2 and 1:0 of the shift from the value to the index of its gate; item ``n`` is
        :attr:`GATE_DELAY` + ``n`` cycles after ``i``.
    activation : :py:`In(Activation)`
        :attr:`ACTIVATION_DELAY` cycles after ``i``.
    o : :py:`Out(signed(8))`
    """

    MULTIPLIER_DELAY = 2
    SHIFT_DELAY = 5
    GATE_DELAY = 8
    ACTIVATION_DELAY = 10
    LATENCY = 15

    def __init__(self) -> None:
        super().__init__({
            "i":          In(signed(32)),
            "bias":       In(signed(32)),
            "factor":     In(1),
            "multiplier": In(17),
            "shift":      In(2).array(3),
            "gate_shift": In(2).array(2),
            "activation": In(2),
            "o":          Out(signed(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        value, over = _shifted(m, self._product(m, platform), Const(0), self.shift, VALUE_BITS,
                               name="value")
        product = self._gated(m, platform, value, over)
        y = product[FRACTION_BITS + GATE_BITS:].as_signed()
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += o.eq(y)
        with m.If(~_fits(y, 8) | (y[:8] == 0x80)):
            m.d.sync += o.eq(Mux(y[-1], -127, 127))
        m.d.comb += self.o.eq(o)
        return m

    def _product(self, m: Module, platform) -> Value:
        """Return the product, less 1 if it is negative: five cycles."""
        total, checked = (Signal(signed(33), name=name, reset_less=True)
                          for name in ("total", "checked"))
        fits = Signal(reset_less=True)
        a = Signal(signed(SUM_BITS))
        largest = (1 << (SUM_BITS - 1)) - 1
        factor = delay(m, self.factor, 2, name="factor")
        m.d.sync += [
            total.eq(self.i + Mux(self.factor, FACTOR_ROUND, self.bias)),
            checked.eq(total),
            fits.eq(_fits(total, SUM_BITS)),
        ]
        m.d.comb += a.eq(Mux(fits, checked, Mux(checked[-1], ~largest, largest)))
        with m.If(factor):
            m.d.comb += a.eq(checked >> FACTOR_SHIFT)
        less = delay(m, a[-1:].as_signed(), name="less")
        return multiply_add(m, platform, a, Cat(self.multiplier, 0).as_signed(), less,
                            width=SUM_BITS + 18, name="product")

    def _gated(self, m: Module, platform, value: Value, over: Value) -> Value:
        """Return the product of a value and its gate, and a half: six cycles."""
        m.submodules.table = table = GateTable()
        index, beyond = _shifted(m, value, over, self.gate_shift, INDICES.bit_length(),
                                 name="index")
        m.d.comb += [
            table.index.eq(index),
            table.over.eq(beyond),
            table.activation.eq(self.activation),
        ]
        largest = (1 << (VALUE_BITS - 1)) - 1
        within = Signal(signed(VALUE_BITS), reset_less=True)
        m.d.sync += within.eq(Mux(over, Mux(value[-1], ~largest, largest), value))
        a = delay(m, within, len(self.gate_shift) + GateTable.LATENCY - 1, name="within")
        return multiply_add(m, platform, a, Cat(table.gate, 0).as_signed(),
                            1 << FRACTION_BITS + GATE_BITS - 1, operands=0,
                            width=VALUE_BITS + len(table.gate), name="gated")


def _shifted(m: Module, value: Value, over: Value, digits, width: int, *,
             name: str) -> tuple[Value, Value]:
    """Return a value shifted right, and whether it needs more bits: a cycle for each digit.

    Parameters
    ----------
    value : :class:`~amaranth.hdl.Value`
        Signed.
    over : :class:`~amaranth.hdl.Value`
        Whether ``value`` itself needed more bits.
    digits : sequence of :class:`~amaranth.hdl.Value`
        The shift in base 4, most significant digit first, each a cycle after the one before.
    width : :class:`int`
        Bits of the result. Its sign is right even if they are too few.
    """
    for n, digit in enumerate(digits):
        unit = 4 ** (len(digits) - 1 - n)
        sign, bits = value[-1], width + (unit - 1)  # what later steps shift out stays, too
        value, before = Signal(signed(bits), name=f"{name}_{unit}", reset_less=True), value
        over, lost = Signal(name=f"{name}_over_{unit}", reset_less=True), over
        with m.Switch(digit):
            for shift in range(4):
                shifted = before >> shift * unit
                with m.Case(shift):
                    m.d.sync += [value.eq(Cat(shifted[:bits - 1], sign)),
                                 over.eq(lost | ~_fits(shifted, bits))]
    return value, over


def _fits(value: Value, width: int) -> Value:
    """Return whether ``width`` bits hold a signed value."""
    upper = value[width - 1:]
    return upper.all() | ~upper.any()
