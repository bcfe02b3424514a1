"""The instructions of matrix products, in program order and without tokens.

The order is one in which the results are right without any overlap, but the loads of a part stand
before the computation of the part before; queues and tokens let everything overlap that can.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from .allocator import OperandRing
from .assembler import Instruction
from .rtl.geometry import Geometry
from .rtl.isa import Layout, Opcode
from .tiling import Product, Tiling

__all__ = ["Buffers", "Matrix", "Schedule"]


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


@dataclass(frozen=True)
class Buffers:
    """Where the operands of a product lie: inputs and outputs by tiles, weights by blocks."""

    x_dram: Matrix | None
    """Inputs in DRAM; ``None`` if they are in the scratchpad already."""
    w_dram: Matrix
    c_dram: Matrix | None
    """Outputs in DRAM; ``None`` if they are not stored."""
    x: Matrix
    w: Matrix
    c: Matrix
    """Outputs in the scratchpad; by parts of the tiling if they do not stay there."""


class Schedule:
    """Writes a program, one product after another.

    Attributes
    ----------
    program : list of :class:`~heddle.assembler.Instruction`
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.operands = OperandRing(geometry.operand_steps)
        self.program: list[Instruction] = []

    def multiply(self, inputs: Hashable, product: Product, tiling: Tiling,
                 buffers: Buffers) -> None:
        """Add the instructions of a product; ``inputs`` names its inputs, to find them again."""
        parts = list(_parts(self, inputs, product, tiling, buffers))
        if not self.program and tiling.piece == product.steps:
            parts.pop(0).start()
        for part, following in zip(parts, [*parts[1:], None]):
            if part is parts[0] or not tiling.double:
                part.load()
            if following and tiling.double:
                following.load()
            part.compute()

    def emit(self, opcode: Opcode, **fields: int) -> None:
        """Add an instruction."""
        self.program.append(Instruction(opcode, fields))


