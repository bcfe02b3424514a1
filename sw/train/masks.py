"""Masks of a whole network: how many steps of the array each weight keeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..prune import prune_balanced
from ..prune.ranking import Bools, ratio
from ..rtl.geometry import Geometry

__all__ = ["network_masks"]

Array = NDArray[np.floating]


def network_masks(weights: Mapping[str, Array], sparsity: float,
                  geometry: Geometry) -> dict[str, Bools]:
    """Return column-balanced masks that together keep at most a share of all weights.

    Every weight has the mask of :func:`~heddle.prune.prune_balanced`, so that each of its blocks
    takes as many steps. Steps are dealt out one by one: every weight has one, and the next goes to
    the weight in which it keeps most, measured in squares of weights over the mean square of the
    matrix. Where one step each is too many already, the groups of ``rows`` weights that are least
    by the same measure go, until the share is reached; their slots of the list stay empty.

    Parameters
    ----------
    weights : mapping of str to array, shape ``[outputs, inputs]``
        The outputs are multiples of ``rows``, the inputs of ``depth``.
    sparsity : :class:`float`
        Share of all weights that is pruned at least.
    geometry : :class:`~heddle.rtl.geometry.Geometry`

    Returns
    -------
    dict of str to array of bool
        True = kept.

    Raises
    ------
    TypeError
        If the sparsity is not a number.
    ValueError
        If the sparsity is not at least 0 and less than 1, or a size does not fit.
    """
    budget = (1 - ratio(sparsity)) * sum(weight.size for weight in weights.values())
    for name, weight in weights.items():
        if len(weight) % geometry.rows:
            raise ValueError(f"Outputs of {name} must be a multiple of {geometry.rows}, not "
                             f"{len(weight)}: a block has that many")
    energy = {name: weight.astype(np.float64) ** 2 / np.mean(weight.astype(np.float64) ** 2)
              for name, weight in weights.items()}
    options = {name: [prune_balanced(weight, 1 - steps / total, geometry)
                      for total in [weight.shape[1] // geometry.depth]
                      for steps in range(1, total + 1)] for name, weight in weights.items()}
    steps = dict.fromkeys(weights, 0)

    def gain(name: str) -> float:
        """Return the mean of the squares that the next step of a weight keeps."""
        more = options[name][steps[name] + 1] & ~options[name][steps[name]]
        return float(energy[name][more].mean())

    kept = sum(int(masks[0].sum()) for masks in options.values())
    while growing := [name for name, masks in options.items() if steps[name] + 1 < len(masks)
                      and kept + weights[name].size // len(masks) <= budget]:
        best = max(growing, key=gain)
        steps[best] += 1
        kept += weights[best].size // len(options[best])
    return _trimmed({name: options[name][steps[name]] for name in weights}, energy, budget,
                    geometry.rows)


def _trimmed(masks: dict[str, Bools], energy: Mapping[str, Array], budget: float,
             rows: int) -> dict[str, Bools]:
    """Return masks without the least of their groups, as many as are beyond the budget."""
    surplus = int(np.ceil((sum(int(mask.sum()) for mask in masks.values()) - budget) / rows))
    if surplus <= 0:
        return masks
    sums = {name: np.where(mask, energy[name], 0).reshape(-1, rows, mask.shape[1]).sum(1)
            for name, mask in masks.items()}
    kept = {name: mask[::rows] for name, mask in masks.items()}
    least = np.sort(np.concatenate([sums[name][kept[name]] for name in masks]))[surplus - 1]
    return {name: mask & (sums[name] > least).repeat(rows, axis=0) for name, mask in masks.items()}
