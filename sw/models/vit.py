"""A small vision transformer in NumPy, every product of which can be computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .modules import ACTIVATIONS, Array, Linear, Norm
from .transformer import Head, Layer, PatchEmbedding, Transformer

__all__ = ["EPSILON", "HEADS", "Stage", "VisionTransformer"]

EPSILON = 1e-6
"""Of the normalisations."""

HEADS = 4
"""Of each layer; the tensors do not tell."""

Stage = Callable[[str, Array], Array]
"""Computes the stage of a name, from rows of inputs to as many rows of outputs."""


class VisionTransformer:
    """A pre-norm vision transformer whose patches are single pixels.

    An image is a sequence of a class token and one token for each pixel; the class token of the
    last layer decides. *Stages* are the parts with products of matrices: of layer ``n``
    ``attention n`` (the projections, attention, and the output projection), ``expand n`` and
    ``contract n``, and in the end ``head``. They are computed by :meth:`stage`, or by whatever
    takes its place; what lies between them (embedding, normalisation, GELU, sums) is computed here.

    Parameters
    ----------
    weights : mapping of str to array
        ``embedding.weight`` ``[width, 1]`` and ``embedding.bias``, ``class_token`` ``[width]``,
        ``positions`` ``[tokens, width]``; ``layers.N.`` with ``attention_norm``, ``query``,
        ``key``, ``value``, ``output``, ``norm``, ``expand`` and ``contract``; ``norm``, ``head``.
    dtype : dtype
        Precision of the computation.

    Attributes
    ----------
    network : :class:`~heddle.models.transformer.Transformer`
        The same in the form that all models have.
    layers : tuple of :class:`~heddle.models.transformer.Layer`
    head : :class:`~heddle.models.modules.Linear`
    tokens : :class:`int`
        Of an image.
    width : :class:`int`
        Features of a token.
    """

    def __init__(self, weights: Mapping[str, Array], dtype: DTypeLike = np.float64) -> None:
        self.dtype = np.dtype(dtype)

        def tensor(name: str) -> Array:
            return weights[name].astype(self.dtype)

        def linear(name: str) -> Linear:
            return Linear(tensor(f"{name}.weight"), tensor(f"{name}.bias"))

        def norm(name: str) -> Norm:
            return Norm(tensor(f"{name}.weight"), tensor(f"{name}.bias"), EPSILON)

        self.tokens, self.width = weights["positions"].shape
        side = math.isqrt(self.tokens - 1)
        count = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        self.head = linear("head")
        self.layers = tuple(Layer(
            heads=HEADS,
            causal=False,
            activation="gelu",
            norm_first=True,
            attention_norm=norm(f"{name}.attention_norm"),
            norm=norm(f"{name}.norm"),
            **{part: linear(f"{name}.{part}")
               for part in ("query", "key", "value", "output", "expand", "contract")},
        ) for name in (f"layers.{n}" for n in range(count)))
        self.network = Transformer(
            kind="vit", layers=self.layers, norm=norm("norm"), head=Head(decoder=self.head),
            embedding=PatchEmbedding(
                patch=linear("embedding"), special=tensor("class_token")[np.newaxis],
                positions=tensor("positions"), size=1, image=(1, side, side)))

    @property
    def linears(self) -> dict[str, Linear]:
        """The projections of all layers by their names; embedding and head are not among them."""
        return {f"layers.{n}.{part}": getattr(layer, part)
                for n, layer in enumerate(self.layers)
                for part in ("query", "key", "value", "output", "expand", "contract")}

    def stage(self, name: str, x: Array) -> Array:
        """Return the output of a stage in floating point, for whole images."""
        kind, _, number = name.partition(" ")
        if kind == "head":
            return self.head(x)
        layer = self.layers[int(number)]
        if kind == "attention":
            lengths = [self.tokens] * (len(x) // self.tokens)
            return layer.output(layer.attend(layer.query(x), layer.key(x), layer.value(x), lengths))
        return layer.expand(x) if kind == "expand" else layer.contract(x)

    def run(self, images: ArrayLike, stage: Stage | None = None) -> Array:
        """Return the logits ``[images, classes]``.

        Parameters
        ----------
        images : array, shape ``[images, side, side]``
            Brightness from 0 to 1.
        stage : callable
            ``stage(name, x)`` takes the place of :meth:`stage`. The rows of ``x`` are the tokens of
            all images, those of ``head`` the class tokens.

        Raises
        ------
        ValueError
            If there is no image, or they have another shape.
        """
        stage = stage or self.stage
        x = self.network.embed(np.expand_dims(images, 1))
        for n, layer in enumerate(self.layers):
            x = x + stage(f"attention {n}", layer.attention_norm(x))
            inner = ACTIVATIONS[layer.activation](stage(f"expand {n}", layer.norm(x)))
            x = x + stage(f"contract {n}", inner)
        return stage("head", self.network.finish(x[::self.tokens]))