@dataclass
class _Part:
    """A chunk of blocks times a group of tiles."""

    schedule: Schedule
    inputs: Hashable
    product: Product
    tiling: Tiling
    buffers: Buffers
    blocks: range
    tiles: range
    loads_w: bool
    """The chunk is not in the scratchpad yet."""
    loads_x: bool
    """The group is not in the scratchpad yet."""
    w: Matrix
    """Weights in the scratchpad, by blocks."""
    c: Matrix
    """Outputs in the scratchpad, by tiles, each of which starts with block 0."""

    def load(self) -> None:
        """Load the operands that are not in the scratchpad yet."""
        if self.loads_w:
            self._load_weights(self.blocks)
        if self.loads_x:
            self._load_inputs(self.tiles)

    def compute(self) -> None:
        """Multiply operands that are in the scratchpad, and store the results."""
        if self.tiling.piece < self.product.steps:
            for blocks in _cut(self.blocks, self.schedule.geometry.contexts):
                self._multiply_in_pieces(blocks)
            return
        operand = self.schedule.operands.find((self.inputs, self.tiles))
        if operand is None:
            operand = self._reserve()
            self._fill(self.tiles, operand)
        self._multiply(self.blocks, self.tiles, operand)

    def start(self) -> None:
        """Load and multiply the first part of a program, beginning with as little as possible.

        Tiles and blocks are loaded in turns, as many words of each, and whatever arrives is
        multiplied with all that has arrived of the other.
        """
        operand = self._reserve()
        tiles, blocks = self.tiles[:0], self.blocks[:0]
        for new_tiles, new_blocks in _arrivals(self.product, self.tiles, self.blocks):
            if new_tiles:
                if self.loads_x:
                    self._load_inputs(new_tiles)
                self._fill(new_tiles, operand)
                tiles = range(self.tiles.start, new_tiles.stop)
                if blocks:
                    self._multiply(blocks, new_tiles, operand)
            else:
                self._load_weights(new_blocks)
                blocks = range(self.blocks.start, new_blocks.stop)
                self._multiply(new_blocks, tiles, operand)

    # -- instructions ------------------------------------------------------------------------------

    def _load_inputs(self, tiles: range) -> None:
        assert self.buffers.x_dram is not None
        self._load(self.buffers.x_dram, self.buffers.x, tiles, self.product.x_words)

    def _load_weights(self, blocks: range) -> None:
        self._load(self.buffers.w_dram, self.w, blocks, self.product.block_words)

    def _load(self, dram: Matrix, pool: Matrix, parts: range, words: int) -> None:
        word_bytes = self.schedule.geometry.word_bytes
        self.schedule.emit(Opcode.LOAD, dram=dram[parts.start] * word_bytes,
                           dram_stride=dram.stride * word_bytes, pool=pool[parts.start],
                           pool_stride=pool.stride, count=len(parts), rows=1, words=words)

    def _reserve(self) -> int:
        """Return the step of the operand buffer where the part's tiles are to start."""
        return self.schedule.operands.put((self.inputs, self.tiles),
                                          len(self.tiles) * self.product.steps)

    def _fill(self, tiles: range, operand: int) -> None:
        """Fill some of the part's tiles, of which the first is at ``operand``."""
        steps = self.product.steps
        self.schedule.emit(Opcode.FILL, pool=self.buffers.x[tiles.start],
                           pool_stride=self.buffers.x.stride, steps=steps, stride=steps,
                           operand=operand + self.tiles.index(tiles.start) * steps,
                           count=len(tiles))

    def _multiply(self, blocks: range, tiles: range, operand: int) -> None:
        """Multiply some of the part's blocks and tiles, and store the results."""
        steps = self.product.steps
        self._matmul(blocks, tiles, operand + self.tiles.index(tiles.start) * steps,
                     range(steps))
        self._store(blocks, tiles)

    def _multiply_in_pieces(self, blocks: range) -> None:
        """Multiply blocks with the part's only tile, of which the operand buffer holds a piece."""
        step_words = self.schedule.geometry.step_words
        for start in range(0, self.product.steps, self.tiling.piece):
            steps = range(start, min(start + self.tiling.piece, self.product.steps))
            operand = self.schedule.operands.put((self.inputs, self.tiles, steps), len(steps))
            self.schedule.emit(Opcode.FILL, count=1, steps=len(steps), operand=operand,
                               pool=self.buffers.x[self.tiles.start] + start * step_words)
            self._matmul(blocks, self.tiles, operand, steps)
        self._store(blocks, self.tiles)

    def _matmul(self, blocks: range, tiles: range, operand: int, steps: range) -> None:
        w, c = self.w, self.c
        self.schedule.emit(
            Opcode.MATMUL, a=w[blocks.start] + steps.start, a_stride=w.stride, b=operand,
            b_stride=self.product.steps, blocks=len(blocks), tiles=len(tiles), steps=len(steps),
            c=c[tiles.start] + blocks.start * self.product.tile_words,
            c_stride=self.product.tile_words, c_tile_stride=c.stride, layout=Layout.VECTORS,
            accumulate=steps.start > 0, drain=steps.stop == self.product.steps)

    def _store(self, blocks: range, tiles: range) -> None:
        dram, c = self.buffers.c_dram, self.c
        if dram is None:
            return
        words = self.product.tile_words
        word_bytes = self.schedule.geometry.word_bytes
        self.schedule.emit(
            Opcode.STORE, count=len(blocks), rows=len(tiles), words=words,
            dram=(dram[tiles.start] + blocks.start * words) * word_bytes,
            dram_stride=words * word_bytes, dram_row_stride=dram.stride * word_bytes,
            pool=c[tiles.start] + blocks.start * words, pool_stride=words,
            pool_row_stride=c.stride)


def _cut(whole: range, size: int) -> list[range]:
    return [whole[start:start + size] for start in range(0, len(whole), size)]


def _parts(schedule: Schedule, inputs: Hashable, product: Product, tiling: Tiling,
           buffers: Buffers) -> Iterator[_Part]:
    """Return the parts of a product in the order of the loops."""
    parts = loads = 0
    for slab in _cut(range(product.tiles), tiling.slab):
        for blocks in _cut(range(product.blocks), tiling.chunk):
            for tiles in _cut(slab, tiling.group):
                loads_w = tiles.start == slab.start and (tiling.chunk < product.blocks
                                                         or slab.start == 0)
                loads += loads_w
                w = Matrix(buffers.w[loads - 1] - blocks.start * product.block_words,
                           product.block_words)
                c = buffers.c
                if tiling.c_buffers:
                    stride = len(blocks) * product.tile_words
                    c = Matrix(buffers.c[parts] - blocks.start * product.tile_words
                               - tiles.start * stride, stride)
                yield _Part(schedule, inputs, product, tiling, buffers, blocks, tiles, loads_w,
                            blocks.start == 0 and buffers.x_dram is not None, w, c)
                parts += 1


def _arrivals(product: Product, tiles: range, blocks: range) -> Iterator[tuple[range, range]]:
    """Order in which tiles and blocks are loaded: tiles, or blocks, then all blocks that are left.

    The order keeps the words of both about equal.
    """
    block = blocks.start
    for tile in tiles:
        yield range(tile, tile + 1), range(0)
        words = (tile + 1 - tiles.start) * product.x_words
        stop = min(blocks.start - (-words // product.block_words), blocks.stop)
        if tile == tiles[-1]:
            stop = blocks.stop
        if stop > block:
            yield range(0), range(block, stop)
        block = stop
