"""The reciprocal square root of all lanes: sums of rows become what the second pass needs."""

from __future__ import annotations

__all__ = ["INDEX_BITS", "INTERVAL_BITS", "MANTISSA_BITS", "POINT_GUARD", "ROOT_SHIFT", "ROOTS"]

MANTISSA_BITS = 17
"""Width of the mantissa of a root, whose highest bit is set."""

INDEX_BITS = 7
"""Bits behind the highest one that choose an interval of the table."""

INTERVAL_BITS = 12
"""Bits behind those, by which a value lies in its interval."""

POINT_GUARD = 4
"""Bits by which the numbers of the table are finer than a mantissa."""

ROOT_SHIFT = 6
"""Right shift that belongs to a root of the mantissa's range: from a mean with its fraction bits
times a mantissa to the fraction bits of a normalised value."""


def _interval(odd: int, index: int) -> tuple[int, int]:
    """Return the reciprocal root at the begin of an interval, and by how much it falls in it."""
    left, right = ((2 ** odd * (1 + (index + end) / 2 ** INDEX_BITS)) ** -0.5 for end in (0, 1))
    middle = (2 ** odd * (1 + (index + 0.5) / 2 ** INDEX_BITS)) ** -0.5
    unit = 2 ** (MANTISSA_BITS + POINT_GUARD)
    # The chord lies above the curve by most in the middle; half of that is taken off. The root
    # of 1 itself must not round to one bit more than a mantissa has.
    above = ((left + right) / 2 - middle) / 2
    start = min(round((left - above) * unit), unit - unit // 2 ** MANTISSA_BITS // 2 - 1)
    return start, round((left - right) * unit)


ROOTS = [_interval(odd, index) for odd in range(2) for index in range(1 << INDEX_BITS)]
"""Start and fall of ``1 / √w`` for the intervals of ``w`` in [1, 2), then for those in [2, 4)."""
