"""A decoder of GPT-2's form in PyTorch, and its weights under the names of that family."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.families import FAMILIES
from .block import Block

__all__ = ["Decoder"]

_SPREAD = 0.02  # of the embeddings in the beginning, as in GPT-2


class Decoder(nn.Module):
    """A pre-norm transformer that says for each token of a sequence which one comes next.

    The head has the weights of the token embeddings.

    Parameters
    ----------
    vocabulary, tokens : :class:`int`
        Number of different tokens; and most of a sequence.
    layers, heads : :class:`int`
    width, inner : :class:`int`
        Features of a token; and between both layers of a feed-forward part.
    """

    def __init__(self, *, vocabulary: int, tokens: int, layers: int, heads: int, width: int,
                 inner: int) -> None:
        super().__init__()
        epsilon = FAMILIES["gpt2"].epsilon
        self.words = nn.Parameter(torch.randn(vocabulary, width) * _SPREAD)
        self.positions = nn.Parameter(torch.randn(tokens, width) * _SPREAD)
        self.layers = nn.ModuleList(Block(width, inner, heads=heads, epsilon=epsilon, causal=True)
                                    for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the logits ``[sequences, tokens, vocabulary]`` of token numbers."""
        x = self.words[sequences] + self.positions[:sequences.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return functional.linear(self.norm(x), self.words)

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the weights as a checkpoint of GPT-2 names and lays them."""
        tensors = {"wte.weight": self.words, "wpe.weight": self.positions,
                   "ln_f.weight": self.norm.weight, "ln_f.bias": self.norm.bias}
        for n, layer in enumerate(self.layers):
            qkv = layer.query, layer.key, layer.value
            weights = {"attn.c_attn": torch.cat([part.weight for part in qkv]),
                       "attn.c_proj": layer.output.weight, "mlp.c_fc": layer.expand.weight,
                       "mlp.c_proj": layer.contract.weight}
            biases = {"attn.c_attn": torch.cat([part.bias for part in qkv]),
                      "attn.c_proj": layer.output.bias, "mlp.c_fc": layer.expand.bias,
                      "mlp.c_proj": layer.contract.bias}
            for name, weight in weights.items():
                tensors |= {f"h.{n}.{name}.weight": weight.T, f"h.{n}.{name}.bias": biases[name]}
            for name, norm in (("ln_1", layer.attention_norm), ("ln_2", layer.norm)):
                tensors |= {f"h.{n}.{name}.weight": norm.weight, f"h.{n}.{name}.bias": norm.bias}
        return {name: tensor.detach() for name, tensor in tensors.items()}
