"""A picture of how similar texts are to each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw"]

_LINE = 34  # letters


def draw(path: str | Path, texts: Sequence[str],
         matrices: Sequence[tuple[str, NDArray[np.floating]]], title: str = "") -> None:
    """Write a PNG with matrices of similarities side by side.

    Parameters
    ----------
    path : path
    texts : sequence of str
    matrices : sequence of (str, array ``[texts, texts]``)
        The matrices with their names.
    title : :class:`str`
    """
    from matplotlib.figure import Figure

    size = 1.5 + 0.55 * len(texts)
    figure = Figure(figsize=(3 + size * len(matrices), size), dpi=150, layout="constrained")
    panes = figure.subplots(1, len(matrices), squeeze=False)[0]
    labels = [f"{textwrap.fill(text, _LINE)}  {number}" for number, text in enumerate(texts, 1)]
    for axes, (name, values) in zip(panes, matrices):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if value > 0.6 else "black")
        axes.set(title=name, xticks=range(len(texts)), xticklabels=range(1, len(texts) + 1))
        axes.set_yticks(range(len(texts)), labels if axes is panes[0] else [""] * len(texts),
                        fontsize=8)
    figure.suptitle(title)
    figure.savefig(path)
