"""A BERT encoder in NumPy, the reference against which accelerated layers are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from .modules import Array, Linear, Norm, SelfAttention, gelu

__all__ = ["Encoder", "Layer", "LayerTrace"]


@dataclass(frozen=True)
class LayerTrace:
    """Every tensor that one encoder layer computes, each ``[tokens, features]``."""

    input: Array
    """What the query, key and value projections read."""
    query: Array
    key: Array
    value: Array
    context: Array
    """Attention's result, all heads side by side; what the output projection reads."""
    projected: Array
    """The output projection, before residual and normalisation."""
    attended: Array
    """After residual and normalisation; what the feed-forward part reads."""
    inner: Array
    """After GELU, before the second feed-forward projection."""
    output: Array


@dataclass(frozen=True, kw_only=True)
class Layer(SelfAttention):
    """One encoder layer: attention, then feed-forward, each followed by residual and norm."""

    attention_norm: Norm
    expand: Linear
    contract: Linear
    norm: Norm

    def __call__(self, x: Array, lengths: Sequence[int]) -> LayerTrace:
        """Run the layer on sequences of these lengths, whose tokens are the rows of ``x``."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        context = self.attend(q, k, v, lengths)
        projected = self.output(context)
        attended = self.attention_norm(x + projected)
        inner = gelu(self.expand(attended))
        output = self.norm(attended + self.contract(inner))
        return LayerTrace(x, q, k, v, context, projected, attended, inner, output)


class Encoder:
    """A BERT encoder without its pooler.

    Sequences of any length are computed together: their tokens are rows of one matrix, without
    padding, and only attention looks at where a sequence ends.

    Parameters
    ----------
    weights : mapping of str to array
        Tensors under the names of the usual checkpoints, such as
        ``encoder.layer.0.attention.self.query.weight``.
    layers, heads : int
    epsilon : float
        Of the normalisations.
    dtype : dtype
        Precision of the computation.
    """

    def __init__(self, weights: Mapping[str, Array], *, layers: int, heads: int,
                 epsilon: float, dtype: DTypeLike = np.float64) -> None:
        self.dtype = np.dtype(dtype)

        def tensor(name: str) -> Array:
            return weights[name].astype(self.dtype)

        def linear(name: str) -> Linear:
            return Linear(tensor(f"{name}.weight"), tensor(f"{name}.bias"))

        def norm(name: str) -> Norm:
            return Norm(tensor(f"{name}.LayerNorm.weight"), tensor(f"{name}.LayerNorm.bias"),
                        epsilon)

        self._words = weights["embeddings.word_embeddings.weight"]  # large: converted row by row
        self._positions = tensor("embeddings.position_embeddings.weight")
        self._segment = tensor("embeddings.token_type_embeddings.weight")[0]
        self._norm = norm("embeddings")
        self.layers = [Layer(
            query=linear(f"{name}.attention.self.query"),
            key=linear(f"{name}.attention.self.key"),
            value=linear(f"{name}.attention.self.value"),
            output=linear(f"{name}.attention.output.dense"),
            attention_norm=norm(f"{name}.attention.output"),
            expand=linear(f"{name}.intermediate.dense"),
            contract=linear(f"{name}.output.dense"),
            norm=norm(f"{name}.output"),
            heads=heads,
        ) for name in (f"encoder.layer.{n}" for n in range(layers))]

    def embed(self, sequences: Sequence[Sequence[int]]) -> Array:
        """Return the input of the first layer: a row for each token of each sequence.

        Raises
        ------
        ValueError
            If there is no sequence, or one is empty or longer than the position table.
        """
        if not sequences:
            raise ValueError("An encoder needs at least one sequence, not none")
        for n, sequence in enumerate(sequences):
            if not 1 <= len(sequence) <= len(self._positions):
                raise ValueError(f"Sequence {n} must have 1 to {len(self._positions)} tokens, "
                                 f"not {len(sequence)}")
        words = np.concatenate([self._words[list(s)] for s in sequences]).astype(self.dtype)
        positions = np.concatenate([self._positions[:len(s)] for s in sequences])
        return self._norm(words + positions + self._segment)

    def run(self, sequences: Sequence[Sequence[int]]) -> list[LayerTrace]:
        """Return the trace of each layer; refuses what :meth:`embed` refuses."""
        x = self.embed(sequences)
        lengths = [len(sequence) for sequence in sequences]
        traces = []
        for layer in self.layers:
            traces.append(layer(x, lengths))
            x = traces[-1].output
        return traces
