"""What the pruners share: scores of weights, choices among them, and checks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers import checked

__all__ = ["Bools", "Scores", "first_order", "grouped", "kept_of", "largest", "magnitude", "ratio",
           "size"]

Bools = NDArray[np.bool_]
Scores = NDArray[np.float64]


def magnitude(weight: ArrayLike) -> Scores:
    """Return the L2 norm of each output (row) of a weight ``[outputs, inputs]``."""
    weight = checked(weight, "Weight", None, None)
    return np.linalg.norm(weight.astype(np.float64), axis=1)


def first_order(weight: ArrayLike, gradient: ArrayLike) -> Scores:
    """Return how much the loss changes, to first order, when an output (row) is taken away.

    It is ``|Σ weight·gradient|`` over the row, the Taylor criterion of Molchanov et al. (ICLR
    2017).

    Parameters
    ----------
    weight, gradient : array, shape ``[outputs, inputs]``
        The gradient is that of the loss, summed or averaged over samples.
    """
    weight = checked(weight, "Weight", None, None)
    gradient = checked(gradient, "Gradient", *weight.shape)
    return np.abs(np.einsum("oi,oi->o", weight, gradient, dtype=np.float64))


def grouped(array: NDArray, m: int, stride: int) -> NDArray:
    """Return a view ``[outputs, addresses, m, stride]`` of an array ``[outputs, inputs]``.

    Input ``(a·m + c)·stride + p`` is element ``[:, a, c, p]``: the ``m`` members of a group lie
    ``stride`` apart.

    Raises
    ------
    ValueError
        If the inputs are no multiple of ``m·stride``.
    """
    outputs, inputs = array.shape
    if inputs % (m * stride):
        raise ValueError(f"Inputs must be a multiple of {m * stride}, not {inputs}: "
                         f"{stride} groups of {m} lie side by side")
    return array.reshape(outputs, -1, m, stride)


def largest(scores: NDArray, count: int, axis: int = 0) -> Bools:
    """Return a mask of the ``count`` largest scores along an axis; of equal ones, the first."""
    order = np.argsort(-scores, axis=axis, kind="stable")
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, order.take(np.arange(count), axis), True, axis)
    return mask


def kept_of(total: int, sparsity: float) -> int:
    """Return how many of ``total`` a sparsity leaves: to the nearest, and a half counts as one."""
    return int(total * (1 - sparsity) + 0.5)


def ratio(value: float, name: str = "Sparsity") -> float:
    """Return a share that is pruned, after checking that something is left.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not at least 0 and less than 1.
    """
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, not {value}")
    return float(value)


def size(value: int, name: str) -> int:
    """Return a number of things, after checking that it is an integer of at least 1.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is less than 1.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return int(value)
