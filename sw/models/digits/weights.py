"""The trained weights, as ``heddle.train.digits`` wrote them beside this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from safetensors.numpy import load_file

from ..transformer import Transformer
from ..vit import vision_transformer

__all__ = ["LEVELS", "load", "weights_file"]

LEVELS = {"dense": 0.0, "80": 0.8, "90": 0.9}
"""The models, and the share of the projections' weights that is pruned at least."""


def weights_file(level: str) -> Path:
    """Return where the weights of a model are kept: float16, under the model's names.

    Raises
    ------
    ValueError
        If there is no model of that name.
    """
    if level not in LEVELS:
        raise ValueError(f"Model must be one of {', '.join(LEVELS)}, not {level!r}")
    return Path(__file__).parent / f"{level}.safetensors"


def load(level: str, dtype: DTypeLike = np.float64) -> Transformer:
    """Return a trained model: ``dense``, ``80`` or ``90``; refuses what :func:`weights_file` does.

    Its inputs are images ``[images, 1, side, side]``, its logits those of the ten digits.
    """
    return vision_transformer(load_file(weights_file(level)), dtype)
