"""The bit-exact NumPy model of the arithmetic: products, requantisation and scales.

Every function is vectorised and gives the very bits of the hardware. Operands are K-major: a matrix
has its ``k`` (features) down the first axis and outputs or tokens along the second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.isa import Activation
from ..rtl.lanes import SUM_BITS, channel_layout
from .activation import activate

__all__ = ["matmul", "quantise_scale", "requantise", "visited"]

_EXACT_PRODUCTS = 1024  # |products| ≤ 2^14, so sums of so many are integers that float32 holds


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


def visited(a: NDArray[np.int8], b: NDArray, addresses: NDArray[np.int64],
            selectors: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray]:
    """Return the operands of the :func:`matmul` that a block with a list stands for.

    A weight takes part for its own candidate of what its slot visits, and is 0 for the others.

    Parameters
    ----------
    a : array of int8, shape ``[steps, depth, rows]``
    b : array of int8 or float32, shape ``[tiles, addresses, candidates, depth, lanes]``
    addresses, selectors : arrays of int, as of :func:`~heddle.sim.layouts.unpack_list`

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
    multiplier_bits, shift_bits = (channel_layout[name].width for name in ("multiplier", "shift"))
    largest = (2 ** multiplier_bits - 1) / 2
    bad = ~((scale >= 0) & (scale <= largest))
    if bad.any():
        raise ValueError(f"Scale must be between 0 and {largest}, not {scale[bad].flat[0]}")
    _, exponent = np.frexp(scale)
    shift = np.clip(multiplier_bits - 1 - exponent, 0, 2 ** shift_bits - 1).astype(np.int64)
    multiplier = np.rint(np.ldexp(scale, shift + 1)).astype(np.int64)
    carry = multiplier >> multiplier_bits  # rounded up to 2^17
    return multiplier >> carry, shift - carry
