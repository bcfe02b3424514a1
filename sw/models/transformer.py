"""The Transformer of Vaswani et al. (NIPS 2017), pruned, as one graph of its products and softmax.

It is a workload, not a model of anything: weights and activations are random. What stands between
the sublayers is not in it, that is residual additions and layer normalisation; nor are ReLU between
the two products of a feed-forward network, embeddings, and the classifier. Each sublayer therefore
reads activations of its own, an input of the graph as wide as the residual stream, where the
network has the normalised sum of what came before; and what it would add to the residual stream, is
an output of the graph. Within a sublayer, all tensors pass as in the network. The decoder's layers
read one memory, an input too, where the network has the output of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..patterns import Pattern
from ..prune import AttentionWeights, PrunedAttention, PrunedLayer, TransformerLayer

__all__ = ["random_inputs", "random_layers", "transformer_graph"]

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

    def attention(name: str, weights: PrunedAttention, width: int, *, memory: str | None = None,
                  causal: bool = False) -> None:
        x = stream(f"{name}.x", weights.q.shape[1])
        source = x if memory is None else stream(memory, weights.k.shape[1])
        k = graph.linear(f"{name}.k", source, weights.k)
        v = graph.linear(f"{name}.v", source, weights.v)
        q = graph.linear(f"{name}.q", x, weights.q)
        attended = graph.attention(
            f"{name}.attended", q, k, v, heads=weights.qk_widths, value_heads=weights.v_widths,
            scale=width ** -0.5, pattern=Pattern(tokens, tokens, heads=weights.heads,
                                                 causal=causal))
        graph.output(graph.linear(f"{name}.o", attended, weights.o))

    for n, layer in enumerate(layers):
        for part, weights in layer.parts.items():
            width = layer.masks[f"{part}.q"].shape[0] // weights.heads
            attention(f"{n}.{part}", weights, width, memory="memory" if part == "cross" else None,
                      causal=part == "self" and layer.cross is not None)
        hidden = graph.linear(f"{n}.ffn.1", stream(f"{n}.ffn.x", layer.w1.shape[1]), layer.w1)
        graph.output(graph.linear(f"{n}.ffn.2", hidden, layer.w2))
    return graph


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return normally distributed values for each input of a graph, as after a normalisation."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal((graph.tensors[name].tokens,
                                          graph.tensors[name].features), np.float32)
            for name in graph.inputs}
