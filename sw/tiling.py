"""How a matrix product is cut to the sizes of a geometry."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .formats import Encoding
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
    steps: int
    """Steps of ``depth`` inputs of a tile."""
    stride: int
    """Steps from one tile to the next in the operand buffer."""
    x_words: int
    """Words of a tile of inputs."""
    tile_words: int
    """Words of a drained tile."""
    encodings: tuple[Encoding, ...]
    """Of the blocks of ``rows`` outputs."""
    places: tuple[int, ...]
    """Words of weights, with their channel parameters, before each block and before their end."""

    @classmethod
    def of(cls, tokens: int, inputs: int, outputs: int, geometry: Geometry,
           encodings: Sequence[Encoding] | None = None) -> Product:
        """Return the product of ``[tokens, inputs]`` and ``[inputs, outputs]``, by default with
        dense weights."""
        g = geometry
        steps = -(-inputs // g.depth)
        encodings = tuple(encodings or (Encoding(steps),) * -(-outputs // g.rows))
        places = itertools.accumulate((each.words(g) for each in encodings), initial=0)
        return cls(-(-tokens // g.lanes), steps, g.padded_steps(steps), steps * g.step_words,
                   g.tile_words, encodings, tuple(places))

    @property
    def blocks(self) -> int:
        """Blocks of ``rows`` outputs."""
        return len(self.encodings)

    @property
    def out_words(self) -> int:
        """Words of a tile of outputs, all blocks of it."""
        return self.blocks * self.tile_words

    @property
    def listed(self) -> bool:
        """Some blocks have lists, which reach all steps of a tile."""
        return any(encoding.listed for encoding in self.encodings)

    @property
    def weight_words(self) -> int:
        """Words of all blocks."""
        return self.places[-1]

    @property
    def array_steps(self) -> int:
        """Steps of all blocks, for each tile."""
        return sum(encoding.steps for encoding in self.encodings)

    def chunk_words(self, chunk: int) -> int:
        """Return the words of the largest chunk of so many blocks."""
        edges = [*self.places[:-1:chunk], self.weight_words]
        return max(end - start for start, end in itertools.pairwise(edges))

    def balanced(self, words: int) -> int:
        """Return the number of blocks, from the first on, that have at least so many words."""
        return bisect.bisect_left(self.places, words)

    def covering(self, blocks: Sequence[int], cycles: float) -> int:
        """Return the number of the first blocks that take a tile so many cycles, or of all."""
        steps = itertools.accumulate(self.encodings[block].steps for block in blocks)
        return next((n for n, total in enumerate(steps, 1) if total >= cycles), len(blocks))

    def runs(self, blocks: range) -> Iterator[range]:
        """Yield some blocks in the largest parts that are encoded alike."""
        for _, run in itertools.groupby(blocks, key=self.encodings.__getitem__):
            alike = list(run)
            yield range(alike[0], alike[-1] + 1)


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
                + self.w_buffers * product.chunk_words(self.chunk)
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
    if product.tiles * product.stride <= geometry.operand_steps:
        return product.tiles, product.steps
    half = geometry.operand_steps // 2
    if product.stride <= half:
        groups = -(-product.tiles // (half // product.stride))
        return -(-product.tiles // groups), product.steps
    if product.listed:
        return 1, product.steps
    return 1, geometry.padded_steps(-(-product.steps // -(-product.steps // half)))


def _parts(n: int) -> list[int]:
    """Return the different sizes of the largest part when ``n`` is cut evenly into 1, 2, ..."""
    return sorted({-(-n // parts) for parts in range(1, n + 1)}, reverse=True)


def _rank(product: Product, geometry: Geometry, tiling: Tiling,
          inputs_again: bool) -> tuple[int, ...]:
    """Return what to minimise: an estimate of the cycles, then of the DRAM traffic."""
    slabs = -(-product.tiles // tiling.slab)
    chunks = -(-product.blocks // tiling.chunk)
    groups = -(-product.tiles // tiling.group)
    weights = product.weight_words * (slabs if chunks > 1 else 1)
    inputs = product.tiles * product.x_words * (1 + (inputs_again and slabs > 1))
    outputs = product.tiles * product.out_words
    fills = 1
    if tiling.piece < product.steps:
        fills = chunks * -(-tiling.chunk // geometry.ring_contexts)
    elif groups > 1:
        fills = chunks
    array = product.tiles * product.array_steps
    if product.listed and groups > 1 and 2 * product.stride > geometry.operand_steps:
        array += fills * product.tiles * product.x_words  # no tile is filled beside the one in use
    transfers = weights + inputs + outputs
    port = transfers + fills * product.tiles * product.x_words + outputs
    word = geometry.word_bytes / min(geometry.bandwidth_assumed,
                                     _SHARE * geometry.dma_ports * geometry.dma_bytes)
    # While the first chunk arrives, the array has but one group to multiply it with; and while the
    # other groups arrive, but one chunk.
    steps, words = product.array_steps / product.blocks, product.weight_words / product.blocks
    start = (tiling.chunk * max(0, words * word - tiling.group * steps)
             + (groups - 1) * tiling.group * max(0, product.x_words * word - tiling.chunk * steps))
    cycles = max(array, transfers * word, port) + start + _SWITCH * chunks * groups
    return round(cycles), transfers, tiling.words(product)
