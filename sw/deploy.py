"""Whole networks as one program: every operation of every layer on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .api import Result, run
from .compiler import lower
from .device import Device
from .graph import Graph
from .models.modules import Array, Linear, Norm, SelfAttention
from .models.transformer import Layer, Transformer
from .patterns import Pattern
from .program import Program
from .quantise import QuantisedGraph, quantise, retarget

__all__ = ["Deployment", "attention_graph", "batches", "network_graph"]

_GATES = {"gelu_tanh": "gelu"}
"""Activations in place of which the device computes another one; they differ by less than 5e-4."""

_PROGRAMS = 16  # that a deployment keeps; one of MiniLM has 11 MB of weights


def network_graph(model: Transformer, lengths: Sequence[int], name: str | None = None) -> Graph:
    """Return the layers of a network as a graph, for sequences of these lengths.

    The tokens of all sequences are the rows of one matrix, each of which sees only its own
    sequence: tiles in which there is nothing to see are not visited. Embedding and head are the
    host's. The graph is called by the name, that of the family by default, and its tokens.
    """
    tokens, features = sum(lengths), len(model.layers[0].output.bias)
    sequence = _sequences(lengths)
    graph = Graph(f"{name or model.kind}, {tokens} tokens")
    x = graph.input("x", tokens=tokens, features=features)
    for number, layer in enumerate(model.layers):
        x = _add_layer(graph, f"{number}", layer, x, sequence)
    if model.norm is not None:
        x = _add_norm(graph, "norm", x, model.norm)
    graph.output(x)
    return graph


def attention_graph(name: str, layer: SelfAttention, lengths: Sequence[int]) -> Graph:
    """Return what a layer does between its input and its first sum, as a graph.

    Its input is ``hidden``, and its only output what is added to the input of the layer; tokens are
    as in :func:`network_graph`.
    """
    graph = Graph(name)
    hidden = graph.input("hidden", tokens=sum(lengths), features=layer.query.weight.shape[1])
    graph.output(_add_attention(graph, "attention", layer, hidden, _sequences(lengths)))
    return graph


def _sequences(lengths: Sequence[int]) -> Array:
    """Return of each token the number of its sequence."""
    return np.repeat(np.arange(len(lengths)), lengths)


def _add_linear(graph: Graph, name: str, x: str, part: Linear,
                activation: str | None = None) -> str:
    return graph.linear(name, x, part.weight, part.bias, activation=activation)


def _add_attention(graph: Graph, number: str, layer: SelfAttention, hidden: str,
                   sequence: Array) -> str:
    tokens = len(sequence)
    pattern = Pattern(tokens, tokens, causal=layer.causal, heads=layer.heads,
                      mask=np.equal.outer(sequence, sequence) if np.ptp(sequence) else None)
    context = graph.attention(f"{number}.context", *(
        _add_linear(graph, f"{number}.{part}", hidden, getattr(layer, part))
        for part in ("query", "key", "value")), heads=layer.heads, pattern=pattern)
    return _add_linear(graph, f"{number}.projected", context, layer.output)


def _add_layer(graph: Graph, number: str, layer: Layer, x: str, sequence: Array) -> str:
    hidden = _add_norm(graph, f"{number}.hidden", x, layer.attention_norm) \
        if layer.norm_first else x
    projected = _add_attention(graph, number, layer, hidden, sequence)
    x = graph.add(f"{number}.attended", x, projected)
    if layer.norm_first:
        fed = _add_norm(graph, f"{number}.fed", x, layer.norm)
    else:
        fed = x = _add_norm(graph, f"{number}.normed", x, layer.attention_norm)
    inner = _add_linear(graph, f"{number}.inner", fed, layer.expand,
                        _GATES.get(layer.activation, layer.activation))
    contracted = _add_linear(graph, f"{number}.contracted", inner, layer.contract)
    x = graph.add(f"{number}.sum", x, contracted)
    return x if layer.norm_first else _add_norm(graph, f"{number}.output", x, layer.norm)


def _add_norm(graph: Graph, name: str, x: str, norm: Norm) -> str:
    return graph.norm(name, x, norm.gain, norm.bias, epsilon=norm.epsilon)


def batches(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Return the numbers of sequences that go through a program together, long ones first.

    Each batch takes the longest sequences that still fit into ``limit`` tokens (first fit
    decreasing), so that little is left of a tile of tokens. A longer sequence goes alone.
    """
    taken: list[tuple[list[int], int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        for place, (batch, tokens) in enumerate(taken):
            if tokens + lengths[number] <= limit:
                taken[place] = [*batch, number], tokens + lengths[number]
                break
        else:
            taken.append(([number], lengths[number]))
    return [batch for batch, _ in taken]


class Deployment:
    """A network on a device: its scales are found once, and it is compiled for each mix of lengths.

    Parameters
    ----------
    model : :class:`~heddle.models.transformer.Transformer`
    calibration
        Inputs of the model from which the scales are found.
    device : :class:`~heddle.device.Device`
    headroom : :class:`float`
        See :func:`~heddle.quantise.quantise`.
    limit : :class:`int`
        Tokens that go through a program together.
    name : :class:`str`
        Of the network in reports; by default that of its family.

    Attributes
    ----------
    results : list of :class:`~heddle.api.Result`
        Of every program run so far.
    """

    def __init__(self, model: Transformer, calibration: Any, device: Device, *,
                 headroom: float = 1.0, limit: int = 128, name: str | None = None) -> None:
        self.model, self.device, self.limit, self.name = model, device, limit, name
        x, lengths = model.embedding(calibration)
        self.quantised = quantise(network_graph(model, lengths), {"x": x}, headroom=headroom)
        self.results: list[Result] = []
        self._compiled = functools.lru_cache(_PROGRAMS)(self._compile)

    def programs(self, lengths: Sequence[int]) -> list[Program]:
        """Return the programs through which sequences of these lengths go, in their order."""
        return [self._compiled(tuple(lengths[n] for n in batch))[0]
                for batch in batches(lengths, self.limit)]

    def network(self, lengths: Sequence[int]) -> QuantisedGraph:
        """Return the network in integers for sequences of these lengths, in their order."""
        return retarget(self.quantised, network_graph(self.model, lengths, self.name))

    def __call__(self, inputs: Sequence[Any], *, progress: Callable[[int], None] | None = None,
                 compare: bool = False) -> list[Array]:
        """Return the output of the network for each input, ``[tokens, features]``.

        Parameters
        ----------
        inputs
            What the model's embedding takes: sequences of tokens, or images.
        progress : callable
            Called with the cycles so far, while a program runs.
        compare : bool
            Let the reports have the error against float64.
        """
        x, lengths = self.model.embedding(inputs)
        rows = np.split(x, np.cumsum(lengths)[:-1])
        outputs: list[Array] = [np.zeros(0)] * len(lengths)
        for batch in batches(lengths, self.limit):
            program, quantised = self._compiled(tuple(lengths[n] for n in batch))
            result = run(program, {"x": np.concatenate([rows[n] for n in batch])},
                         device=self.device, progress=progress,
                         quantised=quantised if compare else None)
            self.results.append(result)
            ends = np.cumsum([lengths[n] for n in batch])[:-1]
            for number, output in zip(batch, np.split(result.output, ends)):
                outputs[number] = output
        return outputs

    def _compile(self, lengths: tuple[int, ...]) -> tuple[Program, QuantisedGraph]:
        quantised = self.network(lengths)
        return lower(quantised, self.device.geometry), quantised
