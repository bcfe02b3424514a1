"""Activation functions in floating point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rtl.isa import Activation

__all__ = ["apply", "gelu", "named"]

Array = NDArray[Any]  # of any float

_erf = np.frompyfunc(math.erf, 1, 1)


def gelu(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return ``x·Φ(x)``, with the exact error function."""
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)).astype(x.dtype))


def apply(activation: Activation, x: Array) -> Array:
    """Return what an activation makes of ``x``."""
    if activation == Activation.RELU:
        return np.maximum(x, 0)
    if activation == Activation.GELU:
        return gelu(x)
    if activation == Activation.SILU:
        return x * np.exp(-np.logaddexp(0, -x))  # without overflow at either end
    return x


def named(name: str | None) -> Activation:
    """Return the activation of a name, such as ``"gelu"``; ``None`` is no activation.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    names = {each.name.lower(): each for each in Activation if each != Activation.NONE}
    if name is None:
        return Activation.NONE
    if name not in names:
        raise ValueError(f"Activation must be None, {', '.join(names)}, not {name!r}")
    return names[name]
