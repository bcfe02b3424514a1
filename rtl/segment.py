"""The segment: what the walkers of the compute queue hand to the issuer of steps."""

from __future__ import annotations

from amaranth.lib import data

from .isa import TOKENS

__all__ = ["segment_layout"]


def segment_layout(pool_bits: int, step_bits: int, context_bits: int) -> data.StructLayout:
    """Payload of a segment: the steps that one tile adds to its context, and its drain.

    ``a``, ``b``
        Addresses of the first step's operands; B comes from the operand buffer, or from the
        probabilities if ``probability``.
    ``steps``, ``listed``
        Number of steps, at least 1, and whether each has an entry of a list.
    ``context``, ``fresh``, ``accumulate``
        Where the total goes; whether that takes a context of the ring, which its drain frees;
        whether the total adds to what is there.
    ``release``
        The last step is the last use of its slot of probabilities.
    ``give``
        Tokens to post after the segment and its drain.
    ``drain``, ``route``, ``masked``, ``begin``, ``end``, ``c`` …
        Whether the tile is drained, and how (:func:`~heddle.rtl.drain.tile_layout`).
    """
    return data.StructLayout({
        "a":                pool_bits,
        "b":                step_bits,
        "steps":            16,
        "listed":           1,
        "context":          context_bits,
        "fresh":            1,
        "accumulate":       1,
        "probability":      1,
        "release":          1,
        "give":             TOKENS,
        "drain":            1,
        "route":            2,
        "masked":           1,
        "begin":            1,
        "end":              1,
        "c":                pool_bits,
        "part_stride":      pool_bits,
        "channels":         pool_bits,
        "layout":           2,
        "activation":       2,
        "multiplier":       17,
        "multiplier_shift": 2,
        "gain":             17,
        "gain_shift":       6,
    })
