"""Transformers of one form, BERT to ViT, as a description with weights that NumPy can compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .modules import ACTIVATIONS, Array, Linear, Norm, SelfAttention

__all__ = ["Head", "Layer", "LayerTrace", "PatchEmbedding", "TokenEmbedding", "Transformer"]


@dataclass(frozen=True)
class LayerTrace:
    """Every tensor that one layer computes, each ``[tokens, features]``."""

    input: Array
    hidden: Array
    """What the query, key and value projections read: the input, or its norm."""
    query: Array
    key: Array
    value: Array
    context: Array
    """Attention's result, all heads side by side; what the output projection reads."""
    projected: Array
    """The output projection, before the sum with the input."""
    attended: Array
    """That sum, normalised or not; what is added again in the end."""
    fed: Array
    """What the feed-forward part reads: ``attended``, or its norm."""
    inner: Array
    """After the activation; what the second feed-forward projection reads."""
    output: Array


@dataclass(frozen=True, kw_only=True)
class Layer(SelfAttention):
    """Attention, then feed-forward; the input of each is added to its output.

    The norm of each part applies to that sum or, with ``norm_first``, to what the part reads.
    """

    attention_norm: Norm
    expand: Linear
    contract: Linear
    norm: Norm
    activation: str = "gelu"
    """A name in :data:`~heddle.models.modules.ACTIVATIONS`."""
    norm_first: bool = False

    def __call__(self, x: Array, lengths: Sequence[int]) -> LayerTrace:
        """Run the layer on sequences of these lengths, whose tokens are the rows of ``x``."""
        hidden = self.attention_norm(x) if self.norm_first else x
        q, k, v = self.query(hidden), self.key(hidden), self.value(hidden)
        context = self.attend(q, k, v, lengths)
        projected = self.output(context)
        attended = x + projected if self.norm_first else self.attention_norm(x + projected)
        fed = self.norm(attended) if self.norm_first else attended
        inner = ACTIVATIONS[self.activation](self.expand(fed))
        output = attended + self.contract(inner)
        return LayerTrace(x, hidden, q, k, v, context, projected, attended, fed, inner,
                          output if self.norm_first else self.norm(output))


@dataclass(frozen=True, kw_only=True)
class TokenEmbedding:
    """Sequences of token numbers as rows of features."""

    words: Array
    """A row for each token of the vocabulary, in the precision of the file."""
    positions: Array
    """A row for each place in a sequence, with the embedding of the first segment, if any."""
    norm: Norm | None = None

    def __call__(self, sequences: Sequence[Sequence[int]]) -> tuple[Array, list[int]]:
        """Return a row for each token of each sequence, and the lengths of the sequences.

        Raises
        ------
        ValueError
            If there is no sequence, one is empty or longer than the position table, or a token is
            not in the vocabulary.
        """
        limit, vocabulary = len(self.positions), len(self.words)
        if not len(sequences):
            raise ValueError("A model needs at least one sequence, not none")
        for n, sequence in enumerate(sequences):
            if not 1 <= len(sequence) <= limit:
                raise ValueError(f"Sequence {n} must have 1 to {limit} tokens, not "
                                 f"{len(sequence)}")
            for token in sequence:
                if not 0 <= token < vocabulary:
                    raise ValueError(f"Tokens of sequence {n} must be from 0 to {vocabulary - 1}, "
                                     f"not {token}")
        words = np.concatenate([self.words[list(sequence)] for sequence in sequences])
        lengths = [len(sequence) for sequence in sequences]
        x = words.astype(self.positions.dtype) + np.concatenate(
            [self.positions[:length] for length in lengths])
        return (x if self.norm is None else self.norm(x)), lengths


