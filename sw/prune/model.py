"""Transformers as the column pruner sees them: weights, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..rtl.geometry import Geometry
from .footprint import Footprint, footprint
from .ranking import Bools

__all__ = ["AttentionWeights", "PrunedAttention", "PrunedLayer", "PrunedTransformer",
           "TransformerLayer"]

Array = NDArray[np.floating]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class AttentionWeights:
    """The four weights of multi-head attention, each ``[outputs, inputs]``."""

    q: Array
    k: Array
    v: Array
    o: Array
    heads: int


@dataclass(frozen=True)
class TransformerLayer:
    """The weights of an encoder layer, or with ``cross`` of a decoder layer."""

    attention: AttentionWeights
    w1: Array
    """``[hidden, features]``"""
    w2: Array
    """``[features, hidden]``"""
    cross: AttentionWeights | None = None

    @property
    def parts(self) -> Mapping[str, AttentionWeights]:
        """The attentions by name: ``self`` and perhaps ``cross``."""
        return {"self": self.attention} | ({} if self.cross is None else {"cross": self.cross})

    @property
    def weights(self) -> dict[str, Array]:
        """The weights by name: ``self.q``, …, ``cross.q``, …, ``ffn.1``, ``ffn.2``."""
        return {f"{part}.{name}": getattr(weights, name) for part, weights in self.parts.items()
                for name in "qkvo"} | {"ffn.1": self.w1, "ffn.2": self.w2}


@dataclass(frozen=True, kw_only=True)
class PrunedAttention(AttentionWeights):
    """What is left of an attention: dense rectangles, and which columns they were.

    ``q`` and ``k`` are ``[Σ qk_widths, inputs]``, ``v`` is ``[Σ v_widths, inputs]``, and ``o`` is
    ``[outputs, Σ v_widths]``. Heads follow each other, and columns keep their order.
    """

    qk: Indices
    """Columns of Q and K that are kept, the same of both."""
    values: Indices
    """Columns of V that are kept, and rows (inputs) of O."""
    outputs: Indices
    """Columns of O that are kept: features of the residual stream to which it adds."""
    qk_widths: tuple[int, ...]
    """Columns of Q and of K in each head."""
    v_widths: tuple[int, ...]
    """Columns of V in each head."""


@dataclass(frozen=True, kw_only=True)
class PrunedLayer(TransformerLayer):
    """What is left of a layer: ``w1`` is ``[hidden, features]``, ``w2`` ``[outputs, hidden]``."""

    attention: PrunedAttention
    cross: PrunedAttention | None
    hidden: Indices
    """Columns of ``w1`` that are kept, and rows (inputs) of ``w2``."""
    outputs: Indices
    """Columns of ``w2`` that are kept: features of the residual stream to which it adds."""
    masks: Mapping[str, Bools]
    """Of each weight by name, ``[outputs, inputs]`` as it was before, True = kept."""

    @property
    def parts(self) -> Mapping[str, PrunedAttention]:
        """The attentions by name: ``self`` and perhaps ``cross``."""
        return {"self": self.attention} | ({} if self.cross is None else {"cross": self.cross})

    def operations(self, tokens: int) -> int:
        """Return twice the multiplications of the weights and attention of so many tokens."""
        weights = sum(weight.size for weight in self.weights.values())
        heads = sum(part.qk.size + part.values.size for part in self.parts.values())
        return 2 * tokens * (weights + tokens * heads)

    def footprint(self, geometry: Geometry) -> dict[str, Footprint]:
        """Return what each weight costs, by name; heads are padded to whole blocks."""
        costs = {}
        for name, part in self.parts.items():
            for letter, widths in zip("qkv", (part.qk_widths, part.qk_widths, part.v_widths)):
                inputs = getattr(part, letter).shape[1]
                costs[f"{name}.{letter}"] = footprint(widths, inputs, geometry)
            costs[f"{name}.o"] = footprint(part.outputs.size, part.v_widths, geometry)
        return costs | {"ffn.1": footprint(self.hidden.size, self.w1.shape[1], geometry),
                        "ffn.2": footprint(self.outputs.size, self.hidden.size, geometry)}


@dataclass(frozen=True)
class PrunedTransformer:
    """What is left of a transformer."""

    layers: tuple[PrunedLayer, ...]
    coarse: float
    """Share that the coarse stage has pruned of every weight."""
    sparsity: float
    """Share that is pruned of the columns of each type of weight."""

    def operations(self, tokens: int) -> int:
        """Return the operations, two a product, of all layers and so many tokens."""
        return sum(layer.operations(tokens) for layer in self.layers)
