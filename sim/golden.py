"""The bit-exact NumPy model of the blocks: products, requantisation and data layouts.

Every function is vectorised and gives the very bits of the hardware. Operands are K-major: a matrix
has its ``k`` (features) down the first axis and outputs or tokens along the second. A *word* is
``depth × rows`` bytes, shown as a row of ``uint8``; the sizes are those of
:class:`~heddle.rtl.geometry.Geometry`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.isa import Activation, Layout
from ..rtl.lanes import SUM_BITS, channel_layout
from .activation import activate

__all__ = ["lay_tile", "matmul", "pack_blocks", "pack_channels", "pack_list", "pack_vectors",
           "pick_tile", "quantise_scale", "requantise", "tile_addresses", "unpack_blocks",
           "unpack_channels", "unpack_list", "unpack_vectors", "visited"]

_FIELDS = {name: (field.offset, field.width) for name, field in channel_layout}
_EXACT_PRODUCTS = 1024  # |products| ≤ 2^14, so sums of so many are integers that float32 holds


# -- arithmetic ------------------------------------------------------------------------------------

def matmul(a: ArrayLike, b: ArrayLike) -> NDArray[np.int32]:
    """Return ``Σk a[k][i]·b[k][j]`` as the accumulators hold it: exact, modulo 2^32.

    No sum of fewer than 2^17 products overflows. The products go through single-precision BLAS in
    slices of 1,024, whose sums (at most 2^24) are exact in whatever order they are added.

    Parameters
    ----------
    a : array of int8, shape ``[..., K, outputs]``
    b : array of int8, shape ``[..., K, tokens]``
        Either may be float32 with such integers. Leading axes are broadcast.

    Returns
    -------
    array of int32, shape ``[..., outputs, tokens]``
    """
    a, b = _singles(a).swapaxes(-1, -2), _singles(b)
    total = (a[..., :_EXACT_PRODUCTS] @ b[..., :_EXACT_PRODUCTS, :]).astype(np.int32)
    for k in range(_EXACT_PRODUCTS, a.shape[-1], _EXACT_PRODUCTS):
        part = slice(k, k + _EXACT_PRODUCTS)
        total += (a[..., part] @ b[..., part, :]).astype(np.int32)
    return total


def _singles(matrix: ArrayLike) -> NDArray[np.float32]:
    """Return int8 as float32; what is that already, as it is."""
    matrix = np.asarray(matrix)
    return matrix if matrix.dtype == np.float32 else matrix.astype(np.int8).astype(np.float32)


def requantise(acc: ArrayLike, bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike,
               gate_shift: ArrayLike = 0,
               activation: Activation = Activation.NONE) -> NDArray[np.int8]:
    """Return ``(acc + bias)·multiplier / 2^(shift+1)``, ties away from zero, within ±127.

    The sum of accumulator and bias saturates to 27 bits first. With an activation it is this of
    ``(acc + bias)·multiplier / 2^(shift+8)``; see :func:`~heddle.sim.activation.activate`.

    Parameters
    ----------
    acc : array of int32, shape ``[..., outputs, tokens]``
    bias, multiplier, shift, gate_shift : array of int, shape ``[..., outputs]``
        Parameters of each output channel.

    Returns
    -------
    array of int8, shape ``[..., outputs, tokens]``
    """
    # Every number here is an integer times a power of two that double precision holds: the sum has
    # 27 bits, the product 43, so product + 2^shift is exact up to a shift of 52. Beyond, the
    # product is less than 2^-9 of the half that is added, and the result 0 however it is rounded.
    bias, multiplier, shift = (np.asarray(p, np.float64)[..., np.newaxis]
                               for p in (bias, multiplier, shift))
    limit = 1 << (SUM_BITS - 1)
    value = np.add(acc, bias, dtype=np.float64)
    value.clip(-limit, limit - 1, out=value)
    if activation != Activation.NONE:
        value *= multiplier
        value -= value < 0
        value *= np.exp2(-shift)
        return activate(np.floor(value, out=value), np.asarray(gate_shift)[..., np.newaxis],
                        activation)
    value *= multiplier * np.exp2(-1 - shift)
    value += np.copysign(0.5, value)
    return value.clip(-127, 127, out=value).astype(np.int8)  # towards zero


def quantise_scale(scale: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the multiplier and shift whose ``multiplier / 2^(shift+1)`` is nearest to each scale.

    The relative error is at most 2^-17 for scales of at least 2^-48; below, the absolute error is
    at most 2^-65, which no 27-bit sum can show.

    Parameters
    ----------
    scale : array of float, any shape
        Output steps of an accumulator step.

    Returns
    -------
    multiplier, shift : arrays of int64, the shape of ``scale``

    Raises
    ------
    ValueError
        If a scale is negative, not finite, or too large for a multiplier of 17 bits.
    """
    scale = np.asarray(scale, np.float64)
    multiplier_bits, shift_bits = _FIELDS["multiplier"][1], _FIELDS["shift"][1]
    largest = (2 ** multiplier_bits - 1) / 2
    bad = ~((scale >= 0) & (scale <= largest))
    if bad.any():
        raise ValueError(f"Scale must be between 0 and {largest}, not {scale[bad].flat[0]}")
    _, exponent = np.frexp(scale)
    shift = np.clip(multiplier_bits - 1 - exponent, 0, 2 ** shift_bits - 1).astype(np.int64)
    multiplier = np.rint(np.ldexp(scale, shift + 1)).astype(np.int64)
    carry = multiplier >> multiplier_bits  # rounded up to 2^17
    return multiplier >> carry, shift - carry


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


