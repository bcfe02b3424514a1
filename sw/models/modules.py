"""The parts that the reference networks have in common, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "Array", "Linear", "Norm", "SelfAttention", "gelu", "gelu_tanh", "relu",
           "silu", "softmax"]

Array = NDArray[np.floating]

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
    """Return ``x·sigmoid(x)``."""
    return 0.5 * x * (1 + np.tanh(0.5 * x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    function.__name__: function for function in (gelu, gelu_tanh, relu, silu)}
"""The functions between both products of a feed-forward part, by name."""


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Linear:
    """``x·weightᵀ + bias``; ``weight`` is ``[out, in]``."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.weight.T + self.bias


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the features of each token."""

    gain: Array
    bias: Array
    epsilon: float

    def __call__(self, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + self.epsilon) * self.gain + self.bias


@dataclass(frozen=True, kw_only=True)
class SelfAttention:
    """The projections of a layer whose tokens attend to each other, and its heads.

    A token of a *causal* layer sees itself and those before it alone.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int
    causal: bool = False

    def attend(self, q: Array, k: Array, v: Array, lengths: Sequence[int]) -> Array:
        """Return what attention gives, all heads side by side, ``[tokens, features]``.

        The tokens of sequences of these lengths are the rows; each sequence sees only itself.
        """
        ends = np.cumsum(lengths)[:-1]
        return np.concatenate([self._attend(*qkv) for qkv in zip(
            np.split(q, ends), np.split(k, ends), np.split(v, ends))])

    def _attend(self, q: Array, k: Array, v: Array) -> Array:
        tokens, hidden = q.shape
        q, k, v = (t.reshape(tokens, self.heads, -1).swapaxes(0, 1) for t in (q, k, v))
        scores = q @ k.swapaxes(1, 2) / math.sqrt(hidden // self.heads)
        if self.causal:
            scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
        return (softmax(scores) @ v).swapaxes(0, 1).reshape(tokens, hidden)
