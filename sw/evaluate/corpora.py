"""Labelled texts that the package gensim has among its tests; the package is not imported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.packages import Package

__all__ = ["GENSIM", "Lee", "Polarity"]

GENSIM = Package(title="the labelled texts", requirement="gensim==4.4.0", module="gensim",
                 weights="test/test_data", megabytes=28, licence="LGPL-2.1")
"""Its dependencies, and all of its code, are not needed."""


def _read(name: str) -> str:
    return GENSIM.path("test", "test_data", name).read_text(encoding="latin-1")


@dataclass(frozen=True)
class Lee:
    """Fifty news texts, and how similar people found them (Lee, Pincombe and Welsh, 2005)."""

    texts: list[str]
    ratings: NDArray[np.float64]
    """Of each pair of texts, from 0 to 1; symmetric."""

    @classmethod
    def load(cls, first: int | None = None) -> Lee:
        """Return all texts or only the first.

        Raises
        ------
        ModuleNotFoundError
            If gensim's files are not installed.
        """
        upper = np.array([line.split() for line in _read("similarities0-1.txt").splitlines()],
                         np.float64)
        ratings = np.triu(upper) + np.triu(upper, 1).T
        return cls(_read("lee.cor").splitlines()[:first], ratings[:first, :first])


@dataclass(frozen=True)
class Polarity:
    """Two hundred snippets of film reviews, half of them in favour (Pang and Lee, 2005).

    Those in favour and the others take turns, so any first ones are a fair sample.
    """

    texts: list[str]
    favour: NDArray[np.bool_]

    @classmethod
    def load(cls, first: int | None = None) -> Polarity:
        """Return all snippets or only the first; refuses what :class:`Lee` refuses."""
        lines = [line.split(maxsplit=1) for line in _read("pang_lee_polarity.cor").splitlines()]
        favour = np.array([label == "__label__pos" for label, _ in lines])
        place = np.where(favour, favour.cumsum(), (~favour).cumsum())
        order = np.argsort(place, kind="stable")[:first]
        return cls([lines[n][1] for n in order], favour[order])
