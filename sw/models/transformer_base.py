"""The Transformer of Vaswani et al. (NIPS 2017), pruned, as one graph; whole, or part by part.

It is a workload, not a model of anything: weights and inputs are random. Embeddings and classifier
are not in it.

:func:`encoder_decoder_graph` is the whole network: residual sums, layer normalisation after each of
them, and ReLU included, each sublayer reading what the one before has made. The first encoder layer
reads the input ``source``, the first decoder layer ``target``, and the cross-attentions the output
of the last encoder layer. The norms have a gain of 1 and no bias, as before any training.

:func:`transformer_graph` has only what accelerators of sparse weights are measured with, products
and softmax. Each sublayer reads activations of its own, an input of the graph as wide as the
residual stream; and what it would add to the residual stream, is an output of the graph. Within a
sublayer, all tensors pass as in the network. The decoder's layers read one memory, an input too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..patterns import Pattern
from ..prune import (
    AttentionWeights,
    PrunedLayer,
    TransformerLayer,
    magnitude,
)

__all__ = ["block_scores", "encoder_decoder_graph", "random_inputs", "random_layers",
           "transformer_graph"]

Array = NDArray[np.floating]

_TO_RESIDUAL = ("self.o", "cross.o", "ffn.2")
_SPREAD = 0.3  # of the logarithms of columns' norms, among the columns of a weight
_DRIFT = 0.08  # the same, among the weights of a type


def random_layers(*, features: int = 512, heads: int = 8, hidden: int = 2048, layers: int = 6,
                  seed: int = 0) -> list[TransformerLayer]:
    """Return the layers of an encoder and then as many of a decoder; by default Transformer-base.

    The columns of a weight differ in their norms, and so do the weights of a type from layer to
    layer: both log-normally, so that a pruner that compares columns across layers leaves layers of
    different sizes. Outputs of a weight have a variance of about 1 if its inputs have.
    """
    random = np.random.default_rng(seed)

    def weight(outputs: int, inputs: int) -> NDArray[np.float32]:
        norms = np.exp(_DRIFT * random.standard_normal()
                       + _SPREAD * random.standard_normal((outputs, 1)))
        values = random.standard_normal((outputs, inputs)) * norms / np.sqrt(inputs)
        return values.astype(np.float32)

    def attention() -> AttentionWeights:
        q, k, v, o = (weight(features, features) for _ in "qkvo")
        return AttentionWeights(q, k, v, o, heads)

    return [TransformerLayer(attention(), weight(hidden, features), weight(features, hidden),
                             attention() if n >= layers else None) for n in range(2 * layers)]


def transformer_graph(layers: Sequence[PrunedLayer], tokens: int, name: str = "transformer",
                      ) -> Graph:
    """Return the graph of pruned layers, those of an encoder first, for so many tokens of each.

    A decoder layer is one with a second attention. Its first one is causal, and its second one
    reads the input ``memory``. Inputs and outputs are named after the sublayers: of layer ``n``
    ``n.self.x`` and ``n.self.o``, ``n.cross.x`` and ``n.cross.o``, ``n.ffn.x`` and ``n.ffn.2``.
    """
    graph = Graph(name)

    def stream(name: str, features: int) -> str:
        return name if name in graph.tensors else graph.input(name, tokens=tokens,
                                                              features=features)

    for n, layer in enumerate(layers):
        for part, weights in layer.parts.items():
            name = f"{n}.{part}"
            x = stream(f"{name}.x", weights.q.shape[1])
            source = stream("memory", weights.k.shape[1]) if part == "cross" else x
            attended = _attend(graph, name, layer, part, x, source)
            graph.output(graph.linear(f"{name}.o", attended, weights.o))
        hidden = graph.linear(f"{n}.ffn.1", stream(f"{n}.ffn.x", layer.w1.shape[1]), layer.w1)
        graph.output(graph.linear(f"{n}.ffn.2", hidden, layer.w2))
    return graph


def encoder_decoder_graph(layers: Sequence[PrunedLayer], tokens: int, name: str = "transformer",
                          ) -> Graph:
    """Return the graph of a whole network of pruned layers, those of an encoder first.

    Decoder layers and names are as in :func:`transformer_graph`. A sublayer adds to all features of
    the residual stream, to those of pruned columns nothing; the sum of ``n.ffn`` is ``n.ffn.sum``
    and its norm ``n.ffn.normed``.
    """
    graph = Graph(name)
    features = layers[0].w1.shape[1]

    def residual(name: str, x: str, y: str, weight: Array, kept: NDArray[np.int64]) -> str:
        spread = np.zeros((features, weight.shape[1]), weight.dtype)
        spread[kept] = weight
        added = graph.add(f"{name}.sum", x, graph.linear(f"{name}.o", y, spread))
        return graph.norm(f"{name}.normed", added, np.ones(features))

    x = graph.input("source", tokens=tokens, features=features)
    memory = None
    for n, layer in enumerate(layers):
        if layer.cross is not None and memory is None:
            memory, x = x, graph.input("target", tokens=tokens, features=features)
        for part, weights in layer.parts.items():
            source = memory if part == "cross" and memory is not None else x
            attended = _attend(graph, f"{n}.{part}", layer, part, x, source)
            x = residual(f"{n}.{part}", x, attended, weights.o, weights.outputs)
        hidden = graph.linear(f"{n}.ffn.1", x, layer.w1, activation="relu")
        x = residual(f"{n}.ffn", x, hidden, layer.w2, layer.outputs)
    graph.output(x)
    return graph


def _attend(graph: Graph, name: str, layer: PrunedLayer, part: str, x: str, source: str) -> str:
    """Add one of a layer's attentions, without its output projection; the first may be causal."""
    weights = layer.parts[part]
    width = layer.masks[f"{part}.q"].shape[0] // weights.heads
    k = graph.linear(f"{name}.k", source, weights.k)
    v = graph.linear(f"{name}.v", source, weights.v)
    q = graph.linear(f"{name}.q", x, weights.q)
    queries, keys = (graph.tensors[tensor].tokens for tensor in (q, k))
    return graph.attention(
        f"{name}.attended", q, k, v, heads=weights.qk_widths, value_heads=weights.v_widths,
        scale=width ** -0.5, pattern=Pattern(queries, keys, heads=weights.heads,
                                             causal=part == "self" and layer.cross is not None))


def block_scores(layers: Sequence[TransformerLayer], rows: int) -> list[dict[str, Array]]:
    """Return scores with which the columns that meet the residual stream are pruned in blocks.

    That is for a whole network, in which what a sublayer adds must lie at the features that it is
    added to: a block of ``rows`` outputs costs time unless all of them are pruned. Their score is
    the mean of their magnitudes; all others have their own.
    """
    def mean(scores: Array) -> Array:
        block = np.arange(scores.size) // rows
        return (np.bincount(block, scores) / np.bincount(block))[block]

    found = [{name: magnitude(weight) for name, weight in layer.weights.items()}
             for layer in layers]
    return [{name: mean(scores) if name in _TO_RESIDUAL else scores
             for name, scores in each.items()} for each in found]


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return normally distributed values for each input of a graph, as after a normalisation."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal((graph.tensors[name].tokens,
                                          graph.tensors[name].features), np.float32)
            for name in graph.inputs}
