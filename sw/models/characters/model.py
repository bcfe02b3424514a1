"""The trained model, as ``heddle.train.characters`` wrote it beside this file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..load import load_model
from ..modules import Array

__all__ = ["BOOKS", "FOLDER", "WINDOW", "Characters", "book"]

FOLDER = Path(__file__).parent
"""Of the trained weights, as GPT-2 names them."""

BOOKS = "ruth", "jonah"
"""Those of the King James Bible that were not learnt; each is a file beside this one."""

WINDOW = 256
"""Characters that the model sees at most."""


def book(name: str) -> str:
    """Return one of :data:`BOOKS`, a verse a line."""
    if name not in BOOKS:
        raise ValueError(f"Book must be one of {', '.join(BOOKS)}, not {name!r}")
    return (FOLDER / f"{name}.txt").read_text()


class Characters:
    """A decoder of four layers that says for each character of a text which one comes next.

    Parameters
    ----------
    folder : path
        With weights and ``config.json``.
    dtype : dtype
        Precision of the computation.

    Attributes
    ----------
    model : :class:`~heddle.models.transformer.Transformer`
        The network; 128 features in 4 heads, 512 features inside, and its head.
    alphabet : :class:`str`
        The characters, in the order of their token numbers.
    """

    def __init__(self, folder: Path = FOLDER, dtype: DTypeLike = np.float64) -> None:
        self.alphabet: str = json.loads((folder / "config.json").read_text())["alphabet"]
        self.model = load_model(folder, dtype)

    def tokens(self, text: str) -> list[list[int]]:
        """Return the token numbers of a text in windows, of which the last may be shorter.

        Raises
        ------
        ValueError
            If the text is shorter than two characters, or one of them is not in the alphabet.
        """
        if len(text) < 2:
            raise ValueError(f"A text must have at least 2 characters, not {len(text)}")
        if strange := sorted(set(text) - set(self.alphabet)):
            raise ValueError(f"Characters must be of {self.alphabet!r}, not {strange[0]!r}")
        numbers = [self.alphabet.index(character) for character in text]
        windows = [numbers[start:start + WINDOW] for start in range(0, len(numbers), WINDOW)]
        return windows if len(windows[-1]) > 1 else windows[:-1]

    def nats(self, text: str) -> float:
        """Return the mean of −log of the probabilities of the characters of a text, by its windows.

        The first character of each window is given, not guessed.
        """
        windows = self.tokens(text)
        return self.loss(self.model.logits(windows), windows)

    def loss(self, logits: Array, windows: Sequence[Sequence[int]]) -> float:
        """Return the mean for logits of all tokens of some windows."""
        ends = np.cumsum([len(window) for window in windows])
        nats = logarithm_of_sum(logits) - np.take_along_axis(
            logits, np.roll(np.concatenate(windows), -1)[:, np.newaxis], 1)[:, 0]
        return float(np.delete(nats, ends - 1).mean())


def logarithm_of_sum(logits: Array) -> Array:
    """Return log Σ exp of each row."""
    largest = logits.max(axis=1)
    return largest + np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1))
