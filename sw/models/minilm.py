"""MiniLM, a pretrained sentence encoder of 6 layers, read from its registry package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .load import load_model
from .packages import PACKAGES
from .transformer import LayerTrace

__all__ = ["MiniLM"]


class MiniLM:
    """The sentence encoder all-MiniLM-L6-v2.

    Parameters
    ----------
    dtype : dtype
        Precision of the reference computation.

    Attributes
    ----------
    encoder : :class:`~heddle.models.transformer.Transformer`
        The network; 6 layers of 384 features in 12 heads, 1,536 features inside.

    Raises
    ------
    ModuleNotFoundError
        If the weights or the tokenizer are not installed.
    """

    limit = 256
    """Tokens of a sentence beyond which the encoder was not trained; the rest is cut off."""

    def __init__(self, dtype: DTypeLike = np.float64) -> None:
        file = PACKAGES["minilm"].path("model", "tokenizer.json")
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Reading MiniLM needs the package 'tokenizers'; install it "
                                      "with 'pip install heddle[demo]'") from error
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.limit)
        self.encoder = load_model("minilm", dtype)

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
        output = self.encoder(sequences)
        ends = np.cumsum([len(sequence) for sequence in sequences])[:-1]
        return self.pool(np.split(output, ends))

    def pool(self, outputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Return the vectors of sentences from the encoder's output for each, a row a token."""
        means = np.stack([rows.mean(axis=0) for rows in outputs])
        return means / np.linalg.norm(means, axis=1, keepdims=True)
