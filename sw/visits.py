"""The tiles that a pattern visits, and the masks of those that it visits in part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALL", "NONE", "SOME", "Run", "Table", "Visits", "streaks"]

Bools = NDArray[np.bool_]

NONE, SOME, ALL = range(3)
"""How much of a tile is visible."""

_STRETCH = 4
"""Equal masks in a row from which on they are a run of their own."""


@dataclass(frozen=True)
class Run:
    """Consecutive key tiles that a tile of queries visits."""

    first: int
    """The first key tile."""
    count: int
    """Key tiles; at least 1."""
    mask: tuple[int, int] | None
    """``None`` if every query sees every key; else ``(index, stride)``: tile ``n`` of the run has
    mask ``index + n·stride`` of :attr:`Visits.masks`. The stride is 0 or 1."""


@dataclass(frozen=True)
class Visits:
    """The tiles of a pattern that hold a visible pair, in the order of the keys."""

    runs: tuple[tuple[tuple[tuple[Run, ...], ...], ...], ...]
    """``runs[item][head][tile]`` are the runs of a tile of queries. If no rule tells the heads
    apart, ``runs[item]`` has one element for all of them; :meth:`of` sees to that. A tile in which
    no query sees anything has no runs: its outputs are zeros."""
    masks: Bools
    """``[n, rows, lanes]``, True = visible. Lanes beyond the last query do as it does."""
    shared: bool
    """All heads have the same runs."""
    tiles_visited: int
    """Tiles of the runs, over all items and heads."""
    tiles_total: int
    """Tiles without any pattern, over all items and heads."""
    head_pairs: tuple[int, ...]
    """Visible pairs of a query and a key of each head, those of the first item first."""

    @property
    def pairs(self) -> int:
        """Visible pairs of a query and a key, over all items and heads."""
        return sum(self.head_pairs)

    def of(self, item: int, head: int, tile: int) -> tuple[Run, ...]:
        """Return the runs of a tile of queries of a head."""
        return self.runs[item][0 if self.shared else head][tile]

    def tiles(self, item: int, head: int, tile: int) -> Iterator[tuple[int, Bools | None]]:
        """Yield the key tiles of these runs, each with its mask, or ``None``."""
        for run in self.of(item, head, tile):
            for n in range(run.count):
                yield run.first + n, (None if run.mask is None
                                      else self.masks[run.mask[0] + n * run.mask[1]])


class Table:
    """The masks of tiles so far, each streak of them once."""

    def __init__(self, rows: int, lanes: int) -> None:
        self.rows = rows
        self.lanes = lanes
        self._masks: list[Bools] = []
        self._places: dict[bytes, int] = {}

    def masks(self) -> Bools:
        """Return all masks."""
        return np.array(self._masks, bool).reshape(-1, self.rows, self.lanes)

    def cut(self, seen: Bools) -> Bools:
        """Return ``[queries, keys]`` as tiles, ``[tiles, rows, lanes]``."""
        queries, keys = seen.shape
        padded = np.pad(seen, ((0, 0), (0, -keys % self.rows)))
        padded = np.pad(padded, ((0, self.lanes - queries), (0, 0)), "edge")
        return padded.T.reshape(-1, self.rows, self.lanes)

    def runs(self, kinds: NDArray[np.int8], looked: NDArray, tiles: Bools) -> tuple[Run, ...]:
        """Return the runs of tiles of some kinds; ``tiles`` are those at ``looked``."""
        runs: list[Run] = []
        for streak in streaks(np.arange(len(kinds)), np.diff(kinds) != 0):
            first, count = int(streak[0]), len(streak)
            if kinds[first] == ALL:
                runs.append(Run(first, count, None))
            elif kinds[first] == SOME:
                place = int(np.searchsorted(looked, first))
                runs += self._masked(first, tiles[place:place + count])
        return tuple(runs)

    def _masked(self, first: int, masks: Bools) -> list[Run]:
        """Return the runs of consecutive tiles with masks: of many equal ones, and of others."""
        equal = streaks(np.arange(len(masks)), (masks[1:] != masks[:-1]).any((1, 2)))
        sizes = np.array([len(streak) for streak in equal])
        long = sizes >= _STRETCH
        runs = []
        for group in streaks(np.arange(len(equal)), long[1:] | long[:-1]):
            start, count = int(equal[group[0]][0]), int(sizes[group].sum())
            distinct = masks[start:start + (count if len(group) > 1 else 1)]
            runs.append(Run(first + start, count,
                            (self._place(distinct), int(len(distinct) > 1))))
        return runs

    def _place(self, masks: Bools) -> int:
        """Return where some masks follow each other in the table."""
        key = np.packbits(masks.reshape(len(masks), -1), axis=1).tobytes()
        if key not in self._places:
            self._places[key] = len(self._masks)
            self._masks += list(masks)
        return self._places[key]


def streaks(array: NDArray, cuts: Bools) -> list[NDArray]:
    """Return an array cut after each element for which ``cuts`` is True."""
    return np.split(array, np.flatnonzero(cuts) + 1) if len(array) else []
