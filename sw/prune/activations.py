"""What pruners can know of the inputs of a weight: how large they are, and what makes up for what.

Both need a sample of the inputs and no training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers import checked
from .ranking import Bools

__all__ = ["compensate", "saliency"]


def saliency(weight: ArrayLike, inputs: ArrayLike) -> NDArray[np.float32]:
    """Return each element of a weight times the RMS of its input, to prune by.

    That is the criterion of Wanda (Sun et al., ICLR 2024): a small weight of an input that is
    always large matters more than a large one of an input that is nearly 0.

    Parameters
    ----------
    weight : array, shape ``[outputs, features]``
    inputs : array, shape ``[tokens, features]``
        A sample of what the weight is multiplied with.
    """
    weight = checked(weight, "Weight", None, None)
    inputs = checked(inputs, "Inputs", None, weight.shape[1])
    return (weight * np.sqrt(np.mean(np.square(inputs, dtype=np.float64), axis=0))
            ).astype(np.float32)


def compensate(weight: ArrayLike, mask: Bools, inputs: ArrayLike, *,
               damping: float = 0.01) -> NDArray[np.float32]:
    """Return a weight whose kept elements make up for those that a mask takes away.

    Of each output they are those of least squares: the pruned layer comes as close as it can to
    what the whole one gives for the sample. That is what Optimal Brain Surgeon (Hassibi and Stork,
    1993) does step by step and SparseGPT (Frantar and Alistarh, ICML 2023) approximates for layers
    too large to be solved.

    Parameters
    ----------
    weight : array, shape ``[outputs, features]``
    mask : array of bool, shape ``[outputs, features]``
        The elements to keep.
    inputs : array, shape ``[tokens, features]``
        A sample of what the weight is multiplied with.
    damping : :class:`float`
        How much the kept elements are held near to what they were, against the mean square of an
        input; it must be positive, so that a short sample is no problem.

    Raises
    ------
    ValueError
        If a shape is wrong, an element not finite, or the damping not positive.
    """
    weight = checked(weight, "Weight", None, None)
    inputs = checked(inputs, "Inputs", None, weight.shape[1]).astype(np.float64)
    mask = np.asarray(mask)
    if mask.shape != weight.shape or mask.dtype != bool:
        raise ValueError(f"Mask must be of bool and shape {weight.shape}, not of {mask.dtype} and "
                         f"{mask.shape}")
    if not 0 < damping < np.inf:
        raise ValueError(f"Damping must be positive and finite, not {damping}")
    gram = inputs.T @ inputs / len(inputs)
    hold = damping * (np.trace(gram) / len(gram) or 1.0)
    result = np.zeros(weight.shape, np.float64)
    patterns, which = np.unique(mask, axis=0, return_inverse=True)
    for number, kept in enumerate(patterns):
        rows = np.flatnonzero(which.ravel() == number)
        missing = gram[np.ix_(kept, ~kept)] @ weight[np.ix_(rows, ~kept)].T
        held = gram[np.ix_(kept, kept)] + hold * np.eye(kept.sum())
        result[np.ix_(rows, kept)] = weight[np.ix_(rows, kept)] + np.linalg.solve(held, missing).T
    return result.astype(np.float32)
