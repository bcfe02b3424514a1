"""The vision transformer of :mod:`heddle.models.vit` in PyTorch, with the same parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.vit import EPSILON, HEADS
from .block import Block

__all__ = ["VisionTransformer"]

_POSITIONS = 0.5  # their spread in the beginning; much less, and pixels are hard to tell apart


class VisionTransformer(nn.Module):
    """A pre-norm vision transformer whose patches are single pixels.

    Parameters
    ----------
    pixels, classes : :class:`int`
        Of an image; from which to choose.
    layers : :class:`int`
    width, inner : :class:`int`
        Features of a token; and between both layers of a feed-forward part.
    """

    def __init__(self, *, pixels: int, classes: int, layers: int, width: int, inner: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, width)
        nn.init.zeros_(self.embedding.bias)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.randn(pixels + 1, width) * _POSITIONS)
        self.layers = nn.ModuleList(
            Block(width, inner, heads=HEADS, epsilon=EPSILON) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[images, classes]`` of images ``[images, side, side]``."""
        pixels = self.embedding(images.flatten(1).unsqueeze(2))
        first = self.class_token.expand(len(images), 1, -1)
        x = torch.cat([first, pixels], dim=1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[:, 0]))
