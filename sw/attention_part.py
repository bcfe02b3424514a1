"""The instructions of a part of attention: some jobs, and some key tiles."""

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
    """Makes the instructions for some jobs; addresses are in words.

    A job is a tile of queries of a head. Those of a part are several heads of one tile, or several
    tiles of one head.
    """

    geometry: Geometry
    layer: QuantisedAttention
    sizes: Sizes
    operands: Operands
    heads: range
    tiles: range

    @property
    def jobs(self) -> int:
        """Jobs, numbered from 0."""
        return len(self.heads) * len(self.tiles)

    def head(self, job: int) -> int:
        """Return the head of a job."""
        return self.heads[job // len(self.tiles)]

    @staticmethod
    def packed(start: int, words: int) -> Matrix:
        """Return where the queries or outputs of the jobs lie if they follow each other."""
        return Matrix(start, words)

    def among(self, tensor: Matrix, words: int) -> Matrix:
        """Return where those of the jobs lie in a tensor, whose parts are tiles of all heads, of so
        many words each."""
        stride = tensor.stride if len(self.tiles) > 1 else words
        return Matrix(tensor[self.tiles.start] + self.heads.start * words, stride)

    def load_queries(self, pool: int) -> Instruction:
        """Load the queries, so that they follow each other."""
        assert self.operands.q_dram
        dram = self.among(self.operands.q_dram, self.sizes.query_words)
        words = len(self.heads) * self.sizes.query_words
        return load_words(self.geometry, dram.start, pool, words, rows=len(self.tiles),
                          stride=dram.stride, pool_stride=words)

    def load_keys(self, head: int, tiles: range, k: int) -> Instruction:
        """Load tiles of a head of keys."""
        dram, words = self.operands.k_dram, self.sizes.key_words
        assert dram
        return load_words(self.geometry, dram[tiles.start] + head * words, k, words,
                          rows=len(tiles), stride=dram.stride, pool_stride=words)

    def load_values(self, head: int, tiles: range, v: int, block: int) -> Instruction:
        """Load tiles of a head of values, whose blocks are ``block`` words apart."""
        dram, steps = self.operands.v_dram, self.geometry.tile_steps
        assert dram
        return load_words(self.geometry, dram[head * self.sizes.blocks] + tiles.start * steps, v,
                          len(tiles) * steps, rows=self.sizes.blocks, stride=dram.stride,
                          pool_stride=block)

    def load_masks(self, number: int, pool: int, count: int) -> Instruction:
        """Load some masks, from one on."""
        return load_words(self.geometry, self.operands.masks + number, pool, count)

    def fill(self, q: Matrix, operand: int) -> Instruction:
        """Copy the queries of the jobs to the operand buffer."""
        return Instruction(Opcode.FILL, {
            "pool": q.start, "pool_stride": q.stride, "operand": operand,
            "stride": self.sizes.stride, "count": self.jobs, "steps": self.sizes.steps})

    def attend(self, job: int, keys: dict[str, int], operand: int, c: Matrix) -> Instruction:
        """Let a job, or several from it on, attend to some keys.

        Parameters
        ----------
        job : :class:`int`
        keys : dict of str to int
            Fields of the instruction that say which keys these are, and for how many jobs.
        operand : :class:`int`
            Where the queries of all jobs start.
        c : :class:`~heddle.part.Matrix`
            Where the outputs of the jobs lie.
        """
        sizes, layer = self.sizes, self.layer
        return Instruction(Opcode.ATTEND, keys | {
            "q": operand + job * sizes.stride, "q_head_stride": sizes.stride,
            "group": len(self.tiles) if len(self.tiles) > 1 else layer.layer.group,
            "steps": sizes.steps, "blocks": sizes.blocks,
            "c": c[job], "c_stride": self.geometry.tile_words, "c_head_stride": c.stride,
            "layout": Layout.VECTORS, "multiplier": layer.score.multiplier,
            "shift": (layer.score.shift - 12) // 4, "gain": layer.gain,
            "gain_shift": layer.gain_shift})

    def clear(self, c: Matrix) -> Instruction:
        """Load zeros as the outputs of queries that see nothing."""
        return load_words(self.geometry, self.operands.zeros, c.start, self.sizes.out_words,
                          rows=self.jobs, pool_stride=c.stride)

    def store(self, c: Matrix) -> Instruction:
        """Store the outputs."""
        assert self.operands.c_dram
        dram = self.among(self.operands.c_dram, self.sizes.out_words)
        return store_words(self.geometry, dram.start, c.start,
                           len(self.heads) * self.sizes.out_words, rows=len(self.tiles),
                           stride=dram.stride, pool_stride=c.stride)
