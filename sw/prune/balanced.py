"""Column-balanced block pruning (Peng et al., ISQED 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..layers import checked
from ..rtl.geometry import Geometry, preset
from .ranking import Bools, grouped, kept_of, largest, ratio

__all__ = ["balanced_groups", "prune_balanced"]


def prune_balanced(weight: ArrayLike, sparsity: float, geometry: Geometry | str) -> Bools:
    """Keep of each block of ``rows`` outputs as many inputs in every bank, those of largest norm.

    A block of the paper is here ``rows`` outputs of one input, ranked by its L2 norm, and what is
    balanced are the ``depth`` banks in which the inputs lie (input ``k`` in bank ``k mod depth``).
    So the lists of all blocks are of one length, and each step finds an input in every bank. Where
    ``rows`` does not divide the outputs the last block has fewer. Of equal norms the first are
    kept.

    Parameters
    ----------
    weight : array, shape ``[outputs, inputs]``
    sparsity : :class:`float`
        Share of the inputs of each bank that a block does without, to the nearest; one always
        stays.
    geometry : :class:`~heddle.rtl.geometry.Geometry` or :class:`str`

    Returns
    -------
    array of bool, shape ``[outputs, inputs]``
        True = kept: alike for all outputs of a block.

    Raises
    ------
    TypeError
        If the sparsity or the weight is not of numbers.
    ValueError
        If the weight is not finite or of the wrong shape, the sparsity not at least 0 and less
        than 1, or the inputs no multiple of ``depth``.
    """
    weight = checked(weight, "Weight", None, None)
    return balanced_groups(weight, ratio(sparsity), preset(geometry), 1)


def balanced_groups(weight: Bools | np.ndarray, sparsity: float, geometry: Geometry,
                    m: int) -> Bools:
    """Return the mask of :func:`prune_balanced` for groups of ``m`` inputs, kept or not as one."""
    squares = grouped(weight.astype(np.float64) ** 2, m, geometry.depth).sum(2)
    blocks = np.arange(0, len(weight), geometry.rows)
    norms = np.add.reduceat(squares, blocks, axis=0)
    chosen = largest(norms, max(1, kept_of(norms.shape[1], sparsity)), axis=1)
    mask = chosen[np.arange(len(weight)) // geometry.rows, :, np.newaxis]
    return mask.repeat(m, axis=2).reshape(weight.shape)
