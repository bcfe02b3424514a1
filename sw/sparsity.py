"""Sparsity as text, the way the command line takes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .prune import prune_balanced, prune_hierarchical, prune_nm
from .prune.ranking import Bools, kept_of, largest, ratio
from .rtl.geometry import Geometry
from .structures import NM, Balanced, Dense, Hierarchical, Structure, Unstructured

__all__ = ["pruned"]


def pruned(weight: NDArray[np.float32], text: str, geometry: Geometry,
           ) -> tuple[NDArray[np.float32], Structure]:
    """Return a weight after pruning by magnitude, and the structure that it has then.

    Parameters
    ----------
    weight : array of float32, shape ``[outputs, inputs]``
    text : :class:`str`
        ``dense``; ``0.8`` prunes this share of the inputs of each block and bank; ``2:4`` leaves 2
        of each 4 candidates; ``0.8+2:4`` does both; ``random:0.9`` prunes this share of the weights
        wherever they are.
    geometry : :class:`~heddle.rtl.geometry.Geometry`

    Raises
    ------
    ValueError
        If the text says something else, a share is not at least 0 and less than 1, N is more than
        M, or the inputs are no multiple of what the structure needs.
    """
    numbers = _parsed(text)
    mask, structure = _mask(weight, numbers, geometry)
    return np.where(mask, weight, np.float32(0)), structure


def _parsed(text: str) -> dict[str, float | int]:
    """Return the numbers in a text: ``scattered``, or ``coarse`` and ``n`` and ``m``, or none."""
    try:
        match text.split("+"):
            case ["dense"]:
                return {}
            case [part] if part.startswith("random:"):
                return {"scattered": float(part.removeprefix("random:"))}
            case [part] if ":" not in part:
                return {"coarse": float(part)}
            case [*coarse, fine]:
                n, m = map(int, fine.split(":"))
                [share] = map(float, coarse or ["0"])
                return {"coarse": share, "n": n, "m": m}
    except ValueError:
        pass
    raise ValueError("Sparsity must be dense, a share, N:M, a share + N:M, or random: and a share, "
                     f"such as 0.8+2:4, not {text!r}")


def _mask(weight: NDArray[np.float32], numbers: dict[str, float | int],
          geometry: Geometry) -> tuple[Bools, Structure]:
    """Return which weights are kept, and what is known of them."""
    g = geometry
    match numbers:
        case {"scattered": share}:
            kept = kept_of(weight.size, ratio(share))
            mask = largest(np.abs(weight).ravel(), kept).reshape(weight.shape)
            return mask, Unstructured(1 - kept / weight.size)
        case {"coarse": 0, "n": int(n), "m": int(m)}:
            return prune_nm(weight, n, m, g), NM(n, m, g.depth)
        case {"coarse": share, "n": int(n), "m": int(m)}:
            mask = prune_hierarchical(weight, share, n, m, g)
            return mask, Hierarchical(g.rows, int(mask[0].sum()) // (n * g.depth),
                                      NM(n, m, g.depth))
        case {"coarse": share}:
            mask = prune_balanced(weight, share, g)
            return mask, Balanced(g.rows, g.depth, int(mask[0].sum()) // g.depth)
    return np.ones(weight.shape, bool), Dense()
