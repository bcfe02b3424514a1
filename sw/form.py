"""How a tensor lies in words: padded, and in the layout in which it is an operand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rtl.geometry import Geometry
from .rtl.isa import Layout
from .sim import layouts

__all__ = ["Drained", "Form"]


@dataclass(frozen=True)
class Drained:
    """Where the tiles of a result lie in the scratchpad, and how; all strides in words."""

    start: int
    tile: int
    """Between tiles of tokens."""
    block: int
    """Between blocks of features."""
    part: int = 0
    """Between parts of ``rows`` tokens, in layout BLOCKS."""
    layout: Layout = Layout.VECTORS

    def at(self, tile: int, block: int) -> int:
        """Return the address of the first word of a tile and block."""
        return self.start + tile * self.tile + block * self.block


@dataclass(frozen=True)
class Form:
    """The words of a tensor ``[tokens, features]``.

    In layout VECTORS a *part* is a tile of ``lanes`` tokens with all features, in BLOCKS a tile of
    ``rows`` tokens with all features, and in TRANSPOSED a block of ``rows`` features with all
    tokens. Tokens are padded to whole tiles of ``lanes``.
    """

    features: int
    heads: tuple[int, ...] = ()
    """Features of each head; all are padded to the whole blocks of the widest. Empty: the features
    are not divided, and not padded."""
    layout: Layout = Layout.VECTORS

    def width(self, rows: int) -> int:
        """Return the features with their padding."""
        return len(self.heads) * -(-max(self.heads) // rows) * rows if self.heads \
            else self.features

    def positions(self, rows: int) -> NDArray[np.int64]:
        """Return where each feature stands among the padded ones."""
        if not self.heads:
            return np.arange(self.features)
        starts = range(0, self.width(rows), self.width(rows) // len(self.heads))
        return np.concatenate([start + np.arange(width)
                               for start, width in zip(starts, self.heads, strict=True)])

    def parts(self, tokens: int, geometry: Geometry) -> tuple[int, int]:
        """Return the number of parts, and the words of each."""
        g = geometry
        tiles, width = -(-tokens // g.lanes), self.width(g.rows)
        if self.layout == Layout.VECTORS:
            return tiles, -(-width // g.depth) * g.step_words
        if self.layout == Layout.BLOCKS:
            return tiles * (g.lanes // g.rows), width // g.depth
        return width // g.rows, tiles * g.tile_words

    def drained(self, start: int, tokens: int, geometry: Geometry) -> Drained:
        """Return where the drain puts the tiles of a tensor with heads, or in layout VECTORS."""
        g = geometry
        _, words = self.parts(tokens, g)
        if self.layout == Layout.BLOCKS:
            return Drained(start, words * (g.lanes // g.rows), g.tile_steps, words, self.layout)
        if self.layout == Layout.TRANSPOSED:
            return Drained(start, g.tile_words, words, 0, self.layout)
        return Drained(start, -(-self.width(g.rows) // g.rows) * g.tile_words, g.tile_words)

    def pack(self, x: NDArray[np.int8], geometry: Geometry) -> NDArray[np.uint8]:
        """Return ``[tokens, features]`` as words, ``[parts, words, bytes]``."""
        g = geometry
        padded = np.zeros((-(-len(x) // g.lanes) * g.lanes, self.width(g.rows)), np.int8)
        padded[:len(x), self.positions(g.rows)] = x
        if self.layout == Layout.VECTORS:
            return layouts.pack_vectors(padded.T, g.rows, g.lanes, g.depth)
        matrix = padded.T if self.layout == Layout.BLOCKS else padded
        return layouts.pack_blocks(matrix, g.rows, g.depth)

    def unpack(self, words: NDArray[np.uint8], tokens: int, geometry: Geometry,
               ) -> NDArray[np.int8]:
        """Return ``[tokens, features]`` of words in layout VECTORS."""
        vectors = layouts.unpack_vectors(words, geometry.lanes)
        return vectors[self.positions(geometry.rows), :tokens].T
