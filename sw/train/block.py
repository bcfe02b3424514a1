"""One layer of a pre-norm transformer in PyTorch, with the names that :mod:`heddle.models` uses."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block"]


class Block(nn.Module):
    """Attention, then feed-forward, each of a normalised input and added to it.

    Parameters
    ----------
    width, inner : :class:`int`
        Features of a token; and between both layers of the feed-forward part.
    heads : :class:`int`
    epsilon : :class:`float`
        Of the normalisations.
    causal : :class:`bool`
        Whether a token sees itself and those before it alone.
    """

    def __init__(self, width: int, inner: int, *, heads: int, epsilon: float,
                 causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output ``[sequences, tokens, width]``."""
        hidden = self.attention_norm(x)
        q, k, v = (projection(hidden).unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for projection in (self.query, self.key, self.value))
        context = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.output(context.transpose(1, 2).flatten(2))
        return x + self.contract(functional.gelu(self.expand(self.norm(x))))