@dataclass(frozen=True, kw_only=True)
class PatchEmbedding:
    """Images as rows of features: one for each special token, then one for each square patch."""

    patch: Linear
    """From the pixels of a patch, ``[channels, size, size]`` as one axis."""
    special: Array
    """The class token, and what else goes before the patches, ``[tokens, features]``."""
    positions: Array
    """A row for each token, special or not."""
    size: int
    """Pixels of a side of a patch."""
    image: tuple[int, int, int]
    """Channels, height and width of an image."""

    def __call__(self, images: ArrayLike) -> tuple[Array, list[int]]:
        """Return a row for each token of each image, and the number of tokens of each image.

        Raises
        ------
        ValueError
            If the images are not ``[images, channels, height, width]`` of the right size.
        """
        pixels = np.asarray(images, self.positions.dtype)
        if pixels.ndim != 4 or not len(pixels) or pixels.shape[1:] != self.image:
            raise ValueError(f"Images must be of shape [images, {', '.join(map(str, self.image))}],"
                             f" at least one, not {list(pixels.shape)}")
        channels, height, width = self.image
        count, size = len(pixels), self.size
        patches = pixels.reshape(count, channels, height // size, size, width // size, size)
        patches = patches.transpose(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * size * size)
        special = np.broadcast_to(self.special, (count, *self.special.shape))
        x = np.concatenate([special, self.patch(patches)], axis=1) + self.positions
        return x.reshape(-1, x.shape[-1]), [len(self.positions)] * count


@dataclass(frozen=True, kw_only=True)
class Head:
    """From the output of a model to logits: ``decoder``, after a transformation if there is one."""

    decoder: Linear
    dense: Linear | None = None
    activation: str = "gelu"
    """Applied after ``dense``."""
    norm: Norm | None = None
    """Applied after the activation."""

    def __call__(self, x: Array) -> Array:
        """Return the logits of each row."""
        if self.dense is not None:
            x = ACTIVATIONS[self.activation](self.dense(x))
        if self.norm is not None:
            x = self.norm(x)
        return self.decoder(x)


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A whole network.

    Sequences of any length are computed together: their tokens are rows of one matrix, without
    padding, and only attention looks at where a sequence ends. *Inputs* are what the embedding
    takes, sequences of tokens or images.
    """

    kind: str
    """The family, a name in :data:`~heddle.models.families.FAMILIES`."""
    embedding: TokenEmbedding | PatchEmbedding
    layers: tuple[Layer, ...]
    norm: Norm | None = None
    """Applied to the output of the last layer."""
    head: Head | None = None
    """Reads every token; or of an image the special ones, as many as it has inputs for."""

    @property
    def projections(self) -> dict[str, Linear]:
        """The linear layers of all layers by their names; embedding and head are not among them."""
        return {f"layers.{n}.{part}": getattr(layer, part)
                for n, layer in enumerate(self.layers)
                for part in ("query", "key", "value", "output", "expand", "contract")}

    def embed(self, inputs: Any) -> Array:
        """Return the input of the first layer: a row for each token of all sequences."""
        return self.embedding(inputs)[0]

    def run(self, inputs: Any) -> list[LayerTrace]:
        """Return the trace of each layer; refuses what the embedding refuses."""
        x, lengths = self.embedding(inputs)
        traces = []
        for layer in self.layers:
            traces.append(layer(x, lengths))
            x = traces[-1].output
        return traces

    def __call__(self, inputs: Any) -> Array:
        """Return the output of the last layer, normalised if the model does so."""
        return self.finish(self.run(inputs)[-1].output)

    def finish(self, x: Array) -> Array:
        """Return what becomes of the output of the last layer."""
        return x if self.norm is None else self.norm(x)

    def logits(self, inputs: Any) -> Array:
        """Return the logits of every token, or of every image.

        Raises
        ------
        ValueError
            If the file of the model has no head.
        """
        return self.read(self(inputs))

    def read(self, x: Array) -> Array:
        """Return the logits of every token or image, from the output of the last layer.

        That is normalised if the model does so; refuses what :meth:`logits` refuses.
        """
        if self.head is None:
            raise ValueError(f"Logits need a head, and this {self.kind} model has none")
        if isinstance(self.embedding, PatchEmbedding):
            images = x.reshape(-1, x.shape[1] * len(self.embedding.positions))
            x = images[:, :self.head.decoder.weight.shape[1]]
        return self.head(x)
