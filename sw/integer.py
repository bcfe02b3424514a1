"""Layers in integers, computed directly, bit for bit as a device must."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import Attention, split
from .rtl.geometry import Geometry
from .rtl.isa import Activation
from .sim import attention, golden, norm
from .visits import Run

__all__ = ["QuantisedAttention", "QuantisedLayer", "QuantisedLinear", "QuantisedNorm"]


@dataclass(frozen=True)
class QuantisedLinear:
    """A layer in integers: ``requantise(weight · x, bias, …, activation)``."""

    name: str
    input: str
    output: str
    weight: NDArray[np.int8]
    """``[out, in]``, within ±127."""
    bias: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    gate_shift: NDArray[np.int64]
    activation: Activation

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the layer reads."""
        return (self.input,)

    def __call__(self, x: NDArray[np.int8], *, geometry: Geometry) -> NDArray[np.int8]:
        """Return the output ``[tokens, out]`` of an input ``[tokens, in]``, bit for bit."""
        acc = golden.matmul(self.weight.T, x.T)
        return golden.requantise(acc, self.bias, self.multiplier, self.shift, self.gate_shift,
                                 self.activation).T


@dataclass(frozen=True)
class QuantisedNorm:
    """A residual sum, its normalisation, or both, in integers."""

    inputs: tuple[str, ...]
    """Names of the tensor that the layer reads, or of two that it adds."""
    sum: str | None
    """Name of the tensor that the sum becomes, if it is kept."""
    output: str | None
    """Name of the normalised tensor, if there is one."""
    scales: norm.NormScales
    rms: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that the layer makes."""
        return tuple(name for name in (self.sum, self.output) if name)

    @property
    def name(self) -> str:
        """Name of the layer: that of the last tensor it makes."""
        return self.outputs[-1]

    def __call__(self, x: NDArray[np.int8], o: NDArray[np.int8] | None = None, *,
                 geometry: Geometry) -> tuple[NDArray[np.int8], ...]:
        """Return the outputs ``[tokens, features]``, bit for bit."""
        y = norm.values(x.T, None if o is None else o.T, self.scales)
        made = [norm.store_sum(y, self.scales)] if self.sum else []
        made += [norm.normalise(y, self.scales, rms=self.rms)] if self.output else []
        return tuple(each.T for each in made)


@dataclass(frozen=True)
class QuantisedAttention:
    """A layer of attention in integers. Its bits depend on the tiles of keys that are visited."""

    layer: Attention
    score: attention.Scale
    """Of a product of integers, to make an energy."""
    gain: int
    gain_shift: int
    """``gain / 2^(gain_shift+1)`` output steps of a step of the values."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the layer reads."""
        return self.layer.inputs

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def output(self) -> str:
        """Name of the tensor that the layer makes."""
        return self.layer.output

    def __call__(self, q: NDArray[np.int8], k: NDArray[np.int8], v: NDArray[np.int8], *,
                 geometry: Geometry) -> NDArray[np.int8]:
        """Return the output ``[queries, features]``, bit for bit."""
        layer, rows, lanes = self.layer, geometry.rows, geometry.lanes
        visits = layer.pattern.runs(rows, lanes)
        heads = split(q, layer.widths)
        keys, values = split(k, layer.key_widths), split(v, layer.value_widths)
        output = np.zeros((len(q), sum(layer.output_widths)), np.int8)
        for head, out in enumerate(split(output, layer.output_widths)):
            key, value = keys[head // layer.group], values[head // layer.group]
            together: dict[tuple[Run, ...], list[int]] = {}
            for first in range(0, len(q), lanes):
                runs = visits.of(*layer.item(head), first // lanes)
                together.setdefault(runs, []).append(first)
            for runs, tiles in together.items():
                queries = np.concatenate([np.arange(first, first + lanes) for first in tiles])
                queries = queries[queries < len(q)]
                visited = [(run.first + n, None if run.mask is None else np.tile(
                    visits.masks[run.mask[0] + n * run.mask[1]], (1, len(tiles)))[:, :len(queries)])
                    for run in runs for n in range(run.count)]
                out[queries] = attention.attend_job(
                    heads[head][queries].T, key.T, value, visited, rows=rows,
                    depth=geometry.depth, scale=self.score, gain=self.gain,
                    gain_shift=self.gain_shift).T
        return output


QuantisedLayer = QuantisedLinear | QuantisedAttention | QuantisedNorm
"""Any layer in integers."""
