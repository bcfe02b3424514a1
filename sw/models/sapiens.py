"""Sapiens, a language model of antibodies of 4 layers, read from its registry package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .load import load_model
from .modules import Array, softmax
from .packages import PACKAGES

__all__ = ["Sapiens", "antibodies", "masked", "matches"]

_BEFORE = "<s>", "<pad>", "</s>", "<unk>"  # fairseq puts these before the file's symbols
_AFTER = ("<mask>",)


def antibodies() -> dict[str, str]:
    """Return ten heavy chains of well-known antibodies by name, for evaluation."""
    text = (Path(__file__).parent / "antibodies.fasta").read_text()
    entries = (entry.split("\n") for entry in text.split(">")[1:])
    return {title.split()[0]: "".join(lines) for title, *lines in entries}


def masked(chain: str) -> list[str]:
    """Return a chain as often as it has residues, each time with the next one masked."""
    return [f"{chain[:n]}X{chain[n + 1:]}" for n in range(len(chain))]


def matches(one: str, other: str) -> int:
    """Return at how many places two chains of the same length have the same residue."""
    return sum(a == b for a, b in zip(one, other))


class Sapiens:
    """The model of heavy chains of human antibodies (Prihoda et al., mAbs 2022).

    It reads the variable region of a heavy chain as one token for each residue, and says for each
    place which of the 20 amino acids stands there in human antibodies.

    Parameters
    ----------
    dtype : dtype
        Precision of the reference computation.

    Attributes
    ----------
    model : :class:`~heddle.models.transformer.Transformer`
        The network; 4 layers of 128 features in 8 heads, 256 features inside, and its head.
    residues : :class:`str`
        The amino acids, in the order of the columns of :meth:`scores`.

    Raises
    ------
    ModuleNotFoundError
        If the weights are not installed.
    """

    def __init__(self, dtype: DTypeLike = np.float64) -> None:
        lines = PACKAGES["sapiens"].path("models", "v1", "dict.txt").read_text().splitlines()
        symbols = [*_BEFORE, *(line.split()[0] for line in lines), *_AFTER]
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}
        self.residues = "".join(symbols[len(_BEFORE):-len(_AFTER)])
        self.model = load_model("sapiens", dtype)

    def tokens(self, chains: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of each chain, with its start and end marks.

        ``X`` and ``*`` in a chain mask a residue.

        Raises
        ------
        ValueError
            If a chain has another letter.
        """
        return [[self._numbers["<s>"], *(self._number(letter) for letter in chain),
                 self._numbers["</s>"]] for chain in chains]

    def scores(self, chains: Sequence[str]) -> list[Array]:
        """Return the probability of each amino acid at each place, ``[residues, 20]`` a chain."""
        return self.read(self.model.logits(self.tokens(chains)), chains)

    def read(self, logits: Array, chains: Sequence[str]) -> list[Array]:
        """Return the probabilities that the logits of all tokens stand for.

        As in the package, they are those of all symbols, so the amino acids' sum is below 1.
        """
        scores = softmax(logits)[:, len(_BEFORE):-len(_AFTER)]
        ends = np.cumsum([len(chain) + 2 for chain in chains])[:-1]
        return [rows[1:-1] for rows in np.split(scores, ends)]

    def recovered(self, chain: str) -> int:
        """Return how many residues are the most probable ones when they alone are masked."""
        return matches(self.guessed(self.scores(masked(chain))), chain)

    def guessed(self, scores: Sequence[Array]) -> str:
        """Return the most probable amino acid in place of each mask, of what is :func:`masked`."""
        return "".join(self.residues[rows[n].argmax()] for n, rows in enumerate(scores))

    def fill(self, chains: Sequence[str]) -> list[str]:
        """Return the chains with the most probable amino acid in place of each mask."""
        return ["".join(self.residues[row.argmax()] if letter in "X*" else letter
                        for letter, row in zip(chain, scores))
                for chain, scores in zip(chains, self.scores(chains))]

    def _number(self, letter: str) -> int:
        if letter in "X*":
            return self._numbers["<mask>"]
        if letter not in self.residues:
            raise ValueError(f"Residues must be of {self.residues}, or X or * for a mask, not "
                             f"{letter!r}")
        return self._numbers[letter]
