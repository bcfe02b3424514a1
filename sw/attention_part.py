"""The instructions of a part of attention: a tile of queries of some heads, and some key tiles."""

from __future__ import annotations

from dataclasses import dataclass

from .assembler import Instruction
from .integer import QuantisedAttention
from .part import Matrix, load_words, store_words
from .rtl.geometry import Geometry
from .rtl.isa import Layout, Opcode

__all__ = ["AttentionPart", "Operands", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of attention, in units of the geometry."""

    tiles: int
    """Tiles of ``lanes`` queries."""
    steps: int
    """Steps of ``depth`` features of a head of queries."""
    stride: int
    """Steps from one head of queries to the next in the operand buffer."""
    blocks: int
    """Blocks of ``rows`` features of a head of values."""
    query_words: int
    """Words of a head in a tile of queries."""
    out_words: int
    """Words of a head in a tile of the output."""
    key_tiles: int
    """Tiles of ``rows`` keys."""
    key_words: int
    """Words of a head in a tile of keys."""
    value_words: int
    """Words of a head in a tile of values."""

    @classmethod
    def of(cls, queries: int, keys: int, features: int, of_values: int,
           geometry: Geometry) -> Sizes:
        """Return the sizes for so many queries and keys, and features of the widest head of both
        and of values."""
        g = geometry
        steps = -(-features // g.depth)
        padded, blocks = -(-features // g.rows), -(-of_values // g.rows)
        return cls(-(-queries // g.lanes), steps, g.padded_steps(steps), blocks,
                   padded * g.tile_words, blocks * g.tile_words, -(-keys // g.rows),
                   padded * g.tile_steps, blocks * g.tile_steps)


@dataclass(frozen=True)
class Operands:
    """Where the operands of attention lie, by parts of their forms.

    What is not in the scratchpad, is in DRAM. The output can be in both.
    """

    masks: int
    """The table of masks in DRAM, a word each."""
    zeros: int
    """Zeros in DRAM, as many as a head has words in a tile of the output."""
    q_dram: Matrix | None
    k_dram: Matrix | None
    v_dram: Matrix | None
    c_dram: Matrix | None
    q: Matrix | None
    k: Matrix | None
    v: Matrix | None
    c: Matrix | None


@dataclass(frozen=True)
class AttentionPart:
    """Makes the instructions for some heads and a tile of queries; addresses are in words."""

    geometry: Geometry
    layer: QuantisedAttention
    sizes: Sizes
    operands: Operands
    heads: range
    tile: int

    def load_queries(self, pool: int) -> Instruction:
        """Load the queries."""
        assert self.operands.q_dram
        words = self.sizes.query_words
        return load_words(self.geometry, self.operands.q_dram[self.tile] + self.heads.start * words,
                          pool, len(self.heads) * words)

    def load_keys(self, head: int, tiles: range, k: int, v: int, block: int) -> list[Instruction]:
        """Load tiles of a head of keys, and of its values, whose blocks are ``block`` apart."""
        sizes, o, steps = self.sizes, self.operands, self.geometry.tile_steps
        assert o.k_dram
        assert o.v_dram
        return [load_words(self.geometry, o.k_dram[tiles.start] + head * sizes.key_words, k,
                           sizes.key_words, rows=len(tiles), stride=o.k_dram.stride,
                           pool_stride=sizes.key_words),
                load_words(self.geometry, o.v_dram[head * sizes.blocks] + tiles.start * steps, v,
                           len(tiles) * steps, rows=sizes.blocks, stride=o.v_dram.stride,
                           pool_stride=block)]

    def load_masks(self, number: int, pool: int, count: int) -> Instruction:
        """Load some masks, from one on."""
        return load_words(self.geometry, self.operands.masks + number, pool, count)

    def fill(self, pool: int, operand: int) -> Instruction:
        """Copy the queries to the operand buffer."""
        return Instruction(Opcode.FILL, {
            "pool": pool, "pool_stride": self.sizes.query_words, "operand": operand,
            "stride": self.sizes.stride, "count": len(self.heads), "steps": self.sizes.steps})

    def attend(self, head: int, keys: dict[str, int], operand: int, c: int) -> Instruction:
        """Let a head, or several from it on, attend to some keys.

        Parameters
        ----------
        head : :class:`int`
        keys : dict of str to int
            Fields of the instruction that say which keys these are, and for how many heads.
        operand, c : :class:`int`
            Where the queries of all heads start, and their outputs.
        """
        sizes, layer, number = self.sizes, self.layer, head - self.heads.start
        return Instruction(Opcode.ATTEND, keys | {
            "q": operand + number * sizes.stride, "q_head_stride": sizes.stride,
            "group": layer.layer.group, "steps": sizes.steps, "blocks": sizes.blocks,
            "c": c + number * sizes.out_words, "c_stride": self.geometry.tile_words,
            "c_head_stride": sizes.out_words, "layout": Layout.VECTORS,
            "multiplier": layer.score.multiplier, "shift": (layer.score.shift - 12) // 4,
            "gain": layer.gain, "gain_shift": layer.gain_shift})

    def clear(self, c: int) -> Instruction:
        """Load zeros as the outputs of queries that see nothing."""
        words = self.sizes.out_words
        return load_words(self.geometry, self.operands.zeros, c, words, rows=len(self.heads),
                          pool_stride=words)

    def store(self, c: int) -> Instruction:
        """Store the outputs."""
        assert self.operands.c_dram
        words = self.sizes.out_words
        dram = self.operands.c_dram[self.tile] + self.heads.start * words
        return store_words(self.geometry, dram, c, len(self.heads) * words)