def unpack_blocks(words: NDArray[np.uint8], rows: int, depth: int) -> NDArray[np.int8]:
    """Return the padded matrix that :func:`pack_blocks` laid into words.

    Parameters
    ----------
    words : array of uint8, shape ``[blocks, steps, depth·rows]``

    Returns
    -------
    array of int8, shape ``[steps·depth, blocks·rows]``
    """
    blocks, steps, _ = words.shape
    matrix = words.reshape(blocks, steps, depth, rows).transpose(1, 2, 0, 3)
    return matrix.reshape(steps * depth, blocks * rows).view(np.int8)


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


def visited(a: NDArray[np.int8], b: NDArray, addresses: NDArray[np.int64],
            selectors: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray]:
    """Return the operands of the :func:`matmul` that a block with a list stands for.

    A weight takes part for its own candidate of what its slot visits, and is 0 for the others.

    Parameters
    ----------
    a : array of int8, shape ``[steps, depth, rows]``
    b : array of int8 or float32, shape ``[tiles, addresses, candidates, depth, lanes]``
    addresses, selectors : arrays of int, as of :func:`unpack_list`

    Returns
    -------
    a : array of int8, shape ``[steps·depth·candidates, rows]``
    b : array of the same type, shape ``[steps·depth·candidates, tiles·lanes]``
    """
    tiles, _, candidates, depth, lanes = b.shape
    mine = selectors[:, :, np.newaxis] == np.arange(candidates)[:, np.newaxis]
    # Indices on both sides of a slice: steps and slots come first.
    gathered = b[:, addresses, :, np.arange(depth)].swapaxes(2, 3)
    return ((a[:, :, np.newaxis] * mine).reshape(-1, a.shape[2]),
            gathered.reshape(-1, tiles * lanes))


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


def pick_tile(words: NDArray[np.uint8], layout: Layout, rows: int, lanes: int,
              ) -> NDArray[np.int8]:
    """Return the tiles that :func:`lay_tile` laid into words.

    Parameters
    ----------
    words : array of uint8, shape ``[..., lanes // depth, depth·rows]``

    Returns
    -------
    array of int8, shape ``[..., rows, lanes]``
    """
    others = words.shape[:-2]
    values = np.ascontiguousarray(words).view(np.int8)
    if layout == Layout.BLOCKS:
        parts = values.reshape(*others, lanes // rows, rows, rows)
        return np.moveaxis(parts, -3, -2).reshape(*others, rows, lanes)
    if layout == Layout.TRANSPOSED:
        return values.reshape(*others, lanes, rows).swapaxes(-1, -2)
    return values.reshape(*others, rows, lanes)


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
