"""From the tensors of a checkpoint and its configuration to a transformer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .checkpoint import Tensors
from .families import ACTIVATION_NAMES, FAMILIES, REQUIRED, Family, family_of
from .modules import Array, Linear, Norm
from .transformer import Head, Layer, PatchEmbedding, TokenEmbedding, Transformer

__all__ = ["build"]

_SETTINGS = {
    "layers": ("num_hidden_layers", "n_layer"), "heads": ("num_attention_heads", "n_head"),
    "features": ("hidden_size", "n_embd"), "inner features": ("intermediate_size", "n_inner"),
    "epsilon": ("layer_norm_eps", "layer_norm_epsilon"),
    "activation": ("hidden_act", "activation_function"),
}


def build(tensors: Tensors, config: Mapping[str, Any],
          dtype: DTypeLike = np.float64) -> Transformer:
    """Return the network whose weights are given.

    Parameters
    ----------
    tensors : mapping of str to array
        As the checkpoint names them.
    config : mapping
        What ``config.json`` says. ``model_type`` may be missing if the names of the tensors leave
        no doubt, and everything else but the number of heads, which tensors do not show.
    dtype : dtype
        Precision of the computation.

    Raises
    ------
    ValueError
        If the configuration asks for what is not supported, or a tensor is missing, of another
        shape, or not known.
    """
    kind = family_of(tensors, config)
    return _Builder(kind, tensors, config, np.dtype(dtype)).transformer()


class _Builder:
    """Takes the tensors of a family one by one, and sees to it that none is left."""

    def __init__(self, kind: str, tensors: Tensors, config: Mapping[str, Any],
                 dtype: np.dtype) -> None:
        self.kind, self.family, self.config, self.dtype = kind, FAMILIES[kind], config, dtype
        self.tensors = {_plain(name, self.family): (name, tensor)
                        for name, tensor in tensors.items()}
        self.left = set(self.tensors)
        for key, wanted in REQUIRED.items():
            if config.get(key) not in (None, wanted):
                raise ValueError(f"{key} of the configuration must be {wanted!r}, not "
                                 f"{config[key]!r}")
        self.epsilon = float(self.setting("epsilon", self.family.epsilon))
        self.activation = self.setting("activation", self.family.activation)
        if self.activation not in ACTIVATION_NAMES:
            raise ValueError(f"Activation must be one of {', '.join(ACTIVATION_NAMES)}, not "
                             f"{self.activation!r}")

    def transformer(self) -> Transformer:
        """Return the network, after checking that every tensor has its place in it."""
        family = self.family
        self.width = self.raw(family.positions, *[None] * (2 if family.words else 3)).shape[-1]
        embedding = self.tokens() if family.words else self.patches()
        pattern = re.compile(re.escape(family.layer).replace(r"\{\}", r"(\d+)"))
        numbers = {int(match[1]) for name in self.tensors if (match := pattern.match(name))}
        count = max(numbers, default=-1) + 1
        if not count:
            raise ValueError(f"A {family.title} model must have layers, and no tensor begins with "
                             f"{family.layer.format(0)}")
        for what, found in (("layers", count), ("features", self.width)):
            self.same(what, found)
        heads = self.setting("heads", None)
        if not isinstance(heads, int) or heads < 1 or self.width % heads:
            raise ValueError(f"num_attention_heads must be a divisor of the {self.width} features, "
                             f"not {heads}")
        layers = tuple(self.layer(family.layer.format(number), heads) for number in range(count))
        model = Transformer(
            kind=self.kind, embedding=embedding, layers=layers,
            norm=self.norm(family.final_norm) if family.final_norm else None,
            head=self.language_head() if family.words else self.classifier())
        rest = sorted(name for name in self.left
                      if not any(re.fullmatch(pattern, name) for pattern in family.ignored))
        if rest:
            raise ValueError(f"A {family.title} model as supported has no tensor "
                             f"{self.tensors[rest[0]][0]}" + f", nor {len(rest) - 1} more that are "
                             "in the file" * (len(rest) > 1))
        return model

    # -- configuration -----------------------------------------------------------------------------

    def setting(self, what: str, default: Any) -> Any:
        """Return what the configuration says, under one of the names for it."""
        found = [self.config[key] for key in _SETTINGS[what] if self.config.get(key) is not None]
        return found[0] if found else default

    def same(self, what: str, found: int) -> None:
        """Check that the configuration does not say otherwise than the tensors."""
        said = self.setting(what, found)
        if said != found:
            raise ValueError(f"The configuration says {said!r} {what}, and the tensors are of "
                             f"{found}")

    # -- tensors -----------------------------------------------------------------------------------

    def raw(self, name: str, *shape: int | None) -> Array:
        """Return a tensor after a check of its shape, in which ``None`` stands for any size."""
        if name not in self.tensors:
            raise ValueError(f"Tensor {name} of a {self.family.title} model is missing")
        original, tensor = self.tensors[name]
        self.left.discard(name)
        if tensor.dtype.kind != "f":
            raise ValueError(f"Tensor {original} must be of floating point, not {tensor.dtype}")
        if shape and (tensor.ndim != len(shape) or any(
                size not in (None, found) for size, found in zip(shape, tensor.shape))):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"Tensor {original} must be of shape [{wanted}], not "
                             f"{list(tensor.shape)}")
        return tensor

    def tensor(self, name: str, *shape: int | None) -> Array:
        """Return a tensor in the precision of the computation."""
        return self.raw(name, *shape).astype(self.dtype)

    def linear(self, name: str, outputs: int | None, inputs: int, *,
               transposed: bool = False) -> Linear:
        """Return a linear layer; a bias that is not there is zero."""
        shape = (inputs, outputs) if transposed else (outputs, inputs)
        weight = self.tensor(f"{name}.weight", *shape)
        return self.biased(weight.T if transposed else weight, f"{name}.bias")

    def biased(self, weight: Array, name: str) -> Linear:
        """Return a linear layer whose bias has a name, if it is there."""
        bias = (self.tensor(name, len(weight)) if name in self.tensors
                else np.zeros(len(weight), self.dtype))
        return Linear(np.ascontiguousarray(weight, self.dtype), bias)

    def norm(self, name: str) -> Norm:
        """Return a norm."""
        return Norm(self.tensor(f"{name}.weight", self.width),
                    self.tensor(f"{name}.bias", self.width), self.epsilon)

    # -- parts of the network ----------------------------------------------------------------------

    def layer(self, name: str, heads: int) -> Layer:
        """Return the layer whose tensors begin with a name."""
        parts, width = self.family.parts, self.width
        outputs = {part: width for part in ("query", "key", "value", "output")}
        outputs |= {"qkv": 3 * width, "expand": self.inner(name + parts["expand"])}
        linears = {part: self.linear(name + parts[part], size, width,
                                     transposed=self.family.transposed)
                   for part, size in outputs.items() if part in parts}
        contract = self.linear(name + parts["contract"], width, outputs["expand"],
                               transposed=self.family.transposed)
        if qkv := linears.pop("qkv", None):
            for n, part in enumerate(("query", "key", "value")):
                rows = slice(n * width, (n + 1) * width)
                linears[part] = Linear(qkv.weight[rows], qkv.bias[rows])
        return Layer(
            **linears, contract=contract, heads=heads, causal=self.family.causal,
            attention_norm=self.norm(name + parts["attention_norm"]),
            norm=self.norm(name + parts["norm"]), norm_first=self.family.norm_first,
            activation=ACTIVATION_NAMES[self.activation])

    def inner(self, name: str) -> int:
        """Return the features between both products of a feed-forward part."""
        found = self.raw(f"{name}.weight", None, None).shape[self.family.transposed]
        self.same("inner features", found)
        return found

    def tokens(self) -> TokenEmbedding:
        """Return the embedding of tokens."""
        family = self.family
        words = self.raw(family.words, None, self.width)
        positions = self.tensor(family.positions, None, self.width)
        if family.padded:
            padding = self.config.get("pad_token_id")
            positions = positions[(1 if padding is None else padding) + 1:]
        if family.segment and family.segment in self.tensors:
            positions = positions + self.tensor(family.segment, None, self.width)[0]
        norm = self.norm(family.embedding_norm) if family.embedding_norm else None
        return TokenEmbedding(words=words, positions=positions, norm=norm)

    def patches(self) -> PatchEmbedding:
        """Return the embedding of images; the patches must make up a square or what is said."""
        family, width = self.family, self.width
        kernel = self.tensor(f"{family.patch}.weight", width, None, None, None)
        channels, size = kernel.shape[1:3]
        special = np.concatenate([self.tensor(name, 1, 1, width)[0] for n, name in enumerate(
            family.special) if n == 0 or name in self.tensors])
        positions = self.tensor(family.positions, 1, None, width)[0]
        count = len(positions) - len(special)
        side = self.config.get("image_size") or math.isqrt(max(count, 0)) * size
        height, wide = side if isinstance(side, list | tuple) else (side, side)
        if kernel.shape[3] != size or height % size or wide % size or (
                count != height // size * (wide // size)):
            raise ValueError(f"Positions of {count} patches of {size} × {kernel.shape[3]} pixels "
                             f"must make up an image of {height} × {wide}")
        patch = self.biased(kernel.reshape(width, -1), f"{family.patch}.bias")
        return PatchEmbedding(patch=patch, special=special, positions=positions, size=size,
                              image=(channels, height, wide))

    def language_head(self) -> Head | None:
        """Return the head of a language model, if the file has it or shares its weights."""
        names = self.family.head
        decoder, dense = f"{names['decoder']}.weight", names.get("dense")
        if dense and f"{dense}.weight" not in self.tensors:
            return None
        tied = decoder not in self.tensors
        if tied and not self.config.get("tie_word_embeddings", True):
            return None
        weight = self.raw(self.family.words if tied else decoder, None, self.width)
        bias = names.get("bias", "")
        twin = f"{names['decoder']}.bias"
        if twin in self.tensors and twin != bias:
            self.left.discard(twin)
            bias = bias if bias in self.tensors else twin
        return Head(
            decoder=self.biased(weight, bias),
            dense=self.linear(dense, self.width, self.width) if dense else None,
            activation=ACTIVATION_NAMES[self.activation],
            norm=self.norm(names["norm"]) if dense else None)

    def classifier(self) -> Head | None:
        """Return the head of a classifier, if there is one: the mean over its special tokens."""
        found = [self.linear(name, None, self.width) for name in self.family.classifiers
                 if f"{name}.weight" in self.tensors]
        if not found:
            return None
        weight = np.concatenate([each.weight for each in found], axis=1) / len(found)
        bias = np.mean([each.bias for each in found], axis=0, dtype=self.dtype)
        return Head(decoder=Linear(weight, bias))


def _plain(name: str, family: Family) -> str:
    """Return the name of a tensor without prefix, and as it is called today."""
    prefix = next((prefix for prefix in family.prefixes if name.startswith(prefix)), "")
    return re.sub(r"LayerNorm\.(gamma|beta)$",
                  lambda match: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[match[1]],
                  name.removeprefix(prefix))
