"""The numbers of NORM: parameters of a feature in the scratchpad, and the widths on the way."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

__all__ = ["BIAS_SHIFT", "CENTRE_BITS", "FIRST_BITS", "GAIN_FRACTION", "MEAN_BITS",
           "MEAN_FRACTION", "OUTPUT_SHIFT", "RECIPROCAL_BITS", "SCORE_BITS", "SCORE_FRACTION",
           "SECOND_BITS", "SUM_SHIFT", "TOTAL_BITS", "VALUE_BITS", "VALUE_SHIFT", "first_layout",
           "second_layout"]

VALUE_BITS = 18
"""Width of a signed value ``y``: a residual sum."""

VALUE_SHIFT = 7
"""Bits of the products of inputs and scales that are dropped from a value."""

SUM_SHIFT = 26
"""Bits of the product of a value and its scale that are dropped from a stored sum."""

MEAN_FRACTION = 4
"""Fraction bits of a mean, and of a value less the mean."""

MEAN_BITS = VALUE_BITS + MEAN_FRACTION
"""Width of a signed mean."""

CENTRE_BITS = MEAN_BITS + 1
"""Width of a value less the mean."""

FIRST_BITS = VALUE_BITS + 12
"""Width of a signed sum of values."""

SECOND_BITS = 2 * VALUE_BITS - 2 + 12 + 1
"""Width of a sum of squares."""

TOTAL_BITS = 55
"""Width of a sum of squared distances from the mean, with epsilon."""

RECIPROCAL_BITS = 24
"""Width of the reciprocal of the number of features, whose highest bit is set."""

SCORE_FRACTION = 11
"""Fraction bits of a normalised value ``z``."""

SCORE_BITS = 19
"""Width of a signed normalised value: it is at most 64, the root of the most features,
and a rounding error."""

GAIN_FRACTION = 8
"""Fraction bits of gains and biases."""

OUTPUT_SHIFT = SCORE_FRACTION + GAIN_FRACTION + 1
"""Bits dropped from ``(2z + 1) · gain``."""

BIAS_SHIFT = OUTPUT_SHIFT - GAIN_FRACTION
"""Bits between the units of a bias and of ``(2z + 1) · gain``."""

first_layout = data.StructLayout({
    "x":      unsigned(16),
    "o":      unsigned(16),
    "sum":    unsigned(24),
    "unused": unsigned(8),
})
"""The 8 bytes of a feature for the first pass, as they lie in the scratchpad.

``x``, ``o``
    Scales of the two inputs: values of a step, times 2^7.
``sum``
    Scale of the stored sum: its steps of a value, times 2^26.
"""

second_layout = data.StructLayout({
    "x":    unsigned(16),
    "o":    unsigned(16),
    "gain": signed(16),
    "bias": signed(16),
})
"""The 8 bytes of a feature for the second pass.

``x``, ``o``
    As in the first pass.
``gain``, ``bias``
    Output steps of a normalised value of 1, and output steps to add, both times 2^8.
"""
