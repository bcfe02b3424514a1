"""N:M pruning by magnitude, at once or inherited from N+1 (STA: Fang et al., IEEE TVLSI 2022)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers import checked
from ..rtl.geometry import Geometry, preset
from .ranking import Bools, grouped, largest, size

__all__ = ["inherit_nm", "prune_nm"]


def prune_nm(weight: ArrayLike, n: int, m: int, geometry: Geometry | str, *,
             stride: int | None = None, within: ArrayLike | None = None) -> Bools:
    """Keep of every ``m`` weights in a group the ``n`` largest; of equal ones, the first.

    A group are weights of one output whose inputs lie ``stride`` apart:
    ``(a·m + 0…m−1)·stride + p``. By default that is the depth of the geometry, so that with
    ``m = candidates`` a group are the candidates that its fine selector offers to a slot.

    Parameters
    ----------
    weight : array, shape ``[outputs, inputs]``
    n, m : :class:`int`
    geometry : :class:`~heddle.rtl.geometry.Geometry` or :class:`str`
    stride : :class:`int`
    within : array of bool, shape ``[outputs, inputs]``
        Only these weights may be kept, at least ``n`` in each group.

    Returns
    -------
    array of bool, shape ``[outputs, inputs]``
        True = kept: exactly ``n`` in each group.

    Raises
    ------
    TypeError
        If a number is no integer, or a mask not boolean.
    ValueError
        If the weight is not finite or of the wrong shape, ``n`` more than ``m``, the inputs no
        multiple of ``m·stride``, or a group has less than ``n`` weights to choose from.
    """
    weight = checked(weight, "Weight", None, None)
    n, m = size(n, "N"), size(m, "M")
    if n > m:
        raise ValueError(f"N must be at most M = {m}, not {n}")
    stride = preset(geometry).depth if stride is None else size(stride, "Stride")
    scores = grouped(np.abs(weight), m, stride)
    if within is not None:
        allowed = np.asarray(within)
        if allowed.dtype != bool:
            raise TypeError(f"Mask must be boolean (True = may be kept), not {allowed.dtype}")
        if allowed.shape != weight.shape:
            raise ValueError(f"Mask must be of the shape {weight.shape} of the weight, not "
                             f"{allowed.shape}")
        allowed = grouped(allowed, m, stride)
        least = int(allowed.sum(2).min())
        if least < n:
            raise ValueError(f"Mask must have at least {n} weights in each group of {m}, but one "
                             f"has {least}")
        scores = np.where(allowed, scores, -1)
    return largest(scores, n, axis=2).reshape(weight.shape)


def inherit_nm(weight: ArrayLike, n: int, m: int, geometry: Geometry | str,
               train: Callable[[NDArray[np.floating], Bools], ArrayLike], *,
               stride: int | None = None) -> Bools:
    """Prune to ``n`` of ``m`` one weight of each group at a time, with training between.

    The weights that win at one number, as trained there, are those from which the next smaller
    number chooses: the sparsity inheritance of STA.

    Parameters
    ----------
    weight, n, m, geometry, stride
        As :func:`prune_nm` has them.
    train : function
        Takes the pruned weight and its mask, returns the weight as trained with that mask. It is
        called for ``m - 1``, …, ``n``.

    Returns
    -------
    array of bool, shape ``[outputs, inputs]``
        True = kept: exactly ``n`` in each group.

    Raises
    ------
    TypeError, ValueError
        As :func:`prune_nm` does.
    """
    # What is wrong is refused before any training.
    mask = np.ones_like(prune_nm(weight, n, m, geometry, stride=stride))
    for count in range(m - 1, n - 1, -1):
        mask = prune_nm(weight, count, m, geometry, stride=stride, within=mask)
        weight = train(np.where(mask, weight, 0), mask)
    return mask
