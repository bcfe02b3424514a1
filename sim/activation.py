"""The bit-exact NumPy model of the activations of the drain."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rtl.activation import (
    FRACTION_BITS,
    GATE_BITS,
    INDICES,
    UNIT_BITS,
    VALUE_BITS,
    complements,
)
from ..rtl.isa import Activation

__all__ = ["FINER", "GATED", "activate", "find_gate_shift", "output_step"]

FINER = 1 << FRACTION_BITS - 1
"""Steps in an output step to which the scale of a channel with an activation leads."""

GATED = tuple(UNIT_BITS)
"""The activations whose output steps are powers of two."""

_LARGEST_SHIFT = VALUE_BITS - INDICES.bit_length()  # with which the table ends before the value


def _gates(activation: Activation) -> NDArray[np.float64]:
    """Return the gate of each index from the least one up."""
    missing = np.array(complements(activation), np.float64)
    return np.concatenate([missing[::-1], (1 << GATE_BITS) - missing])


_GATES: dict[Activation, NDArray[np.float64]] = {
    activation: _gates(activation) for activation in Activation if activation != Activation.NONE}


def activate(value: ArrayLike, gate_shift: ArrayLike,
             activation: Activation) -> NDArray[np.int8]:
    """Return ``value · gate / 2^16``, ties up, within ±127.

    The gate is that of the index ``value >> gate_shift``, within ±:data:`INDICES`. A value of more
    than :data:`VALUE_BITS` saturates, and its index is the last one on its side.

    Parameters
    ----------
    value : array of int, or of float64 with integers
        In 1/256 of an output step.
    gate_shift : array of int, which can be broadcast to the shape of ``value``
    activation : :class:`~heddle.rtl.isa.Activation`
        Other than ``NONE``.
    """
    value = np.asarray(value, np.float64)
    limit = 1 << VALUE_BITS - 1
    within = value.clip(-limit, limit - 1)
    place = (within.astype(np.int32) >> np.asarray(gate_shift, np.int32)) + np.int32(INDICES)
    beyond = within != value
    if beyond.any():
        place[beyond] = np.where(value[beyond] < 0, 0, 2 * INDICES - 1)
    # A value of 20 bits times a gate of 9: exact, and so is what is added and the scaling.
    within *= _GATES[activation].take(place, mode="clip")
    drop = FRACTION_BITS + GATE_BITS
    within += 1 << drop - 1
    within *= 0.5 ** drop
    return np.floor(within, out=within).clip(-127, 127, out=within).astype(np.int8)


def output_step(activation: Activation, gate_shift: ArrayLike) -> NDArray[np.float64]:
    """Return what a step of the output stands for if the gate is that of GELU or SiLU."""
    return np.ldexp(1.0, FRACTION_BITS - UNIT_BITS[activation] - np.asarray(gate_shift))


def find_gate_shift(activation: Activation, step: ArrayLike) -> NDArray[np.int64]:
    """Return the gate shift with the least :func:`output_step` that is at least ``step``.

    It is at most 12: then the table ends before a value saturates, and an output is as exact as
    the table. If all steps are less than ``step``, it is 0.
    """
    steps = output_step(activation, np.arange(_LARGEST_SHIFT, -1, -1))  # from the least one up
    return np.maximum(_LARGEST_SHIFT - np.searchsorted(steps, step), 0)
