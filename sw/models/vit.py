"""A small vision transformer in NumPy, every product of which can be computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .modules import Array, Linear, Norm, SelfAttention, gelu

__all__ = ["EPSILON", "HEADS", "Layer", "Stage", "VisionTransformer"]

EPSILON = 1e-6
"""Of the normalisations."""

HEADS = 4
"""Of each layer; the tensors do not tell."""

Stage = Callable[[str, Array], Array]
"""Computes the stage of a name, from rows of inputs to as many rows of outputs."""


@dataclass(frozen=True, kw_only=True)
class Layer(SelfAttention):
    """One layer: attention, then feed-forward, each of a normalised input and added to it."""

    attention_norm: Norm
    norm: Norm
    expand: Linear
    contract: Linear


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
    layers : list of :class:`Layer`
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

        self._embedding = linear("embedding")
        self._class_token = tensor("class_token")
        self._positions = tensor("positions")
        self.tokens, self.width = self._positions.shape
        count = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        self.layers = [Layer(
            heads=HEADS,
            attention_norm=norm(f"{name}.attention_norm"),
            norm=norm(f"{name}.norm"),
            **{part: linear(f"{name}.{part}")
               for part in ("query", "key", "value", "output", "expand", "contract")},
        ) for name in (f"layers.{n}" for n in range(count))]
        self._norm = norm("norm")
        self.head = linear("head")

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
            If there is no image, or they have another number of pixels.
        """
        stage = stage or self.stage
        pixels = np.asarray(images, self.dtype)
        if pixels.ndim != 3 or not len(pixels) or pixels[0].size != self.tokens - 1:
            raise ValueError(f"Images must be at least one of {self.tokens - 1} pixels, in three "
                             f"axes, not an array of shape {pixels.shape}")
        embedded = self._embedding(pixels.reshape(len(pixels), -1, 1))
        first = np.broadcast_to(self._class_token, (len(pixels), 1, len(self._class_token)))
        x = np.concatenate([first, embedded], axis=1) + self._positions
        x = x.reshape(-1, x.shape[-1])
        for n, layer in enumerate(self.layers):
            x = x + stage(f"attention {n}", layer.attention_norm(x))
            inner = gelu(stage(f"expand {n}", layer.norm(x)))
            x = x + stage(f"contract {n}", inner)
        return stage("head", self._norm(x[::self.tokens]))
