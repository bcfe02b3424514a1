"""Networks in floating point whose tensors are rounded as on the device, or in other ways.

What the device rounds is rounded here: tensors and weights to INT8, probabilities to a few bits.
What it computes with many more bits than that, sums, roots and activations, is exact. So this is
not bit for bit, but near enough to show what a choice costs, and any choice can be changed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..graph import Graph
from ..layers import Attention, Linear, split
from ..models.modules import Array
from ..sim.attention import FRACTION, GROUP

__all__ = ["LIMIT", "Emulation", "approximate"]

LIMIT = 127
"""Largest magnitude of an integer that stands for a value."""


def approximate(scores: Array, bits: int, group: int) -> Array:
    """Return a softmax over the last axis of natural logarithms, of rounded probabilities.

    Parameters
    ----------
    scores : array, shape ``[..., keys]``
        Minus infinity where nothing is seen; something is seen by every query.
    bits : :class:`int`
        Of a probability, relative to the level of its group.
    group : :class:`int`
        Keys that share a level, an integer power of two, see ``docs/numerics.md``.
    """
    largest = (1 << bits) - 1
    steps = 1 << FRACTION
    energy = np.floor(-scores * math.log2(math.e) * steps)
    keys = energy.shape[-1]
    padding = [(0, 0)] * (energy.ndim - 1) + [(0, -keys % group)]
    grouped = np.pad(energy, padding, constant_values=np.inf)
    grouped = grouped.reshape(*energy.shape[:-1], -1, group)
    level = np.floor(grouped.min(-1, keepdims=True) / steps)
    level = np.where(np.isfinite(level), level, 0)
    rounded = np.rint(largest * np.exp2(level - grouped / steps))
    weights = rounded * np.exp2(level.min(-2, keepdims=True) - level)
    weights = weights.reshape(*energy.shape[:-1], -1)[..., :keys]
    return weights / weights.sum(-1, keepdims=True)


@dataclass
class Emulation:
    """Evaluates graphs with rounding.

    Attributes
    ----------
    scales : mapping of str to array
        Value of a step of each feature of the tensors that are stored; others stay as they are.
    bits : int or None
        Of a probability; with ``None`` the softmax is exact.
    group : :class:`int`
        Keys that share a level.
    dynamic : collection of str
        Tensors of which each token has a factor besides, with which its largest value is
        :data:`LIMIT` steps.
    """

    scales: Mapping[str, Array]
    bits: int | None = 7
    group: int = GROUP
    dynamic: Collection[str] = ()
    _linears: dict[str, Linear] = field(default_factory=dict, init=False)

    def __call__(self, graph: Graph, x: Array) -> Array:
        """Return the only output for the only input."""
        [name], [output] = graph.inputs, graph.outputs
        values = {name: self._round(name, x)}
        for layer in graph.layers:
            inputs = [values[each] for each in layer.inputs]
            if isinstance(layer, Attention) and self.bits is not None:
                made = _attend(layer, inputs, self.bits, self.group)
            elif isinstance(layer, Linear):
                made = self._linear(layer)(*inputs)
            else:
                made = layer(*inputs)
            values[layer.output] = self._round(layer.output, made)
        return values[output]

    def _round(self, name: str, x: Array) -> Array:
        """Return the multiples of the steps of a tensor next to its values."""
        if name not in self.scales:
            return x
        steps = self.scales[name]
        if name in self.dynamic:
            largest = np.abs(x / steps).max(1, keepdims=True)
            steps = steps * np.where(largest > 0, largest / LIMIT, 1)
        return np.clip(np.rint(x / steps), -LIMIT, LIMIT) * steps

    def _linear(self, layer: Linear) -> Linear:
        """Return the layer with rounded weights, which the steps of its input are folded into."""
        if layer.input not in self.scales:
            return layer
        if layer.name not in self._linears:
            folded = layer.weight * self.scales[layer.input]
            step = np.abs(folded).max(1, keepdims=True) / LIMIT
            rounded = np.rint(folded / np.where(step > 0, step, 1)) * step
            self._linears[layer.name] = replace(layer, weight=rounded / self.scales[layer.input])
        return self._linears[layer.name]


def _attend(layer: Attention, inputs: Sequence[Array], bits: int, group: int) -> Array:
    """Return the output of attention whose softmax is :func:`approximate`."""
    q, k, v = inputs
    keys, values = split(k, layer.key_widths), split(v, layer.value_widths)
    output = []
    for head, query in enumerate(split(q, layer.widths)):
        item, place = layer.item(head)
        seen = layer.pattern.visible(place, range(len(q)), range(len(k)), item)
        scores = query @ keys[head // layer.group].T * layer.scale
        weights = approximate(np.where(seen, scores, -np.inf), bits, group)
        output.append(weights @ values[head // layer.group])
    return np.concatenate(output, axis=1)
