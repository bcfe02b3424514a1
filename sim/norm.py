"""The bit-exact NumPy model of NORM: residual sum, and normalisation of each token.

Shapes are ``[..., features, tokens]``; every function is vectorised and gives the very bits of the
hardware. ``docs/numerics.md`` explains the choices and states the error bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import ArrayLike, NDArray

from ..rtl.isa import MAX_FEATURES
from ..rtl.norm_format import (
    BIAS_SHIFT,
    GAIN_FRACTION,
    MEAN_FRACTION,
    OUTPUT_SHIFT,
    RECIPROCAL_BITS,
    SUM_SHIFT,
    TOTAL_BITS,
    VALUE_SHIFT,
    first_layout,
    second_layout,
)
from ..rtl.root import (
    INDEX_BITS,
    INTERVAL_BITS,
    MANTISSA_BITS,
    POINT_GUARD,
    ROOT_SHIFT,
    ROOTS,
)

__all__ = ["NormScales", "lane_root", "least_output", "least_sum", "normalise", "pack_norm",
           "quantise_norm", "reciprocal", "reciprocal_root", "store_sum", "unpack_norm",
           "value_step", "values"]

_ROOTS = np.array(ROOTS)
_EPSILON_LIMIT = 1 << 48

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NormScales:
    """Integers of a normalisation: of each feature, shape ``[features]``, and of all.

    ``x``, ``o``, ``sum``, ``gain`` and ``bias`` are those of
    :data:`~heddle.rtl.norm_format.first_layout` and
    :data:`~heddle.rtl.norm_format.second_layout`.
    """

    x: Ints
    o: Ints
    sum: Ints
    gain: Ints
    bias: Ints
    features: int
    """Features that count."""
    epsilon: int = 0
    """Added to the sum of 256 times the squared distances from the mean."""

    @property
    def fields(self) -> dict[str, int]:
        """The fields of the instruction that do not depend on the place of anything."""
        number, shift = reciprocal(self.features)
        return {"features": self.features, "reciprocal": number, "reciprocal_shift": shift,
                "epsilon": self.epsilon}

    def padded(self, features: int) -> NormScales:
        """Return the same with features that do not count behind, as many as there are then."""
        more = (0, features - len(self.x))
        return replace(self, **{name: np.pad(getattr(self, name), more)
                                for name in ("x", "o", "sum", "gain", "bias")})


# -- arithmetic ------------------------------------------------------------------------------------

def reciprocal(features: int) -> tuple[int, int]:
    """Return ``1 / features`` as the number and shift of the instruction.

    Raises
    ------
    ValueError
        If there are no features, or too many.
    """
    if not 1 <= features <= MAX_FEATURES:
        raise ValueError(f"Features must be between 1 and {MAX_FEATURES}, not {features}")
    shift = (features - 1).bit_length()
    scaled = 1 << RECIPROCAL_BITS - 1 + shift
    return (2 * scaled + features) // (2 * features), shift


def values(x: ArrayLike, o: ArrayLike | None, scales: NormScales) -> Ints:
    """Return ``x`` times its scales plus, if there is one, ``o`` times its own: 18 bits.

    Parameters
    ----------
    x, o : array of int8, shape ``[..., features, tokens]``
    """
    y = np.asarray(x, np.int64) * scales.x[:, np.newaxis] + (1 << VALUE_SHIFT - 1)
    if o is not None:
        y += np.asarray(o, np.int64) * scales.o[:, np.newaxis]
    return y >> VALUE_SHIFT


def store_sum(y: Ints, scales: NormScales) -> NDArray[np.int8]:
    """Return values in the steps of the stored sum, to nearest with ties upwards, within ±127."""
    product = y * scales.sum[:, np.newaxis] + (1 << SUM_SHIFT - 1)
    return np.clip(product >> SUM_SHIFT, -127, 127).astype(np.int8)


def reciprocal_root(total: ArrayLike, features: int) -> tuple[Ints, Ints]:
    """Return the root of ``features / total`` as a mantissa of 17 bits and a right shift.

    ``mantissa / 2^(shift + 11)`` is the root, with a relative error of at most 2^-16.

    Parameters
    ----------
    total : array of int, any shape
        Sums of squares, of at most 55 bits. Their mean is less than 2^49. The root of 0, which is
        of no account, is that of 1.
    """
    number, reciprocal_shift = reciprocal(features)
    total = np.maximum(np.asarray(total, np.int64), 1)
    highest = np.frexp(total.astype(np.float64))[1].astype(np.int64) - 1
    highest -= (np.int64(1) << highest) > total  # rounded up on the way
    # The divisor has 17 bits and half of the next one.
    divisor = total << TOTAL_BITS - 1 - highest >> TOTAL_BITS - MANTISSA_BITS
    mean = divisor * number + (number >> 1)
    carry = mean >> MANTISSA_BITS + RECIPROCAL_BITS - 1
    mean <<= 1 - carry
    exponent = highest - reciprocal_shift + carry
    fraction = mean >> MANTISSA_BITS + RECIPROCAL_BITS - 1 - INDEX_BITS - INTERVAL_BITS
    index = fraction >> INTERVAL_BITS & (1 << INDEX_BITS) - 1
    start, fall = _ROOTS[(exponent & 1) << INDEX_BITS | index].T
    fallen = fall.T * (fraction & (1 << INTERVAL_BITS) - 1) >> INTERVAL_BITS
    mantissa = start.T - fallen + (1 << POINT_GUARD - 1) >> POINT_GUARD
    return mantissa, ROOT_SHIFT + (exponent >> 1)


def lane_root(first: Ints, second: Ints, features: int, epsilon: int = 0, *,
              rms: bool | int = False) -> tuple[Ints, Ints, Ints]:
    """Return what the second pass needs, given the sums of values and of their squares.

    Returns
    -------
    mean : array of int64
        The mean of the values, with four fraction bits, or 0 with ``rms``.
    mantissa, shift : arrays of int64
        The :func:`reciprocal_root` of their squared distances from that.
    """
    number, shift = reciprocal(features)
    below = RECIPROCAL_BITS - 1 - MEAN_FRACTION + shift
    mean = 0 * first if rms else first * number + (1 << below - 1) >> below
    distance = (first << MEAN_FRACTION + 1) - features * mean
    total = (second << 2 * MEAN_FRACTION) - mean * distance + epsilon
    return mean, *reciprocal_root(total, features)


def normalise(y: Ints, scales: NormScales, *, rms: bool | int = False) -> NDArray[np.int8]:
    """Return normalised values times gain plus bias, to nearest with ties upwards, within ±127.

    Parameters
    ----------
    y : array of int, shape ``[..., features, tokens]``
        Values, which are 0 for features that do not count.
    rms : bool
        Take the mean for 0.
    """
    mean, mantissa, shift = (value[..., np.newaxis, :] for value in lane_root(
        y.sum(axis=-2), (y * y).sum(axis=-2), scales.features, scales.epsilon, rms=rms))
    z = ((y << MEAN_FRACTION) - mean) * mantissa >> shift
    bias = scales.bias[:, np.newaxis] + (1 << GAIN_FRACTION - 1) << BIAS_SHIFT
    product = (2 * z + 1) * scales.gain[:, np.newaxis] + bias
    return np.clip(product >> OUTPUT_SHIFT, -127, 127).astype(np.int8)


# -- parameters in the scratchpad ------------------------------------------------------------------

def _pack(layout: data.StructLayout, scales: NormScales, word_bytes: int) -> NDArray[np.uint8]:
    packed = np.zeros(len(scales.x), np.int64)
    for name, field in layout:
        if name == "unused":
            continue
        low = -2 ** (field.width - 1) if Shape.cast(field.shape).signed else 0
        numbers = getattr(scales, name)
        bad = (numbers < low) | (numbers >= low + 2 ** field.width)
        if bad.any():
            raise ValueError(f"Parameter {name} of a normalisation must be between {low} and "
                             f"{low + 2 ** field.width - 1}, not {numbers[bad][0]}")
        packed |= (numbers & 2 ** field.width - 1) << field.offset
    table = packed.astype("<i8").view(np.uint8)
    return np.pad(table, (0, -table.size % word_bytes)).reshape(-1, word_bytes)


def pack_norm(scales: NormScales, word_bytes: int, *, norm: bool | int = True,
              ) -> NDArray[np.uint8]:
    """Return the words of the parameters, as the instruction wants them.

    Parameters
    ----------
    scales : :class:`NormScales`
        Of all features of the tiles, those among them that do not count.
    norm : bool
        Whether there is a second pass and so a second table.

    Returns
    -------
    array of uint8, shape ``[words, word_bytes]``

    Raises
    ------
    ValueError
        If a parameter does not fit its field.
    """
    layouts = (first_layout, second_layout) if norm else (first_layout,)
    return np.concatenate([_pack(layout, scales, word_bytes) for layout in layouts])


def unpack_norm(words: NDArray[np.uint8], length: int, features: int, epsilon: int, *,
                norm: bool | int = True) -> NormScales:
    """Return the scales of ``length`` features whose parameters lie in words.

    Raises
    ------
    ValueError
        If a feature that does not count has parameters, or the tables disagree.
    """
    tables = words.reshape(2 if norm else 1, -1).view("<i8")[:, :length]
    if tables[:, features:].any():
        raise ValueError(f"has parameters for features from {features} on, which do not count")
    first, second = (_unpack(layout, table) for layout, table
                     in ((first_layout, tables[0]), (second_layout, tables[-1])))
    if not norm:
        second |= {name: np.zeros(length, np.int64) for name in ("gain", "bias")}
    elif any((first[name] != second[name]).any() for name in ("x", "o")):
        raise ValueError("has two tables of parameters that disagree about the inputs")
    return NormScales(first["x"], first["o"], first["sum"], second["gain"], second["bias"],
                      features, epsilon)


def _unpack(layout: data.StructLayout, table: Ints) -> dict[str, Ints]:
    numbers = {}
    for name, field in layout:
        numbers[name] = table >> field.offset & (1 << field.width) - 1
        if Shape.cast(field.shape).signed:
            numbers[name] -= (numbers[name] >> field.width - 1) << field.width
    return numbers


# -- from floating point ---------------------------------------------------------------------------

def value_step(x: ArrayLike, o: ArrayLike | None = None) -> float:
    """Return what a step of the values stands for, given the scales of the inputs."""
    largest = max(float(np.max(scale)) for scale in (x, o) if scale is not None)
    return largest * (1 << VALUE_SHIFT) / ((1 << first_layout["x"].width) - 1)


def least_sum(step: float) -> float:
    """Return the least scale that a feature of the stored sum can have, for a value step."""
    return step * (1 << SUM_SHIFT) / ((1 << first_layout["sum"].width) - 1)


def least_output(gamma: ArrayLike, beta: ArrayLike) -> Floats:
    """Return the least scale that each feature of the output can have."""
    largest = (1 << second_layout["gain"].width - 1) - 1
    return np.maximum(np.abs(gamma), np.abs(beta)) * (1 << GAIN_FRACTION) / largest


def quantise_norm(x: ArrayLike, o: ArrayLike | None = None, *, sum: ArrayLike | None = None,
                  output: ArrayLike | None = None, gamma: ArrayLike = 1.0, beta: ArrayLike = 0.0,
                  epsilon: float = 0.0) -> NormScales:
    """Return the integers of a normalisation of ``x``, or ``x + o``.

    With ``s`` the :func:`value_step`, values are wrong by at most ``1.5 s`` for it, and by ``s``
    without ``o``. Gain and bias are wrong by at most 2^-9 of an output step, the scale of a stored
    sum of 127 steps by at most 2^-10 of a step.

    Parameters
    ----------
    x, o, sum, output : array of float, shape ``[features]``
        What a step of each feature stands for: of both inputs, of the stored sum and of the output.
    gamma, beta : array of float, shape ``[features]``
        Factor and addend of a normalised value.
    epsilon : :class:`float`
        Added to the variance.

    Raises
    ------
    ValueError
        If a scale is less than the least that can be represented, or epsilon too large.
    """
    x = np.asarray(x, np.float64)
    step = value_step(x, o)
    unit = (1 << VALUE_SHIFT) / step
    numbers: dict[str, ArrayLike] = {
        "x": x * unit, "o": 0.0 if o is None else np.asarray(o) * unit,
        "sum": 0.0, "gain": 0.0, "bias": 0.0}
    if sum is not None:
        _check("a stored sum", sum, least_sum(step))
        numbers["sum"] = step / np.asarray(sum) * (1 << SUM_SHIFT)
    if output is not None:
        _check("an output", output, least_output(gamma, beta))
        for name, factor in ("gain", gamma), ("bias", beta):
            numbers[name] = factor / np.asarray(output) * (1 << GAIN_FRACTION)
    addend = epsilon * (len(x) << 2 * MEAN_FRACTION) / step ** 2
    if not 0 <= addend < _EPSILON_LIMIT - 1:
        raise ValueError("Epsilon must be between 0 and "
                         f"{_EPSILON_LIMIT / addend * epsilon:.4g}, not {epsilon}")
    return NormScales(**{name: np.rint(np.broadcast_to(number, x.shape)).astype(np.int64)
                         for name, number in numbers.items()},
                      features=len(x), epsilon=round(addend))


def _check(what: str, scale: ArrayLike, least: ArrayLike) -> None:
    scale, least = np.broadcast_arrays(scale, least)
    bad = ~((scale >= least) & np.isfinite(scale))
    if bad.any():
        raise ValueError(f"Scale of {what} must be at least {least[bad].flat[0]:.4g}, "
                         f"not {scale[bad].flat[0]:.4g}")
