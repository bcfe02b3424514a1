"""The instructions of a part of a matrix product: some blocks times some tiles."""

from __future__ import annotations

from dataclasses import dataclass

from .assembler import Instruction
from .form import Drained
from .rtl.geometry import Geometry
from .rtl.isa import Opcode
from .tiling import Product

__all__ = ["Matrix", "Part", "load_words", "store_words"]


@dataclass(frozen=True)
class Matrix:
    """Where the parts of a matrix lie: part ``n`` starts at ``start + n · stride``, in words.

    With a ``ring`` the parts use only so many places, one after the other.
    """

    start: int
    stride: int
    ring: int = 0

    def __getitem__(self, part: int) -> int:
        return self.start + (part % self.ring if self.ring else part) * self.stride


def load_words(geometry: Geometry, dram: int, pool: int, words: int, *, rows: int = 1,
               stride: int = 0, pool_stride: int = 0) -> Instruction:
    """Return the load of rows of so many words; addresses and strides are in words, too."""
    return _rows(Opcode.LOAD, geometry, dram, pool, words, rows, stride, pool_stride)


def store_words(geometry: Geometry, dram: int, pool: int, words: int, *, rows: int = 1,
                stride: int = 0, pool_stride: int = 0) -> Instruction:
    """Return the store of rows of so many words, as :func:`load_words` the load."""
    return _rows(Opcode.STORE, geometry, dram, pool, words, rows, stride, pool_stride)


def _rows(opcode: Opcode, geometry: Geometry, dram: int, pool: int, words: int, rows: int,
          stride: int, pool_stride: int) -> Instruction:
    return Instruction(opcode, {
        "dram": dram * geometry.word_bytes, "pool": pool, "count": 1, "rows": rows, "words": words,
        "dram_row_stride": stride * geometry.word_bytes, "pool_row_stride": pool_stride})


@dataclass(frozen=True)
class Part:
    """Makes the instructions for a chunk of blocks and a group of tiles.

    Matrices of inputs and outputs are indexed by tiles. Each tile of outputs in DRAM has place for
    all blocks from 0 on. Blocks of an instruction are encoded alike.
    """

    geometry: Geometry
    product: Product
    blocks: range
    tiles: range
    x_dram: Matrix | None
    """Inputs in DRAM; ``None`` if they are in the scratchpad already."""
    x: Matrix
    w_dram: int
    """Word of block 0 of the weights in DRAM; the others follow as the product says."""
    w: int
    """Word where block 0 would be in the scratchpad if all were there."""
    c_dram: Matrix | None
    """Outputs in DRAM; ``None`` if they are not stored."""
    c: Drained

    def load_inputs(self, tiles: range, steps: range) -> Instruction:
        """Load some steps of tiles."""
        assert self.x_dram is not None
        offset = steps.start * self.geometry.step_words
        return self._load(self.x_dram, self.x, tiles, offset, len(steps) * self.geometry.step_words)

    def load_weights(self, blocks: range) -> Instruction:
        """Load blocks, each followed by its channel parameters."""
        start, words = self._place(blocks)
        return self._load(Matrix(self.w_dram + start, words), Matrix(self.w + start, words),
                          range(len(blocks)), 0, words)

    def _load(self, dram: Matrix, pool: Matrix, parts: range, offset: int,
              words: int) -> Instruction:
        word_bytes = self.geometry.word_bytes
        return Instruction(Opcode.LOAD, {
            "dram": (dram[parts.start] + offset) * word_bytes,
            "dram_stride": dram.stride * word_bytes,
            "pool": pool[parts.start] + offset,
            "pool_stride": pool.stride,
            "count": len(parts),
            "rows": 1,
            "words": words,
        })

    def _place(self, blocks: range) -> tuple[int, int]:
        """Return the words before some blocks, and those of each of them."""
        first, second = self.product.places[blocks.start:blocks.start + 2]
        return first, second - first

    def fill(self, tiles: range, steps: range, operand: int) -> Instruction:
        """Copy some steps of tiles to the operand buffer, of the first tile to ``operand``."""
        return Instruction(Opcode.FILL, {
            "pool": self.x[tiles.start] + steps.start * self.geometry.step_words,
            "pool_stride": self.x.stride,
            "operand": operand,
            "stride": self.product.stride,
            "count": len(tiles),
            "steps": len(steps),
        })

    def matmul(self, blocks: range, tiles: range, steps: range, operand: int) -> Instruction:
        """Multiply some steps of blocks and tiles, those of the first tile from ``operand`` on.

        The first steps of a product take contexts, all others add to those, and the last ones
        drain them. Blocks with lists must have all steps.
        """
        start, words = self._place(blocks)
        encoding = self.product.encodings[blocks.start]
        return Instruction(Opcode.MATMUL, {
            "a": self.w + start + steps.start,
            "a_stride": words,
            "b": operand,
            "b_stride": self.product.stride,
            "blocks": len(blocks),
            "tiles": len(tiles),
            "steps": encoding.steps if encoding.listed else len(steps),
            "c": self.c.at(tiles.start, blocks.start),
            "c_stride": self.c.block,
            "c_tile_stride": self.c.tile,
            "c_part_stride": self.c.part,
            "accumulate": steps.start > 0,
            "drain": steps.stop == self.product.steps,
            "layout": self.c.layout,
            "activation": self.product.activation,
            "listed": encoding.listed,
            "wide": encoding.wide,
        })

    def store(self, blocks: range, tiles: range) -> Instruction:
        """Store the results of blocks and tiles, block by block."""
        assert self.c_dram is not None
        words, word_bytes = self.product.tile_words, self.geometry.word_bytes
        return Instruction(Opcode.STORE, {
            "dram": (self.c_dram[tiles.start] + blocks.start * words) * word_bytes,
            "dram_stride": words * word_bytes,
            "dram_row_stride": self.c_dram.stride * word_bytes,
            "pool": self.c.at(tiles.start, blocks.start),
            "pool_stride": self.c.block,
            "pool_row_stride": self.c.tile,
            "count": len(blocks),
            "rows": len(tiles),
            "words": words,
        })
