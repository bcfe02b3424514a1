"""Sparse weights in words: blocks of ``rows`` outputs, each with a list of the inputs it visits.

A block is *dense*, all steps one after another, or *listed*: then each of the ``depth`` slots of a
step reads an address of its own, and each row of the block multiplies with one of the ``M``
candidates of that address, ``k = (address·M + candidate)·depth + slot``. ``docs/formats.md`` has
the bit layouts. What a block visits is dealt to the slots by ``k mod depth``, so no two slots of a
step ever need the same bank; it takes as many steps as the slot with most visits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .lists import Visits
from .rtl.geometry import Geometry
from .rtl.isa import INSTRUCTION_BYTES
from .sim import layouts

__all__ = ["Encoding", "Format", "PackedWeight", "pack", "unpack"]

Format = Literal["dense", "narrow", "wide"]
"""All steps; or a list, with gaps of 4 bits or of 8."""

_BITS: dict[Format, int] = {"narrow": 4, "wide": 8}
"""Of a gap."""

_RUN_BYTES = 3 * INSTRUCTION_BYTES
"""Of the LOAD, MATMUL and STORE of blocks that are encoded alike."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Encoding:
    """How a block lies in words."""

    steps: int
    """Steps of the array for each tile of tokens."""
    listed: bool = False
    """The block has a list of what its steps visit."""
    wide: bool = False
    """The gaps of the list have 8 bits instead of 4."""

    @property
    def format(self) -> Format:
        """The name of this encoding, whatever the steps."""
        return "dense" if not self.listed else "wide" if self.wide else "narrow"

    def words(self, geometry: Geometry) -> int:
        """Return the words of the block, with its channel parameters."""
        listed = geometry.list_words(self.steps, self.wide) if self.listed else 0
        return self.steps + geometry.channel_words + listed


@dataclass(frozen=True)
class PackedWeight:
    """An encoded weight."""

    geometry: Geometry
    outputs: int
    inputs: int
    encodings: tuple[Encoding, ...]
    """Of each block of ``rows`` outputs, the last of which may be filled up with zeros."""
    data: tuple[Bytes, ...]
    """Of each block the words of its weights, ``[steps, bytes]``."""
    index: tuple[Bytes, ...]
    """Of each block the words of gaps and selectors, ``[words, bytes]``."""

    @property
    def size(self) -> int:
        """Bytes of all words, without the channel parameters."""
        return sum(map(np.size, self.data + self.index))

    def words(self, channels: Bytes) -> Bytes:
        """Return all words, block by block.

        Parameters
        ----------
        channels : array of uint8, shape ``[blocks · rows, 8]``
            Requantisation parameters.

        Returns
        -------
        array of uint8, shape ``[words, bytes]``
        """
        g = self.geometry
        parameters = channels.reshape(len(self.encodings), g.channel_words, g.word_bytes)
        return np.concatenate([words for block in zip(self.data, parameters, self.index)
                               for words in block])


