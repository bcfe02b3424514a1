"""Parts of transformers as graphs: what lies between two steps of the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .graph import Graph
from .models.modules import SelfAttention
from .patterns import Pattern

__all__ = ["attention_block"]


def attention_block(name: str, layer: SelfAttention, lengths: Sequence[int]) -> Graph:
    """Return what a layer does between its input and its first sum, as one graph.

    The tokens of all sequences are the rows of one matrix; those of other sequences are hidden.
    The input is ``hidden``, the output ``output``.

    Parameters
    ----------
    name : :class:`str`
    layer : :class:`~heddle.models.modules.SelfAttention`
    lengths : sequence of int
        Tokens of each sequence.
    """
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    tokens, features = len(sequence), layer.query.weight.shape[1]
    graph = Graph(name)
    hidden = graph.input("hidden", tokens=tokens, features=features)
    for projection in ("query", "key", "value"):
        linear = getattr(layer, projection)
        graph.linear(projection, hidden, linear.weight, linear.bias)
    pattern = Pattern(tokens, tokens, mask=np.equal.outer(sequence, sequence), heads=layer.heads)
    graph.attention("context", "query", "key", "value", heads=layer.heads, pattern=pattern)
    graph.output(graph.linear("output", "context", layer.output.weight, layer.output.bias))
    return graph
