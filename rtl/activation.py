"""The activations of the drain: a value times a gate between 0 and 1, which a table gives.

GELU is ``x·Φ(x)`` (Hendrycks and Gimpel, 2016) and SiLU is ``x·σ(x)`` (Elfwing, Uchibe and Doya,
2018). Both gates are symmetric, ``gate(−x) = 1 − gate(x)``, so the table has what is missing to 1
for the indices from 0 up; an index is that of the interval between two multiples of a unit.
"""

from __future__ import annotations

import math

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .isa import Activation

__all__ = ["FRACTION_BITS", "GATE_BITS", "INDICES", "UNIT_BITS", "VALUE_BITS", "GateTable",
           "complements"]

FRACTION_BITS = 8
"""Fraction bits of the value that meets its gate: of an output step."""

VALUE_BITS = 20
"""Width of that value, which is signed."""

GATE_BITS = 8
"""Fraction bits of a gate."""

INDICES = 128
"""Intervals of the table on either side of 0; beyond the last one the gate is 0 or 1."""

UNIT_BITS = {Activation.GELU: 5, Activation.SILU: 4}
"""Logarithm of the intervals between 0 and 1."""


def complements(activation: Activation) -> list[int]:
    """Return ``1 − gate`` in the middle of each interval from 0 up, in units of a gate.

    That of ReLU, whose gate is a step, is 0.
    """
    if activation == Activation.RELU:
        return [0] * INDICES
    middles = [(n + 0.5) / (1 << UNIT_BITS[activation]) for n in range(INDICES)]
    if activation == Activation.GELU:
        missing = [math.erfc(x / math.sqrt(2)) / 2 for x in middles]
    else:
        missing = [1 / (1 + math.exp(x)) for x in middles]
    return [round((1 << GATE_BITS) * part) for part in missing]


class GateTable(wiring.Component):
    """The gate with which a value is multiplied, in 2^-:data:`GATE_BITS`.

    An index is accepted each cycle; its gate follows :attr:`LATENCY` cycles later. Without an
    activation, the gate turns a value in halves of an output step into one with
    :data:`FRACTION_BITS`.

    Members
    -------
    activation : :py:`In(Activation)`
    index : :py:`In(signed(8))`
    over : :py:`In(1)`
        The index would lie beyond the table, on the side that the sign of ``index`` says.
    gate : :py:`Out(16)`
    """

    LATENCY = 2

    def __init__(self) -> None:
        super().__init__({
            "activation": In(2),
            "index":      In(signed(INDICES.bit_length())),
            "over":       In(1),
            "gate":       Out(FRACTION_BITS + GATE_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        tables = complements(Activation.GELU) + complements(Activation.SILU)
        m.submodules.tables = ram = memory.Memory(
            shape=max(tables).bit_length(), depth=len(tables), init=tables)
        table = ram.read_port(domain="comb")
        place, sign = self.index[:-1], self.index[-1]
        missing = Signal.like(table.data, reset_less=True)
        silu = self.activation == Activation.SILU
        m.d.comb += table.addr.eq(Cat(place ^ sign.replicate(len(place)), silu))
        m.d.sync += missing.eq(table.data)
        with m.If(self.over | (self.activation == Activation.RELU)):
            m.d.sync += missing.eq(0)

        none = delay(m, self.activation == Activation.NONE, name="none")
        negative = delay(m, sign, name="negative")
        gate = Signal.like(self.gate, reset_less=True)
        m.d.sync += gate.eq(Mux(negative, missing, (1 << GATE_BITS) - missing))
        with m.If(none):
            m.d.sync += gate.eq(1 << FRACTION_BITS + GATE_BITS - 1)
        m.d.comb += self.gate.eq(gate)
        return m
