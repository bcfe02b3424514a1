"""What a dense rectangle of weights costs on a geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..rtl.geometry import Geometry
from .ranking import size

__all__ = ["Footprint", "footprint"]


@dataclass(frozen=True)
class Footprint:
    """Sizes of a weight, or the sum over several, as a geometry stores and computes it."""

    weights: int
    """Elements of the rectangle, without padding."""
    blocks: int
    """Blocks of ``rows`` outputs: tiles of the result for each tile of tokens."""
    steps: int
    """Cycles of the array for each tile of tokens."""
    words: int
    """Words of the packed blocks, with the parameters of their channels."""
    bytes: int
    """Bytes of DRAM, and of block RAM in the scratchpad, that these words fill."""
    vectors: int
    """Vectors of input in the operand buffer, evenly over its ``candidates·depth`` banks."""

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(*(getattr(self, name) + getattr(other, name)
                           for name in self.__dataclass_fields__))


def footprint(outputs: int | Sequence[int], inputs: int | Sequence[int],
              geometry: Geometry) -> Footprint:
    """Return what a weight of so many outputs and inputs costs.

    Either may be a sequence, of the widths of heads: each head is padded to whole blocks.

    Raises
    ------
    TypeError
        If a width is not an integer.
    ValueError
        If a width is less than 1.
    """
    g = geometry
    blocks = _padded(outputs, "Outputs", g.rows) // g.rows
    width = _padded(inputs, "Inputs", g.rows) if isinstance(inputs, Sequence) else inputs
    steps = _padded(width, "Inputs", g.depth) // g.depth
    words = blocks * (steps + g.channel_words)
    return Footprint(_padded(outputs, "Outputs") * _padded(inputs, "Inputs"), blocks,
                     blocks * steps, words, words * g.word_bytes,
                     _padded(width, "Inputs", g.candidates * g.depth))


def _padded(widths: int | Sequence[int], name: str, unit: int = 1) -> int:
    """Return the sum of the widths after rounding each up to a whole number of units."""
    each = widths if isinstance(widths, Sequence) else [widths]
    return sum(-(-size(width, name) // unit) * unit for width in each)
