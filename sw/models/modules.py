"""The parts that the reference networks have in common, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Linear", "Norm", "SelfAttention", "gelu", "softmax"]

Array = NDArray[np.floating]

_erf = np.frompyfunc(math.erf, 1, 1)


def gelu(x: Array) -> Array:
    """Return ``x·Φ(x)``, with the exact error function."""
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)).astype(x.dtype))


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
    """The projections of a layer whose tokens attend to each other, and its heads."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int

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
        return (softmax(scores) @ v).swapaxes(0, 1).reshape(tokens, hidden)
