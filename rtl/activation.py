"""The activations of the drain: a value times a gate between 0 and 1, which a table gives.

GELU is ``x·Φ(x)`` (Hendrycks and Gimpel, 2016) and SiLU is ``x·σ(x)`` (Elfwing, Uchibe and Doya,
2018). Both gates are symmetric, ``gate(−x) = 1 − gate(x)``, so the table has what is missing to 1
for the indices from 0 up; an index is that of the interval between two multiples of a unit.
"""

from __future__ import annotations

import math

from .isa import Activation

__all__ = ["FRACTION_BITS", "GATE_BITS", "INDICES", "UNIT_BITS", "VALUE_BITS", "complements"]

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
