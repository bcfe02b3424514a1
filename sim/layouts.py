"""How numbers lie in words: channel parameters, operands, lists, and the tiles of results.

Every function is vectorised and gives the very bytes that the hardware reads and writes. Operands
are K-major: a matrix has its ``k`` (features) down the first axis and outputs or tokens along the
second. A *word* is ``depth × rows`` bytes, shown as a row of ``uint8``; the sizes are those of
:class:`~heddle.rtl.geometry.Geometry`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.isa import Layout
from ..rtl.lanes import channel_layout

__all__ = ["lay_tile", "pack_blocks", "pack_channels", "pack_list", "pack_vectors",
           "tile_addresses", "unpack_channels", "unpack_list", "unpack_vectors"]

_FIELDS = {name: (field.offset, field.width) for name, field in channel_layout}


# -- channel parameters ----------------------------------------------------------------------------

def pack_channels(bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike,
                  gate_shift: ArrayLike = 0) -> NDArray[np.uint8]:
    """Return the requantisation parameters as they lie after the data words of a block.

    Little-endian, as in :data:`~heddle.rtl.lanes.channel_layout`.

    Parameters
    ----------
    bias, multiplier, shift, gate_shift : array of int, shape ``[...]``

    Returns
    -------
    array of uint8, shape ``[..., 8]``

    Raises
    ------
    ValueError
        If a parameter does not fit its field.
    """
    packed = np.zeros(np.broadcast(bias, multiplier, shift, gate_shift).shape, np.int64)
    for name, given in (("bias", bias), ("multiplier", multiplier), ("shift", shift),
                        ("gate_shift", gate_shift)):
        offset, width = _FIELDS[name]
        low = -2 ** (width - 1) if name == "bias" else 0
        values = np.asarray(given, np.int64)
        bad = (values < low) | (values >= low + 2 ** width)
        if bad.any():
            raise ValueError(f"Channel {name} must be between {low} and {low + 2 ** width - 1}, "
                             f"not {values[bad].flat[0]}")
        packed |= (values & 2 ** width - 1) << offset
    return packed.astype("<i8")[..., np.newaxis].view(np.uint8)


def unpack_channels(packed: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int64],
                                                        NDArray[np.int64], NDArray[np.int64]]:
    """Return bias, multiplier, shift and gate shift of the channels in some bytes.

    Parameters
    ----------
    packed : array of uint8, any shape of ``8·channels`` elements

    Returns
    -------
    bias, multiplier, shift, gate_shift : array of int, shape ``[channels]``
    """
    values = np.ascontiguousarray(packed, np.uint8).reshape(-1, channel_layout.size // 8)
    numbers = values.view("<i8")[:, 0]
    multiplier, shift, gate_shift = (numbers >> _FIELDS[name][0] & 2 ** _FIELDS[name][1] - 1
                                     for name in ("multiplier", "shift", "gate_shift"))
    return numbers.astype(np.int32), multiplier, shift, gate_shift


# -- operands --------------------------------------------------------------------------------------

def _padded(matrix: ArrayLike, *multiples: int) -> NDArray[np.int8]:
    matrix = np.asarray(matrix, np.int8)
    return np.pad(matrix, [(0, -size % multiple)
                           for size, multiple in zip(matrix.shape, multiples, strict=True)])


def pack_blocks(a: ArrayLike, rows: int, depth: int) -> NDArray[np.uint8]:
    """Return the words of an A operand: byte ``k·rows + i`` of word ``s`` is ``a[s·depth+k][i]``.

    Parameters
    ----------
    a : array of int8, shape ``[K, outputs]``
        Padded with zeros to whole steps and blocks.

    Returns
    -------
    array of uint8, shape ``[blocks, steps, depth·rows]``
    """
    padded = _padded(a, depth, rows)
    steps, blocks = padded.shape[0] // depth, padded.shape[1] // rows
    words = padded.reshape(steps, depth, blocks, rows).transpose(2, 0, 1, 3)
    return words.reshape(blocks, steps, depth * rows).view(np.uint8)


def pack_vectors(b: ArrayLike, rows: int, lanes: int, depth: int) -> NDArray[np.uint8]:
    """Return the words of a B operand, tile by tile: whole vectors, one after the other.

    Parameters
    ----------
    b : array of int8, shape ``[K, tokens]``
        Padded with zeros to whole steps and tiles.

    Returns
    -------
    array of uint8, shape ``[tiles, words, depth·rows]``
    """
    padded = _padded(b, depth, lanes)
    tiles = padded.shape[1] // lanes
    vectors = np.ascontiguousarray(padded.reshape(-1, tiles, lanes).swapaxes(0, 1))
    return vectors.reshape(tiles, -1, depth * rows).view(np.uint8)


def unpack_vectors(words: NDArray[np.uint8], lanes: int) -> NDArray[np.int8]:
    """Return the padded matrix that :func:`pack_vectors` laid into words.

    Parameters
    ----------
    words : array of uint8, shape ``[tiles, words, depth·rows]``

    Returns
    -------
    array of int8, shape ``[K, tiles·lanes]``, ``K`` a multiple of ``depth``
    """
    tiles = words.shape[0]
    vectors = words.reshape(tiles, -1, lanes).swapaxes(0, 1)
    return vectors.reshape(-1, tiles * lanes).view(np.int8)


# -- lists of sparse blocks ------------------------------------------------------------------------

def pack_list(addresses: ArrayLike, selectors: ArrayLike, selector_bits: int, *, word_bytes: int,
              wide: bool | int = False) -> NDArray[np.uint8]:
    """Return the words of a block's list: gaps, and from a new word on the selectors.

    Parameters
    ----------
    addresses : array of int, shape ``[steps, depth]``
        What each slot visits in each step.
    selectors : array of int, shape ``[steps, depth, rows]``
        Candidate of each weight; of no account if ``selector_bits`` is 0.
    selector_bits, word_bytes : :class:`int`
        As in :class:`~heddle.rtl.geometry.Geometry`.
    wide : bool
        Whether gaps have 8 bits instead of 4.

    Returns
    -------
    array of uint8, shape ``[words, word_bytes]``

    Raises
    ------
    ValueError
        If a slot goes back, or further at once than a gap can say, or if a selector is too large.
    """
    bits = 8 if wide else 4
    gaps = np.diff(np.asarray(addresses, np.int64), axis=0, prepend=0)
    parts = []
    for name, fields, width in ("gap", gaps, bits), ("selector", selectors, selector_bits):
        values = np.ravel(np.asarray(fields, np.int64)) if width else np.zeros(0, np.int64)
        bad = (values < 0) | (values >= 1 << width)
        if bad.any():
            raise ValueError(f"List {name} must be between 0 and {(1 << width) - 1}, "
                             f"not {values[bad][0]}")
        packed = np.packbits(values[:, np.newaxis] >> np.arange(width) & 1, bitorder="little")
        parts.append(np.pad(packed, (0, -packed.size % word_bytes)))
    return np.concatenate(parts).reshape(-1, word_bytes)


def unpack_list(words: NDArray[np.uint8], steps: int, rows: int, depth: int, selector_bits: int, *,
                wide: bool | int = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what :func:`pack_list` laid into words.

    Returns
    -------
    addresses : array of int64, shape ``[steps, depth]``
    selectors : array of int64, shape ``[steps, depth, rows]``
        0 if ``selector_bits`` is.
    """
    def fields(at: int, count: int, width: int) -> NDArray[np.int64]:
        bits = np.unpackbits(words[at:].ravel(), bitorder="little", count=count * width)
        return bits.reshape(-1, width) @ (1 << np.arange(width))

    width = 8 if wide else 4
    gaps = fields(0, steps * depth, width).reshape(steps, depth)
    selectors = np.zeros((steps, depth, rows), np.int64)
    if selector_bits:
        behind = -(-gaps.size * width // (8 * words.shape[1]))
        selectors[:] = fields(behind, selectors.size, selector_bits).reshape(selectors.shape)
    return np.cumsum(gaps, axis=0), selectors


# -- drained tiles ---------------------------------------------------------------------------------

def lay_tile(tile: NDArray[np.int8], layout: Layout, depth: int) -> NDArray[np.uint8]:
    """Return the words into which the drain lays tiles.

    Parameters
    ----------
    tile : array of int8, shape ``[..., rows, lanes]``

    Returns
    -------
    array of uint8, shape ``[..., lanes // depth, depth·rows]``
        In the order in which the drain writes them, which is also that of
        :func:`tile_addresses`.
    """
    *others, rows, lanes = tile.shape
    if layout == Layout.BLOCKS:
        tile = np.moveaxis(tile.reshape(*others, rows, lanes // rows, rows), -2, -3)
    elif layout == Layout.TRANSPOSED:
        tile = tile.swapaxes(-1, -2)
    return np.ascontiguousarray(tile).reshape(*others, lanes // depth, depth * rows).view(np.uint8)


def tile_addresses(c: int, part_stride: int, layout: Layout, rows: int, lanes: int,
                   depth: int) -> NDArray[np.int64]:
    """Return the scratchpad addresses of the words of a drained tile, shape ``[lanes // depth]``.

    The words are consecutive from ``c``, but the parts of :attr:`Layout.BLOCKS`, ``rows`` tokens
    each, start ``part_stride`` words apart.
    """
    words = np.arange(lanes // depth)
    if layout == Layout.BLOCKS:
        part, word = np.divmod(words, rows // depth)
        return c + part * part_stride + word
    return c + words
