"""Symmetric INT8 quantisation of graphs: scales, integer layers, and their exact evaluation.

A tensor's value is ``q · scale[feature]``, with ``q`` in ±127. As every output channel has its own
multiplier in the drain and every input channel can be folded into the weights, a scale for each
feature costs nothing in hardware. How the range is shared between activations and weights follows
SmoothQuant (Xiao et al., ICML 2023): feature ``k`` is divided by ``|x_k|^α / |w_k|^(1-α)``, with
the α of least error for each tensor; here ``|w_k|`` is the RMS, which gave less error than the
maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .graph import Graph, checked_inputs
from .integer import QuantisedAttention, QuantisedLayer, QuantisedLinear, QuantisedNorm
from .layers import Add, Attention, Linear, Norm
from .rtl.geometry import Geometry, preset
from .rtl.isa import Activation
from .sim import golden, norm
from .sim.activation import FINER, GATED, find_gate_shift, output_step
from .sim.attention import score_scale

__all__ = ["Activations", "MAX_INPUTS", "QuantisedGraph", "Scale", "quantise", "relative_error",
           "retarget"]

Activations = Literal["tensor", "token"]
"""Whether activations have fixed scales, or each token a factor that the host finds at run time."""

MAX_INPUTS = (2 ** 31 - 1) // (127 * 128)
"""Most inputs of a layer: with more, an accumulator of 32 bits could overflow."""

_LIMIT = 127
_ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_FLOOR = 1e-3  # of the largest: for features that the calibration hardly touches
_SAMPLE = 256  # tokens with which the alphas are compared
_LARGEST_GAIN = 2.0 ** 15
_QUANTILES = np.linspace(0, 1, 9)  # of the gains that are compared
_LEAST = 1 + 2.0 ** -20  # times the least scale that the hardware takes: scales are float32
_BIAS_LIMIT = 2 ** 25  # half of what the sum of accumulator and bias saturates to

Array = NDArray[np.float64]


def relative_error(got: ArrayLike, wanted: ArrayLike) -> float:
    """Return the RMS of the difference over the RMS of what is wanted; absolute if that is 0."""
    wanted = np.asarray(wanted, np.float64)
    difference = np.sqrt(np.mean((np.asarray(got, np.float64) - wanted) ** 2))
    return float(difference / (np.sqrt(np.mean(wanted ** 2)) or 1.0))


@dataclass(frozen=True)
class Scale:
    """How the integers of a tensor stand for its values: ``q · feature[f] · token[t]``."""

    feature: NDArray[np.float32]
    """Value of a step of each feature."""

    def tokens(self, x: NDArray) -> NDArray[np.float32]:
        """Return the factor of each token with which ``x`` ``[tokens, features]`` fills ±127."""
        largest = np.abs(x / self.feature.astype(np.float64)).max(axis=1)
        return np.where(largest > 0, largest / _LIMIT, 1).astype(np.float32)

    def quantise(self, x: NDArray, tokens: NDArray[np.float32] | float = 1.0) -> NDArray[np.int8]:
        """Return the integers that stand for ``x``."""
        steps = np.rint(x / self._steps(tokens))
        return np.clip(steps, -_LIMIT, _LIMIT).astype(np.int8)

    def dequantise(self, q: NDArray[np.int8],
                   tokens: NDArray[np.float32] | float = 1.0) -> NDArray[np.float32]:
        """Return what integers stand for."""
        return (q * self._steps(tokens)).astype(np.float32)

    def _steps(self, tokens: NDArray[np.float32] | float) -> Array:
        return self.feature.astype(np.float64) * np.reshape(tokens, (-1, 1))


@dataclass(frozen=True)
class QuantisedGraph:
    """A graph in integers."""

    graph: Graph
    scales: dict[str, Scale]
    """How each tensor is represented."""
    layers: list[QuantisedLayer]
    per_token: bool
    """Each token has a factor of its own, the same in all tensors."""
    host_bias: dict[str, NDArray[np.float32]]
    """Biases of outputs that the host adds. With factors for the tokens it adds all of them: the
    accumulators are then in units that differ from token to token."""

    def evaluate(self, inputs: Mapping[str, NDArray[np.int8]],
                 geometry: str | Geometry = "zcu102") -> dict[str, NDArray[np.int8]]:
        """Return the integers of all tensors, computed layer by layer as the device must.

        They depend on the geometry if there is attention in the graph.
        """
        values = dict(inputs)
        for layer in self.layers:
            read = (values[name] for name in layer.inputs)
            if isinstance(layer, QuantisedNorm):
                made = layer(*read, geometry=preset(geometry))
                values |= zip(layer.outputs, made, strict=True)
            else:
                values[layer.output] = layer(*read, geometry=preset(geometry))
        return values

    def integers(self, inputs: Mapping[str, ArrayLike],
                 geometry: str | Geometry = "zcu102") -> dict[str, NDArray[np.int8]]:
        """Return the integers of all tensors for inputs in floating point."""
        return self.evaluate(self._quantise_inputs(inputs)[0], geometry)

    def rounded(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        """Return what inputs are after they have been quantised."""
        quantised, tokens = self._quantise_inputs(inputs)
        return {name: self.scales[name].dequantise(q, tokens) for name, q in quantised.items()}

    def infer(self, inputs: Mapping[str, ArrayLike],
              geometry: str | Geometry = "zcu102") -> dict[str, NDArray[np.float32]]:
        """Return the outputs in floating point for inputs in floating point."""
        quantised, tokens = self._quantise_inputs(inputs)
        values = self.evaluate(quantised, geometry)
        return {name: self.scales[name].dequantise(values[name], tokens)
                + self.host_bias.get(name, np.float32(0)) for name in self.graph.outputs}

    def _quantise_inputs(self, inputs: Mapping[str, ArrayLike],
                         ) -> tuple[dict[str, NDArray[np.int8]], NDArray[np.float32]]:
        """Return the integers of the inputs and the factors of the tokens."""
        quantised, tokens = {}, np.ones(1, np.float32)
        tensors = [self.graph.tensors[name] for name in self.graph.inputs]
        for name, x in checked_inputs(inputs, tensors, any_tokens=True).items():
            if self.per_token:
                tokens = self.scales[name].tokens(x)
            quantised[name] = self.scales[name].quantise(x, tokens)
        return quantised, tokens


def quantise(graph: Graph, calibration: Mapping[str, ArrayLike],
             activations: Activations = "tensor", *, headroom: float = 1.0) -> QuantisedGraph:
    """Quantise a graph, with scales that fit the tensors of a calibration run.

    Parameters
    ----------
    graph : :class:`~heddle.graph.Graph`
    calibration : mapping of str to array
        An example of each input, of any number of tokens.
    activations : ``"tensor"`` or ``"token"``
        ``"token"`` is for graphs with one input, in which no layer whose output another one reads
        has a bias.
    headroom : :class:`float`
        Largest value that can be represented, over the largest of the calibration. Values beyond
        saturate, so what is calibrated with few tokens and meant for others should have some.

    Raises
    ------
    ValueError
        If the calibration does not fit the graph, a layer has too many inputs for the
        accumulators, values leave the range of float32, the headroom is less than 1, or the graph
        does not allow factors for the tokens.
    """
    if not headroom >= 1:
        raise ValueError(f"Headroom must be at least 1, not {headroom!r}")
    if activations not in ("tensor", "token"):
        raise ValueError(f"Activations must be 'tensor' or 'token', not {activations!r}")
    per_token = activations == "token"
    _check(graph, per_token)
    values = graph.evaluate(calibration)
    scales = {name: _choose_scale(name, values, graph, headroom=headroom, per_token=per_token)
              for name in graph.inputs}
    if per_token:
        name = graph.inputs[0]
        values[name] = values[name] / scales[name].tokens(values[name])[:, np.newaxis]
        for linear in graph.linear_layers:
            values[linear.output] = linear(values[linear.input]) - linear.bias
    layers: list[QuantisedLayer] = []
    fused: set[str] = set()
    for layer in graph.layers:
        if isinstance(layer, Add | Norm):
            if layer.output not in fused:
                layers.append(made := _norm(layer, values, scales, graph, headroom))
                fused |= set(made.outputs)
            continue
        if isinstance(layer, Attention):
            scale, attention = _attention(layer, values[layer.output], scales, headroom)
            scales[layer.output] = scale
            layers.append(attention)
            continue
        bias = np.zeros_like(layer.bias) if per_token else layer.bias
        weight, step = _quantise_weight(layer.weight * _wide(scales[layer.input]), bias)
        scale = _choose_scale(layer.output, values, graph, headroom=headroom, least=step,
                              activation=layer.activation)
        finer = 1 if layer.activation == Activation.NONE else FINER
        multiplier, shift = golden.quantise_scale(finer * step / _wide(scale))
        gate_shift = np.zeros_like(shift)
        if layer.activation in GATED:
            gate_shift = find_gate_shift(layer.activation, _wide(scale))
            _check_range(layer, values[layer.output], scale, headroom)
        scales[layer.output] = scale
        layers.append(QuantisedLinear(layer.name, layer.input, layer.output, weight,
                                      np.rint(bias / step).astype(np.int64), multiplier, shift,
                                      gate_shift, layer.activation))
    host_bias = {layer.output: layer.bias for layer in graph.linear_layers
                 if per_token and layer.bias.any()}
    return QuantisedGraph(graph, scales, layers, per_token, host_bias)


def retarget(quantised: QuantisedGraph, graph: Graph) -> QuantisedGraph:
    """Return the same layers in integers for a graph with other numbers of tokens, or patterns.

    Raises
    ------
    ValueError
        If the graphs differ in anything else that can be told: the names and features of their
        tensors, or what is an input or an output.
    """
    def sizes(of: Graph) -> tuple[dict[str, int], list[str], list[str]]:
        return {name: each.features for name, each in of.tensors.items()}, of.inputs, of.outputs

    if sizes(graph) != sizes(quantised.graph):
        raise ValueError(f"Graph {graph.name} must have the tensors, inputs and outputs of "
                         f"{quantised.graph.name}, whose scales it is to have")
    attention = {layer.name: layer for layer in graph.layers if isinstance(layer, Attention)}
    layers = [replace(layer, layer=attention[layer.name])
              if isinstance(layer, QuantisedAttention) else layer for layer in quantised.layers]
    return replace(quantised, graph=graph, layers=layers)


def _check(graph: Graph, per_token: bool) -> None:
    if per_token and len(graph.inputs) != 1:
        raise ValueError("A graph with factors for the tokens must have one input, "
                         f"not {len(graph.inputs)}")
    if per_token and len(graph.linear_layers) < len(graph.layers):
        raise ValueError("A graph with factors for the tokens must have linear layers alone: "
                         "attention mixes tokens, and sums and norms have fixed scales")
    for layer in graph.linear_layers:
        if layer.weight.shape[1] > MAX_INPUTS:
            raise ValueError(f"Layer {layer.name} must have at most {MAX_INPUTS} inputs, not "
                             f"{layer.weight.shape[1]}: an accumulator has 32 bits")
        if per_token and layer.bias.any() and graph.consumers(layer.output):
            raise ValueError(f"Layer {layer.name} must have no bias, as its output has factors "
                             "for the tokens and another layer reads it")
        if per_token and layer.activation != Activation.NONE:
            raise ValueError(f"Layer {layer.name} must have no activation, as its output has "
                             "factors for the tokens and the activation would have to know them")
        if layer.activation in GATED and graph.role(layer.output):
            raise ValueError(f"Layer {layer.name} must have no {layer.activation.name}, as "
                             "attention reads its output and needs other scales")


def _check_range(layer: Linear, x: Array, scale: Scale, headroom: float) -> None:
    largest = np.abs(x).max(axis=0) * headroom
    beyond = largest > _LIMIT * _wide(scale) * (1 + 1e-6)
    if beyond.any():
        limit = _LIMIT * output_step(layer.activation, 0)
        raise ValueError(f"Outputs of {layer.name} must be within ±{limit:g}, the range of "
                         f"{layer.activation.name}, not up to {largest[beyond].max():.3g}")


def _wide(scale: Scale) -> Array:
    return scale.feature.astype(np.float64)


def _quantise_weight(weight: Array, bias: NDArray) -> tuple[NDArray[np.int8], Array]:
    """Return integer weights and the value of a step of each output channel.

    Channels that are 0 altogether have the least step of the others.
    """
    step = np.maximum(np.abs(weight).max(axis=1) / _LIMIT, np.abs(bias) / _BIAS_LIMIT)
    some = step > 0
    step[~some] = step[some].min() if some.any() else 1.0
    return np.rint(weight / step[:, np.newaxis]).astype(np.int8), step


def _attention(layer: Attention, x: Array, scales: Mapping[str, Scale],
               headroom: float) -> tuple[Scale, QuantisedAttention]:
    """Return the scale of the output ``x`` of attention, and the layer in integers.

    Every feature has the scale of its values, over a gain that all of them share.
    """
    q, k, v = (_wide(scales[name]) for name in layer.inputs)
    values = v[layer.sources]
    largest = (np.abs(x).max(axis=0) * headroom / values).max()
    gain = min(_LIMIT / largest, _LARGEST_GAIN) if largest else 1.0
    multiplier, shift = golden.quantise_scale(gain)
    exact = np.ldexp(float(multiplier), -int(shift) - 1)
    return _scale(layer.output, values / exact), QuantisedAttention(
        layer, score_scale(float(layer.scale * q[0] * k[0])), int(multiplier), int(shift))


def _norm(layer: Add | Norm, values: Mapping[str, Array], scales: dict[str, Scale], graph: Graph,
          headroom: float) -> QuantisedNorm:
    """Return a sum, with the first norm that reads it, or a norm, in integers; choose its scales.

    The sum is kept only if something else than this norm reads it.
    """
    readers = graph.consumers(layer.output)
    following = layer if isinstance(layer, Norm) else next(
        (reader for reader in readers if isinstance(reader, Norm)), None)
    kept = isinstance(layer, Add) and (
        layer.output in graph.outputs or any(reader is not following for reader in readers)
        or following is None)
    inputs = [_wide(scales[name]) for name in layer.inputs]
    chosen: dict[str, Any] = {}
    if kept:
        least = norm.least_sum(norm.value_step(*inputs))
        scales[layer.output] = _choose_scale(layer.output, values, graph, headroom=headroom,
                                             least=_LEAST * least)
        chosen["sum"] = _wide(scales[layer.output])
    if following:
        least_output = norm.least_output(following.gain, following.bias)
        scales[following.output] = _choose_scale(following.output, values, graph,
                                                 headroom=headroom, least=_LEAST * least_output)
        chosen["output"] = _wide(scales[following.output])
        chosen |= {"gamma": following.gain, "beta": following.bias, "epsilon": following.epsilon}
    return QuantisedNorm(layer.inputs, layer.output if kept else None,
                         following.output if following else None,
                         norm.quantise_norm(*inputs, **chosen),
                         following is not None and following.rms)


def _value_range(layer: Attention, v: Array, output: Array, headroom: float) -> Array:
    """Return the ranges of the features of the values with which attention errs least.

    An output has the range of its values, over a gain that all features share. So where an output
    needs more, the values must have more than they need; and the larger the gain, the fewer the
    outputs that have more than they need. The gain is chosen for the least sum of both errors.
    """
    inner, outer = np.abs(v).max(axis=0) * headroom, np.zeros(v.shape[1])
    np.maximum.at(outer, layer.sources, np.abs(output).max(axis=0) * headroom)
    some = outer > 0
    if not some.any():
        return inner
    ranges = [np.maximum(inner, gain * outer)
              for gain in np.quantile(inner[some] / outer[some], _QUANTILES)]
    gains = [(each[some] / outer[some]).min() for each in ranges]
    errors = [(each ** 2).sum() * (1 / (v ** 2).mean() + 1 / (gain ** 2 * (output ** 2).mean()))
              for each, gain in zip(ranges, gains)]
    return ranges[int(np.argmin(errors))]


def _choose_scale(name: str, values: Mapping[str, Array], graph: Graph, *, headroom: float,
                  least: Array | float = 0.0, per_token: bool = False,
                  activation: Activation = Activation.NONE) -> Scale:
    """Return the scale of a tensor with which the layers that read it err least.

    ``least`` is the smallest useful value of a step: that of a step of the accumulators. Queries
    and keys have one scale for all features, and outputs of some activations powers of two.
    """
    x = values[name]
    largest = np.abs(x).max(axis=0) * headroom
    if role := graph.role(name):
        layer, place = role
        if place < 2:
            largest = np.full(x.shape[1], largest.max())
        else:
            largest = _value_range(layer, x, values[layer.output], headroom)
        return _scale(name, np.maximum(largest / _LIMIT, np.max(least)))
    consumers = [layer for layer in graph.consumers(name) if isinstance(layer, Linear)]
    if not consumers:
        return _scale(name, np.maximum(largest / _LIMIT, least), activation)
    weight = np.concatenate([layer.weight for layer in consumers]).astype(np.float64)
    spread = np.sqrt((weight ** 2).mean(axis=0))
    largest = np.maximum(largest, _FLOOR * largest.max() or 1.0)
    spread = np.maximum(spread, _FLOOR * spread.max() or 1.0)
    shapes = [np.ones_like(largest)]
    shapes += [largest ** alpha / spread ** (1 - alpha) for alpha in _ALPHAS]
    sample = x[::-(-len(x) // _SAMPLE)]
    wanted = sample @ weight.T

    def error(scale: Scale) -> float:
        tokens = scale.tokens(sample) if per_token else np.ones(1, np.float32)
        quantised, step = _quantise_weight(weight * _wide(scale), np.zeros(1))
        product = scale.quantise(sample, tokens).astype(np.float32) @ quantised.T.astype(np.float32)
        return relative_error(product * step * tokens[:, np.newaxis], wanted)

    return min((_scale(name, np.maximum(shape * (largest / shape).max() / _LIMIT, least),
                       activation) for shape in shapes), key=error)


def _scale(name: str, feature: Array, activation: Activation = Activation.NONE) -> Scale:
    """Return a scale of at least these steps, with which the drain can apply an activation."""
    if activation in GATED:
        feature = output_step(activation, find_gate_shift(activation, feature))
    with np.errstate(over="ignore", under="ignore"):
        narrow = feature.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError(f"Values of {name} must be within the range of float32, "
                         f"not up to {feature.max() * _LIMIT:.3g}")
    return Scale(np.where(narrow > 0, narrow, np.float32(1)))
