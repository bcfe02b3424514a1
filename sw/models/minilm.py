"""MiniLM, a pretrained sentence encoder of 6 layers, read from its registry package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .load import load_model
from .packages import PACKAGES
from .transformer import LayerTrace

__all__ = ["MiniLM", "calibration_sentences"]


def calibration_sentences() -> list[str]:
    """Return sentences of many kinds, from which the scales of integers are found."""
    text = Path(__file__).parent / "calibration.txt"
    return text.read_text(encoding="utf-8").splitlines()


class MiniLM:
    """The sentence encoder all-MiniLM-L6-v2.

    Parameters
    ----------
    dtype : dtype
        Precision of the reference computation.
    layers : :class:`int`
        How many of the layers there are to be.

    Attributes
    ----------
    encoder : :class:`~heddle.models.transformer.Transformer`
        The network; 6 layers of 384 features in 12 heads, 1,536 features inside.

    Raises
    ------
    ModuleNotFoundError
        If the weights or the tokenizer are not installed.
    ValueError
        If the encoder has not as many layers.
    """

    limit = 256
    """Tokens of a sentence beyond which the encoder was not trained; the rest is cut off."""

    def __init__(self, dtype: DTypeLike = np.float64, *, layers: int = 6) -> None:
        file = PACKAGES["minilm"].path("model", "tokenizer.json")
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Reading MiniLM needs the package 'tokenizers'; install it "
                                      "with 'pip install heddle[demo]'") from error
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.limit)
        encoder = load_model("minilm", dtype)
        if not 1 <= layers <= len(encoder.layers):
            raise ValueError(f"MiniLM must have 1 to {len(encoder.layers)} layers, not {layers}")
        self.encoder = replace(encoder, layers=encoder.layers[:layers])

    def tokens(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of each sentence, with its start and end marks."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(sentences))]

    def run(self, sentences: Sequence[str]) -> list[LayerTrace]:
        """Return the trace of each layer, with the tokens of all sentences one after another."""
        return self.encoder.run(self.tokens(sentences))

    def embed(self, sentences: Sequence[str]) -> NDArray[np.floating]:
        """Return a vector of length 1 for each sentence, ``[sentences, features]``.

        The dot product of two of them is the similarity of the sentences.
        """
        sequences = self.tokens(sentences)
        return self.pool(self.encoder(sequences), [len(sequence) for sequence in sequences])

    def pool(self, output: NDArray, lengths: Sequence[int]) -> NDArray:
        """Return the mean of the rows of each sequence, scaled to length 1.

        Parameters
        ----------
        output : array, shape ``[tokens, features]``
            Of the last layer, the tokens of all sequences one after another.
        lengths : sequence of int
            Tokens of each sequence.
        """
        ends = np.cumsum(lengths)[:-1]
        means = np.stack([rows.mean(axis=0) for rows in np.split(output, ends)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)