def pack(weight: ArrayLike, geometry: Geometry, format: Format | None = None, *,
         strict: bool = False, used: ArrayLike | None = None) -> PackedWeight:
    """Encode a weight without loss.

    Parameters
    ----------
    weight : array of int8, shape ``[outputs, inputs]``
        Within ±127.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    format : ``"dense"``, ``"narrow"``, ``"wide"`` or ``None``
        Of all blocks. By default each block has the format of fewest steps, and of these the one
        of fewest words: a step takes a cycle for each tile of tokens, a word is loaded once.
        Narrow lists may be wide for the sake of blocks that are then alike.
    strict : :class:`bool`
        Refuse a block that would have a list, were it not too long for the geometry, instead of
        encoding it dense.
    used : array of bool, shape ``[outputs, inputs]``
        Which weights a list must visit, by default all that are not 0. Others must be 0.

    Raises
    ------
    TypeError
        If the weight is not of int8.
    ValueError
        If the weight is not a matrix or has a -128, a weight is not used and not 0, the format is
        unknown, or a list is wanted of more inputs or steps than the geometry has room for.
    """
    weight = np.asarray(weight)
    if weight.dtype != np.int8:
        raise TypeError(f"Weight must have elements of int8, not {weight.dtype}")
    if weight.ndim != 2 or not weight.size:
        raise ValueError("Weight must have 2 axes with at least one element each, not the shape "
                         f"{weight.shape}")
    if weight.min() < -127:
        raise ValueError("Weight must be within ±127, and it has a -128")
    if format not in (None, "dense", "narrow", "wide"):
        raise ValueError(f"Format must be dense, narrow or wide, not {format!r}")
    used = weight != 0 if used is None else np.asarray(used, bool)
    if used.shape != weight.shape:
        raise ValueError(f"Used weights must be given in the shape {weight.shape} of the weight, "
                         f"not {used.shape}")
    if (lost := np.argwhere((weight != 0) & ~used)).size:
        output, column = lost[0].tolist()
        raise ValueError(f"Weights that are not used must be 0, and the one of output {output} and "
                         f"input {column} is {weight[output, column]}")
    g = geometry
    data = list(layouts.pack_blocks(weight.T, g.rows, g.depth))
    index = [np.zeros((0, g.word_bytes), np.uint8)] * len(data)
    encodings = [Encoding(-(-weight.shape[1] // g.depth))] * len(data)
    if format in ("narrow", "wide") or (format is None and not used.all()):
        visits = Visits(weight, used, g)
        encodings = _choose(weight.shape[1], visits, g, format, strict)
        for name in {encoding.format for encoding in encodings} - {"dense"}:
            for n, found in enumerate(visits.lists(_BITS[name])):
                if encodings[n].format == name:
                    data[n] = found.weights.reshape(-1, g.word_bytes).view(np.uint8)
                    index[n] = layouts.pack_list(found.addresses, found.selectors, g.selector_bits,
                                                 word_bytes=g.word_bytes, wide=encodings[n].wide)
    outputs, inputs = weight.shape
    return PackedWeight(g, outputs, inputs, tuple(encodings), tuple(data), tuple(index))


def unpack(packed: PackedWeight) -> NDArray[np.int8]:
    """Return the weight that was encoded, ``[outputs, inputs]``.

    Raises
    ------
    ValueError
        If a list leaves the inputs.
    """
    g = packed.geometry
    steps = g.padded_steps(-(-packed.inputs // g.depth))
    weight = np.zeros((len(packed.encodings), g.rows, steps * g.depth), np.int8)
    slot, row = np.arange(g.depth)[:, np.newaxis], np.arange(g.rows)
    for n, (encoding, data, index) in enumerate(zip(packed.encodings, packed.data, packed.index)):
        values = data.view(np.int8).reshape(encoding.steps, g.depth, g.rows)
        step = np.arange(encoding.steps)[:, np.newaxis, np.newaxis]
        if encoding.listed:
            address, candidate = layouts.unpack_list(index, encoding.steps, g.rows, g.depth,
                                                     g.selector_bits, wide=encoding.wide)
            if address.max() * g.candidates >= steps:
                raise ValueError(f"The list of block {n} must stay below address "
                                 f"{steps // g.candidates}, and it reaches {address.max()}")
            step = address[..., np.newaxis] * g.candidates + candidate
        k = np.broadcast_to(step * g.depth + slot, values.shape)
        kept = values != 0
        weight[n, np.broadcast_to(row, values.shape)[kept], k[kept]] = values[kept]
    return weight.reshape(-1, steps * g.depth)[:packed.outputs, :packed.inputs]


def _choose(inputs: int, visits: Visits, geometry: Geometry, format: Format | None,
            strict: bool) -> list[Encoding]:
    """Return the encoding of each block: each the cheapest, or each but narrow, if then more blocks
    are alike and share their instructions."""
    dense = Encoding(-(-inputs // geometry.depth))
    lists = {name: [Encoding(steps, True, name == "wide") for steps in visits.steps(bits).tolist()]
             for name, bits in _BITS.items()}
    if format:
        ways = [lists[format]]
    else:
        ways = [[min(options, key=lambda encoding: (encoding.steps, encoding.words(geometry)))
                 for options in zip(*choice)]
                for choice in (([dense] * visits.blocks, *lists.values()),
                               ([dense] * visits.blocks, lists["wide"]))]
    for way in ways:
        for n, encoding in enumerate(way):
            problem = _too_long(inputs, encoding, geometry) if encoding.listed else None
            if problem and (strict or format):
                raise ValueError(f"The list of block {n} must fit into {geometry.name}: {problem}")
            if problem:
                way[n] = dense
    return min(ways, key=lambda way: (sum(encoding.steps for encoding in way),
                                      _bytes(way, geometry)))


def _bytes(encodings: list[Encoding], geometry: Geometry) -> int:
    """Return the bytes of blocks and of the instructions for each run of equal ones."""
    words = sum(encoding.words(geometry) for encoding in encodings)
    runs = 1 + sum(one != other for one, other in itertools.pairwise(encodings))
    return words * geometry.word_bytes + runs * _RUN_BYTES


def _too_long(inputs: int, encoding: Encoding, geometry: Geometry) -> str | None:
    """Say why a geometry has no room for a list, if it has none."""
    most = geometry.operand_steps * geometry.depth
    if inputs > most:
        return f"it can reach {most} inputs in the operand buffer, and there are {inputs}"
    if encoding.steps > geometry.list_steps:
        return f"it can have {geometry.list_steps} steps, and it needs {encoding.steps}"
    return None
