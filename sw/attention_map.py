"""Pictures of what a head attends to: in floating point, and as the accelerator weighs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .patterns import Pattern, Visits
from .rtl.geometry import Geometry
from .sim import attention

__all__ = ["draw", "float_map", "integer_map"]

_UNIT = 127  # the value that stands for 1 where the weights are read off

_KINDS = {"tile visited": "#2f7ed8", "tile visited, with a mask": "#f0ad4e"}
"""The colours of frames."""

Array = NDArray[np.float64]


def float_map(q: ArrayLike, k: ArrayLike, visible: NDArray[np.bool_], scale: float) -> Array:
    """Return the weights of a head, ``[queries, keys]``; zeros where a query sees nothing.

    Parameters
    ----------
    q, k : array of float, shape ``[queries, dim]`` and ``[keys, dim]``
    visible : array of bool, shape ``[queries, keys]``
    scale : :class:`float`
        With which the products are multiplied.
    """
    scores = np.asarray(q, np.float64) @ np.asarray(k, np.float64).T * scale
    scores = np.where(visible, scores, -np.inf)
    highest = scores.max(1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    return weights / (weights.sum(1, keepdims=True) + ~visible.any(1, keepdims=True))


def integer_map(q: NDArray[np.int8], k: NDArray[np.int8], pattern: Pattern, geometry: Geometry,
                scale: attention.Scale, *, head: int = 0, item: int = 0) -> Array:
    """Return the weights that the accelerator gives to the keys, ``[queries, keys]``.

    They are what it returns if the values are the identity, before the last rounding: the golden
    model computes them, so every bit of them is the hardware's.

    Parameters
    ----------
    q, k : array of int8, shape ``[queries, dim]`` and ``[keys, dim]``
    pattern : :class:`~heddle.patterns.Pattern`
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    scale : :class:`~heddle.sim.attention.Scale`
        Of the scores.
    head, item : :class:`int`
        Whose pattern it is.
    """
    visits = pattern.runs(geometry.rows, geometry.lanes)
    identity = _UNIT * np.eye(len(k), dtype=np.int8)
    weights = np.zeros((len(q), len(k)))
    for tile, first in enumerate(range(0, len(q), geometry.lanes)):
        part = q[first:first + geometry.lanes]
        padded = np.pad(part, ((0, geometry.lanes - len(part)), (0, 0)))
        acc, state = attention.accumulate_job(
            padded.T, k.T, identity, visits.tiles(item, head, tile), rows=geometry.rows,
            depth=geometry.depth, scale=scale)
        total = np.maximum(state.total / 2 ** attention.SUM_FRACTION, 1)
        weights[first:first + len(part)] = (acc / (_UNIT * total)).T[:len(part)]
    return weights


def draw(path: str | Path, maps: Sequence[tuple[str, Array]], visits: Visits, geometry: Geometry,
         title: str = "", *, head: int = 0, item: int = 0, marks: Sequence[int] = ()) -> None:
    """Write a PNG with attention maps side by side, the visited tiles framed in each.

    Parameters
    ----------
    path : path
    maps : sequence of (str, array ``[queries, keys]``)
        The maps with their names.
    visits : :class:`~heddle.patterns.Visits`
        What the accelerator visits.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        Its sizes of a tile.
    title : :class:`str`
    head, item : :class:`int`
        Whose visits to frame.
    marks : sequence of int
        Tokens where something begins, for the axes.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(5.2 * len(maps), 5.6), dpi=150, layout="constrained")
    frames = list(_frames(visits, item, head, maps[0][1].shape, geometry))
    for axes, (name, weights) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps):
        # The root shows small weights, too.
        picture = axes.imshow(np.sqrt(weights), cmap="Greys", vmin=0, vmax=1,
                              interpolation="nearest")
        for kind, corner, width, height in frames:
            axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=_KINDS[kind],
                                     linewidth=1.2, label=kind))
        axes.set(title=name, xlabel="key", ylabel="query")
        if marks:
            axes.set_xticks(list(marks))
            axes.set_yticks(list(marks))
    bar = figure.colorbar(picture, ax=figure.axes, shrink=0.7, ticks=np.sqrt([0, .01, .1, .5, 1]),
                          label="weight")
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "50 %", "100 %"])
    figure.suptitle(title)
    legend = {patch.get_label(): patch for patch in figure.axes[0].patches}
    figure.legend(handles=list(legend.values()), ncols=2, loc="outside lower center",
                  frameon=False)
    figure.savefig(path)


def _frames(visits: Visits, item: int, head: int, shape: tuple[int, ...], geometry: Geometry,
            ) -> Iterator[tuple[str, tuple[float, float], float, float]]:
    """Yield what each visited tile is, and its frame: corner, width and height."""
    queries, keys = shape
    for tile, y in enumerate(range(0, queries, geometry.lanes)):
        for index, mask in visits.tiles(item, head, tile):
            x = index * geometry.rows
            # A pixel has its middle at its number; frames of neighbours do not touch.
            yield ("tile visited" if mask is None else "tile visited, with a mask",
                   (x - 0.2, y - 0.2), min(geometry.rows, keys - x) - 0.6,
                   min(geometry.lanes, queries - y) - 0.6)
