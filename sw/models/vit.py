"""The vision transformer that is trained here, from its weights to the form of all models."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from .modules import Array, Linear, Norm
from .transformer import Head, Layer, PatchEmbedding, Transformer

__all__ = ["EPSILON", "HEADS", "vision_transformer"]

EPSILON = 1e-6
"""Of the normalisations."""

HEADS = 4
"""Of each layer; the tensors do not tell."""


def vision_transformer(weights: Mapping[str, Array], dtype: DTypeLike = np.float64) -> Transformer:
    """Return a pre-norm vision transformer whose patches are single pixels.

    An image is a sequence of a class token and one token for each pixel; the class token of the
    last layer decides.

    Parameters
    ----------
    weights : mapping of str to array
        ``embedding.weight`` ``[width, 1]`` and ``embedding.bias``, ``class_token`` ``[width]``,
        ``positions`` ``[tokens, width]``; ``layers.N.`` with ``attention_norm``, ``query``,
        ``key``, ``value``, ``output``, ``norm``, ``expand`` and ``contract``; ``norm``, ``head``.
    dtype : dtype
        Precision of the computation.
    """
    def tensor(name: str) -> Array:
        return weights[name].astype(dtype)

    def linear(name: str) -> Linear:
        return Linear(tensor(f"{name}.weight"), tensor(f"{name}.bias"))

    def norm(name: str) -> Norm:
        return Norm(tensor(f"{name}.weight"), tensor(f"{name}.bias"), EPSILON)

    side = math.isqrt(len(weights["positions"]) - 1)
    count = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
    layers = tuple(Layer(
        heads=HEADS,
        causal=False,
        activation="gelu",
        norm_first=True,
        attention_norm=norm(f"{name}.attention_norm"),
        norm=norm(f"{name}.norm"),
        **{part: linear(f"{name}.{part}")
           for part in ("query", "key", "value", "output", "expand", "contract")},
    ) for name in (f"layers.{n}" for n in range(count)))
    return Transformer(
        kind="vit", layers=layers, norm=norm("norm"), head=Head(decoder=linear("head")),
        embedding=PatchEmbedding(
            patch=linear("embedding"), special=tensor("class_token")[np.newaxis],
            positions=tensor("positions"), size=1, image=(1, side, side)))
