"""Hierarchical pruning: coarse blocks, then fine inside them (Qi et al., ICCAD 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..layers import checked
from ..rtl.geometry import Geometry, preset
from .balanced import balanced_groups
from .nm import prune_nm
from .ranking import Bools, ratio

__all__ = ["prune_hierarchical"]


def prune_hierarchical(weight: ArrayLike, sparsity: float, n: int, m: int,
                       geometry: Geometry | str) -> Bools:
    """Keep groups of ``m`` inputs for each block of ``rows`` outputs, and ``n`` weights in each.

    The *coarse* level is that of :func:`~.balanced.prune_balanced`, with groups of ``m`` inputs
    that lie ``depth`` apart instead of single ones: as many in every bank, alike for the outputs of
    a block. The *fine* level is :func:`~.nm.prune_nm` inside: of a group that is kept each output
    has its own ``n`` largest weights. Groups are ranked by the L2 norm of what the fine level
    leaves of them, because that is what keeping one keeps.

    Parameters
    ----------
    weight : array, shape ``[outputs, inputs]``
    sparsity : :class:`float`
        Share of the groups of each bank that a block does without, to the nearest; one always
        stays. Of all weights ``(1 - sparsity)·n/m`` are kept.
    n, m : :class:`int`
    geometry : :class:`~heddle.rtl.geometry.Geometry` or :class:`str`

    Returns
    -------
    array of bool, shape ``[outputs, inputs]``
        True = kept.

    Raises
    ------
    TypeError
        If a number is of the wrong type.
    ValueError
        If the weight is not finite or of the wrong shape, the sparsity not at least 0 and less
        than 1, ``n`` more than ``m``, or the inputs no multiple of ``m·depth``.
    """
    weight, sparsity = checked(weight, "Weight", None, None), ratio(sparsity)
    fine = prune_nm(weight, n, m, geometry)
    return fine & balanced_groups(np.where(fine, weight, 0), sparsity, preset(geometry), m)
