"""How a matrix product is cut to the sizes of a geometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .rtl.geometry import Geometry

__all__ = ["Product", "Tiling", "choose", "least"]


_SHARE = 0.75
"""Most of the peak bandwidth of the AXI ports that the memory is expected to give."""

_SWITCH = 8
"""Cycles that a change of part is expected to cost."""


@dataclass(frozen=True)
class Product:
    """The sizes of one product, in units of the geometry."""

    tiles: int
    """Tiles of ``lanes`` tokens."""
    blocks: int
    """Blocks of ``rows`` outputs."""
    steps: int
    """Steps of ``depth`` inputs."""
    x_words: int
    """Words of a tile of inputs."""
    block_words: int
    """Words of a block of weights with its channel parameters."""
    tile_words: int
    """Words of a drained tile."""

    @classmethod
    def of(cls, tokens: int, inputs: int, outputs: int, geometry: Geometry) -> Product:
        """Return the product of ``[tokens, inputs]`` and ``[inputs, outputs]``."""
        steps = -(-inputs // geometry.depth)
        return cls(-(-tokens // geometry.lanes), -(-outputs // geometry.rows), steps,
                   steps * geometry.step_words, steps + geometry.channel_words,
                   geometry.tile_words)

    @property
    def out_words(self) -> int:
        """Words of a tile of outputs, all blocks of it."""
        return self.blocks * self.tile_words


@dataclass(frozen=True)
class Tiling:
    """A way to execute a product: for each slab, for each chunk, for each group of the slab.

    Inputs are held a *slab* of tiles at a time, weights a *chunk* of blocks at a time, and the
    array multiplies all blocks of the chunk with the tiles of a *group* from the operand buffer.
    """

    slab: int
    """Tiles of inputs in the scratchpad; a multiple of ``group``, or all."""
    chunk: int
    """Blocks of weights in the scratchpad."""
    group: int
    """Tiles in the operand buffer."""
    piece: int
    """Steps of a MATMUL: all, or fewer that add up in the contexts."""
    x_buffers: int
    """Slabs in the scratchpad; 0 if the inputs are there already."""
    w_buffers: int
    """Chunks in the scratchpad."""
    c_buffers: int
    """Results of a chunk and a group in the scratchpad; 0 if they stay there."""
    double: bool
    """Whether buffers are double, so that a part can be loaded while the one before is in use."""

    def words(self, product: Product) -> int:
        """Words of the scratchpad that the buffers take."""
        return (self.x_buffers * self.slab * product.x_words
                + self.w_buffers * self.chunk * product.block_words
                + self.c_buffers * self.chunk * self.group * product.tile_words)


def choose(product: Product, geometry: Geometry, words: int, *, inputs_resident: bool,
           inputs_again: bool, outputs_stay: bool) -> Tiling | None:
    """Return the fastest tiling whose buffers fit into so many words, or ``None``.

    Buffers are double where that is possible at all.

    Parameters
    ----------
    product : :class:`Product`
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    words : :class:`int`
        Free words of the scratchpad.
    inputs_resident : :class:`bool`
        The inputs are in the scratchpad already.
    inputs_again : :class:`bool`
        Another product needs the same inputs later.
    outputs_stay : :class:`bool`
        The outputs have a place of their own in the scratchpad.
    """
    for double in (True, False):
        fitting = [t for t in _candidates(product, geometry, 1 + double, inputs_resident,
                                          outputs_stay) if t.words(product) <= words]
        if fitting:
            return min(fitting, key=lambda t: _rank(product, geometry, t, inputs_again))
    return None


def least(product: Product, geometry: Geometry, inputs_resident: bool) -> int:
    """Return the words that the buffers of the smallest tiling take."""
    return min(tiling.words(product) for tiling in _candidates(
        product, geometry, 1, inputs_resident, outputs_stay=False))


def _candidates(product: Product, geometry: Geometry, buffers: int, inputs_resident: bool,
                outputs_stay: bool) -> Iterator[Tiling]:
    group, piece = _operands(product, geometry)
    for slab in {min(product.tiles, group * n) for n in _parts(-(-product.tiles // group))}:
        if inputs_resident and slab < product.tiles:
            continue
        for chunk in _parts(product.blocks):
            parts = -(-product.tiles // group) * -(-product.blocks // chunk)
            yield Tiling(
                slab, chunk, group, piece,
                x_buffers=0 if inputs_resident else min(buffers, -(-product.tiles // slab)),
                w_buffers=min(buffers, -(-product.blocks // chunk)),
                c_buffers=0 if outputs_stay else min(buffers, parts), double=buffers > 1)


def _operands(product: Product, geometry: Geometry) -> tuple[int, int]:
    """Return the tiles and the steps of them that go into the operand buffer together."""
    if product.tiles * product.steps <= geometry.operand_steps:
        return product.tiles, product.steps
    half = geometry.operand_steps // 2
    if product.steps <= half:
        groups = -(-product.tiles // (half // product.steps))
        return -(-product.tiles // groups), product.steps
    return 1, -(-product.steps // -(-product.steps // half))


def _parts(n: int) -> list[int]:
    """Return the different sizes of the largest part when ``n`` is cut evenly into 1, 2, ..."""
    return sorted({-(-n // parts) for parts in range(1, n + 1)}, reverse=True)


def _rank(product: Product, geometry: Geometry, tiling: Tiling,
          inputs_again: bool) -> tuple[int, ...]:
    """Return what to minimise: an estimate of the cycles, then of the DRAM traffic."""
    slabs = -(-product.tiles // tiling.slab)
    chunks = -(-product.blocks // tiling.chunk)
    groups = -(-product.tiles // tiling.group)
    weights = product.blocks * product.block_words * (slabs if chunks > 1 else 1)
    inputs = product.tiles * product.x_words * (1 + (inputs_again and slabs > 1))
    outputs = product.tiles * product.out_words
    fills = 1
    if tiling.piece < product.steps:
        fills = chunks * -(-tiling.chunk // geometry.ring_contexts)
    elif groups > 1:
        fills = chunks
    array = product.tiles * product.blocks * product.steps
    transfers = weights + inputs + outputs
    port = transfers + fills * product.tiles * product.x_words + outputs
    word = geometry.word_bytes / min(geometry.bandwidth_assumed,
                                     _SHARE * geometry.dma_ports * geometry.dma_bytes)
    # While the first chunk arrives, the array has but one group to multiply it with; and while the
    # other groups arrive, but one chunk.
    start = (tiling.chunk * max(0, product.block_words * word - tiling.group * product.steps)
             + (groups - 1) * tiling.group
             * max(0, product.x_words * word - tiling.chunk * product.steps))
    cycles = max(array, transfers * word, port) + start + _SWITCH * chunks * groups
    return round(cycles), transfers, tiling.words(product)
