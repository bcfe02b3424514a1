"""Tensors and layers of networks, in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .activations import apply
from .patterns import Pattern
from .rtl.isa import Activation

if TYPE_CHECKING:  # structures are checked with what the pruners have, which check as layers do
    from .structures import Structure

__all__ = ["Add", "Attention", "Layer", "Linear", "Norm", "Tensor", "checked", "split"]

_QUERIES = 256  # whose scores are computed at a time


def checked(array: ArrayLike, name: str, *shape: int | None) -> NDArray[np.float32]:
    """Return an array as float32 after checking it.

    Parameters
    ----------
    array : array
    name : :class:`str`
        What it is, for the messages.
    shape : :class:`int` or ``None``
        The size that each axis must have; ``None`` allows any from 1 up.

    Raises
    ------
    TypeError
        If its elements are not real numbers.
    ValueError
        If its rank or a size is wrong, or an element is not finite.
    """
    array = np.asarray(array)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name} must have real numbers, not {array.dtype}")
    if array.ndim != len(shape):
        raise ValueError(f"{name} must have {len(shape)} axes, not {array.ndim} (its shape is "
                         f"{array.shape})")
    for axis, (wanted, found) in enumerate(zip(shape, array.shape, strict=True)):
        if found < 1 or wanted not in (None, found):
            raise ValueError(f"{name} must have {'at least 1' if wanted is None else wanted} "
                             f"along axis {axis}, not {found} (its shape is {array.shape})")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite in float32, but element {where} is {array[where]}")
    return array


@dataclass(frozen=True)
class Tensor:
    """A matrix of activations, ``[tokens, features]``."""

    name: str
    tokens: int
    features: int


@dataclass(frozen=True)
class Linear:
    """``output = activation(input · weightᵀ + bias)``, with ``weight`` of ``[out, in]``."""

    name: str
    input: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    structure: Structure | None = None
    """What is known of the zeros of the weight."""
    activation: Activation = Activation.NONE

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the layer reads."""
        return (self.input,)

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return apply(self.activation, x @ self.weight.T.astype(np.float64) + self.bias)


@dataclass(frozen=True)
class Add:
    """``output = inputs[0] + inputs[1]``: a residual connection."""

    inputs: tuple[str, str]
    output: str

    @property
    def name(self) -> str:
        """Name of the layer: that of its output."""
        return self.output

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return x + y


@dataclass(frozen=True)
class Norm:
    """LayerNorm over the features of each token, or with ``rms`` RMSNorm."""

    name: str
    input: str
    output: str
    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    epsilon: float
    rms: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the layer reads."""
        return (self.input,)

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.rms:
            x = x - x.mean(axis=1, keepdims=True)
        variance = (x * x).mean(axis=1, keepdims=True)
        return x / np.sqrt(variance + self.epsilon) * self.gain + self.bias


@dataclass(frozen=True)
class Attention:
    """The layer ``output = softmax(queries · keysᵀ · scale) · values``, head by head.

    The features of a tensor are those of its heads, one after another. Items of a batch are heads,
    too: those of the first item come first.
    """

    name: str
    inputs: tuple[str, str, str]
    """Names of queries, keys and values."""
    output: str
    widths: tuple[int, ...]
    """Features of each head of queries, over all items; its keys have as many."""
    value_widths: tuple[int, ...]
    """Features of each head of values, which serves ``group`` consecutive heads of queries."""
    scale: float
    pattern: Pattern

    @property
    def heads(self) -> int:
        """Heads of queries, over all items."""
        return len(self.widths)

    @property
    def group(self) -> int:
        """Heads that share their keys and values."""
        return len(self.widths) // len(self.value_widths)

    @property
    def key_widths(self) -> tuple[int, ...]:
        """Features of each head of keys."""
        return self.widths[::self.group]

    @property
    def output_widths(self) -> tuple[int, ...]:
        """Features of each head of the output."""
        return tuple(width for width in self.value_widths for _ in range(self.group))

    @property
    def sources(self) -> NDArray[np.int64]:
        """Of which feature of the values each feature of the output is a mean."""
        features = split(np.arange(sum(self.value_widths)), self.value_widths)
        return np.concatenate([part for part in features for _ in range(self.group)])

    def item(self, number: int) -> tuple[int, int]:
        """Return item of the batch and head in the pattern of a head."""
        return divmod(number, self.pattern.heads)

    def __call__(self, q: NDArray[np.float64], k: NDArray[np.float64],
                 v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the output for inputs of as many tokens as the pattern has, or a multiple."""
        items = len(q) // self.pattern.queries
        if items and len(q) == items * self.pattern.queries and len(k) == len(v) == \
                items * self.pattern.keys:
            return np.concatenate([self._item(*item) for item in zip(
                *(np.split(x, items) for x in (q, k, v)), strict=True)])
        raise ValueError(f"{self.name} must have {self.pattern.queries} queries and "
                         f"{self.pattern.keys} keys, or a multiple of both, not {len(q)} queries, "
                         f"{len(k)} keys and {len(v)} values")

    def _item(self, q: NDArray, k: NDArray, v: NDArray) -> NDArray[np.float64]:
        queries, keys, values = (split(x, widths) for x, widths in (
            (q, self.widths), (k, self.key_widths), (v, self.value_widths)))
        output = [np.zeros((len(q), value.shape[1])) for value in values for _ in range(self.group)]
        for head, (query, out) in enumerate(zip(queries, output)):
            item, place = self.item(head)
            for start in range(0, len(q), _QUERIES):
                part = range(start, min(start + _QUERIES, len(q)))
                seen = self.pattern.visible(place, part, range(len(k)), item)
                scores = query[part.start:part.stop] @ keys[head // self.group].T * self.scale
                scores = np.where(seen, scores, -np.inf)
                largest = scores.max(axis=1, keepdims=True)
                weights = np.exp(scores - np.where(seen.any(1, keepdims=True), largest, 0))
                total = np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
                out[part.start:part.stop] = weights / total @ values[head // self.group]
        return np.concatenate(output, axis=1)


def split(x: NDArray, widths: Sequence[int]) -> list[NDArray]:
    """Return the features of heads of so many, which are the last axis of an array."""
    return np.split(x, np.cumsum(widths)[:-1], axis=-1)


Layer = Linear | Attention | Add | Norm
"""Any layer."""
