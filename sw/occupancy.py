"""A picture of what the array did over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .device import Run

__all__ = ["KINDS", "draw", "shares"]

KINDS = {
    "computing": "#2f7ed8",
    "waiting for DMA": "#d9534f",
    "waiting for operands": "#f0ad4e",
    "waiting for a context": "#8e6bbf",
    "idle": "#d5d9de",
}
"""What a cycle is spent on, in the order of the samples of a run, and what is not counted there."""


def shares(run: Run) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what each window of a run was spent on, and where the windows begin and end.

    Returns
    -------
    shares : array of float64, shape ``[windows, 5]``
        Share of the window's cycles: computing, waiting for DMA, for operands, for a context, idle.
    edges : array of int64, shape ``[windows + 1]``
        Cycles since the start; the last window ends with the run.

    Raises
    ------
    ValueError
        If the run has no samples: the golden model has no notion of time.
    """
    if run.counters.cycles is None or not len(run.samples):
        raise ValueError("A run must have samples for its occupancy, and this one has none")
    edges = np.minimum(np.arange(len(run.samples) + 1) * run.window, run.counters.cycles)
    windows = np.diff(edges) > 0
    counted = run.samples[windows] / np.diff(edges)[windows, np.newaxis]
    idle = np.clip(1 - counted.sum(axis=1), 0, 1)
    return np.column_stack([counted, idle]), np.append(edges[:-1][windows], run.counters.cycles)


def draw(path: str | Path, runs: Sequence[tuple[str, Run]], title: str = "") -> None:
    """Write a PNG that shows how each window of cycles was spent in runs, one after another.

    Parameters
    ----------
    path : path
    runs : sequence of (str, :class:`~heddle.device.Run`)
        The runs with their names.
    title : :class:`str`

    Raises
    ------
    ValueError
        If a run has no samples.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    start = 0
    for name, run in runs:
        kinds, edges = shares(run)
        tops = np.cumsum(kinds, axis=1)
        for top, kind, colour in zip(tops.T, kinds.T, KINDS.values(), strict=True):
            axes.stairs(top, start + edges, baseline=top - kind, fill=True, color=colour)
        axes.text(start + edges[-1] / 2, 1.01, name, ha="center", va="bottom", fontsize=8)
        start += edges[-1]
        axes.axvline(start, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, start), ylim=(0, 1), xlabel="cycle", ylabel="share of cycles")
    axes.set_title(title, pad=18)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(handles=axes.patches[:len(KINDS)], labels=list(KINDS), ncols=len(KINDS),
                  loc="outside lower center", frameon=False)
    figure.savefig(path)
