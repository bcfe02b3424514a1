"""Activation functions in floating point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rtl.isa import Activation

__all__ = ["Array", "apply", "gelu", "gelu_tanh", "named", "relu", "silu"]

Array = NDArray[Any]
"""An array of floating-point numbers."""

_STEPS, _REACH = 512, 6  # of the table for erf in a unit; where erf is 1 in double precision

_ERF = np.array([math.erf(n / _STEPS) for n in range(-_REACH * _STEPS, _REACH * _STEPS + 1)])


def _erf(x: Array) -> Array:
    """Return the error function to 1e-12: three terms of its series about the next of the table.

    A call of :func:`math.erf` for each element would take most of the time of a model.
    """
    x = np.clip(x, -_REACH, _REACH)
    index = np.rint(x * _STEPS).astype(np.intp)
    near = index.astype(x.dtype) / _STEPS
    slope, d = 2 / math.sqrt(math.pi) * np.exp(-near * near), x - near
    series = d * (1 - d * (near - d * (2 * near * near - 1) / 3))
    return _ERF[index + _REACH * _STEPS].astype(x.dtype) + slope * series


def gelu(x: Array) -> Array:
    """Return ``x·Φ(x)``, with the error function."""
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def gelu_tanh(x: Array) -> Array:
    """Return the approximation of :func:`gelu` by a hyperbolic tangent, as GPT-2 has it.

    It differs from :func:`gelu` by less than 5e-4 (Hendrycks and Gimpel, 2016).
    """
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def relu(x: Array) -> Array:
    """Return ``max(x, 0)``."""
    return np.maximum(x, 0)


def silu(x: Array) -> Array:
    """Return ``x·sigmoid(x)``, without overflow at either end."""
    return x * np.exp(-np.logaddexp(0, -x))


def apply(activation: Activation, x: Array) -> Array:
    """Return what an activation makes of ``x``."""
    functions = {Activation.RELU: relu, Activation.GELU: gelu, Activation.SILU: silu}
    return functions[activation](x) if activation in functions else x


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
