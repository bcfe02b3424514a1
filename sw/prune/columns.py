"""Structured column pruning in two stages (Zhang et al., ACM TECS 20(5s), 2021).

A *column* is an output feature of a weight, named after the matrix as the paper writes it. Whole
columns are pruned, so what is left of a weight is a smaller dense rectangle. Which columns belong
to which weight, and what follows for other weights, is the business of :mod:`.transformer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .ranking import Bools, Scores, kept_of, largest, ratio, size

__all__ = ["Columns", "Kept", "prune_columns"]


@dataclass(frozen=True)
class Columns:
    """The columns of one weight, or of several weights that lose the same ones."""

    name: str
    """For messages."""
    group: str
    """The fine stage compares columns within a group: those of the same type in all layers."""
    scores: Scores
    """Importance of each column, at least 0: its gamma, magnitude or first-order score."""
    heads: int = 1
    """Equal parts of the columns, each of which begins a block of its own on the hardware."""

    @classmethod
    def of(cls, name: str, group: str, scores: ArrayLike, heads: int = 1) -> Columns:
        """Return the columns after checking their scores; the sign of a gamma does not matter.

        Raises
        ------
        TypeError
            If the scores are not real numbers, or the heads no integer.
        ValueError
            If the scores are no vector, not finite, or not divisible into the heads.
        """
        heads = size(heads, f"Heads of {name}")
        array = np.asarray(scores)
        if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
            raise TypeError(f"Scores of {name} must be real numbers, not {array.dtype}")
        if array.ndim != 1 or not array.size or array.size % heads:
            raise ValueError(f"Scores of {name} must be a vector for columns of {heads} equal "
                             f"heads, not of shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"Scores of {name} must be finite, but that of column "
                             f"{int(np.argmin(np.isfinite(array)))} is not")
        return cls(name, group, np.abs(array.astype(np.float64)), heads)

    @property
    def live(self) -> Bools:
        """Which columns have a score above 0; of a head that has none, the first."""
        live = (self.scores > 0).reshape(self.heads, -1)
        live[:, 0] |= ~live.any(1)
        return live.ravel()


@dataclass(frozen=True)
class Kept:
    """What two stages have kept."""

    masks: tuple[Bools, ...]
    """Of each weight its columns, True = kept."""
    coarse: float
    """Share of every weight that the coarse stage has pruned; none keeps more than the rest."""
    sparsity: float
    """Share of every group that is pruned in the end."""


def prune_columns(columns: Sequence[Columns], sparsity: float, *, coarse: float = 0.5,
                  coarse_step: float = 0.1, fine_step: float = 0.05, grain: int = 1,
                  accept: Callable[[Kept], bool] | None = None) -> Kept:
    """Prune the columns of weights, first the same share of each, then of each group.

    The *coarse* stage prunes ``coarse_step`` more of every weight at a time and so bounds the
    largest. The *fine* stage goes on from there and prunes ``fine_step`` more of every group at a
    time, whichever weights of the group the columns belong to. A column once pruned stays pruned.
    Each stage ends at its limit, or before the first step that is not accepted.

    Every step keeps a given number of columns, to the nearest, in the least number of blocks: of
    each head its best block of ``grain`` columns, then the best blocks of all heads until there is
    room; the last of them is not full, or if one for each head is room enough, those with the
    worst columns are not. So no head is left a little above a block as long as another has room,
    and what a block costs is used. With ``grain`` 1 that is the paper's ranking.
    Every head keeps a column; of equal scores the first are kept. Columns of score 0 count as
    pruned already, so the first step takes them all.

    Parameters
    ----------
    columns : sequence of :class:`Columns`
    sparsity, coarse : :class:`float`
        The most that the fine and the coarse stage prune; ``coarse`` no more than ``sparsity``.
    coarse_step, fine_step : :class:`float`
    grain : :class:`int`
        Columns that cost as much as one: ``rows`` of the geometry.
    accept : function of :class:`Kept`
        Whether a step may stay. It may train first, and say no if accuracy falls below the
        baseline. By default all steps may.

    Raises
    ------
    TypeError
        If a number is of the wrong type.
    ValueError
        If a share is not at least 0 and less than 1, a step is not positive, or a step would
        leave fewer columns than heads.
    """
    sparsity, coarse = ratio(sparsity), ratio(coarse, "Coarse sparsity")
    steps = [ratio(coarse_step, "Coarse step"), ratio(fine_step, "Fine step")]
    for name, step in zip(("Coarse", "Fine"), steps):
        if not step:
            raise ValueError(f"{name} step must be more than 0")
    grain = size(grain, "Grain")
    alone = {str(n): [n] for n in range(len(columns))}
    groups: dict[str, list[int]] = {}
    for n, each in enumerate(columns):
        groups.setdefault(each.group, []).append(n)
    stages = (alone, min(coarse, sparsity), steps[0]), (groups, sparsity, steps[1])
    for stage, end, _ in stages:
        for group in stage.values():
            _check([columns[n] for n in group], end)
    kept = Kept(tuple(np.ones(c.scores.size, bool) for c in columns), 0.0, 0.0)
    for stage, end, step in stages:
        for share in _ladder(kept.sparsity, end, step):
            masks = _step(columns, stage.values(), kept.masks, share, grain)
            candidate = Kept(masks, share if stage is alone else kept.coarse, share)
            if accept is not None and not accept(candidate):
                break
            kept = candidate
    return kept


def _check(members: Sequence[Columns], sparsity: float) -> None:
    """Refuse a sparsity that leaves fewer columns than heads."""
    total, heads = sum(c.scores.size for c in members), sum(c.heads for c in members)
    if kept_of(total, sparsity) < heads:
        raise ValueError(f"A sparsity of {sparsity} leaves {kept_of(total, sparsity)} of the "
                         f"{total} columns of {', '.join(c.name for c in members)}, but each of "
                         f"the {heads} heads must keep one")


def _ladder(start: float, end: float, step: float) -> Iterator[float]:
    """Yield the shares after ``start`` in equal steps; the last is ``end``."""
    count = math.ceil((end - start) / step - 1e-9)
    yield from (start + n * step if n < count else end for n in range(1, count + 1))


def _step(columns: Sequence[Columns], groups: Iterable[Sequence[int]], masks: Sequence[Bools],
          share: float, grain: int) -> tuple[Bools, ...]:
    """Return masks within the given ones that have pruned a share of each group."""
    result = list(masks)
    for group in groups:
        members = [columns[n] for n in group]
        allowed = np.concatenate([masks[n] & columns[n].live for n in group])
        chosen = _choose(members, allowed, share, grain)
        ends = np.cumsum([c.scores.size for c in members])[:-1]
        for n, mask in zip(group, np.split(chosen, ends)):
            result[n] = mask
    return tuple(result)


def _choose(members: Sequence[Columns], allowed: Bools, share: float, grain: int) -> Bools:
    """Return which columns of a group are kept, all members one after the other."""
    scores = np.concatenate([c.scores for c in members])
    widths = np.concatenate([np.full(c.heads, c.scores.size // c.heads) for c in members])
    head = np.repeat(np.arange(widths.size), widths)
    count = min(kept_of(scores.size, share), int(allowed.sum()))
    # The allowed columns head by head, the best of each head first, cut into blocks.
    order = np.lexsort((-scores, head, ~allowed))[:np.count_nonzero(allowed)]
    scores, sizes = scores[order], np.bincount(head[order])
    place = np.arange(order.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    starts = np.flatnonzero(place % grain == 0)
    room = np.diff(starts, append=order.size)
    # First the first block of each head, then full blocks, then partial ones, until there is room.
    ranked = np.lexsort((-np.add.reduceat(scores, starts), -room, place[starts] > 0))
    needed = max(widths.size, 1 + int(np.searchsorted(np.cumsum(room[ranked]), count)))
    block = np.repeat(np.arange(starts.size), room)
    # What is too much goes from the last block, or if there are first ones alone from any of them.
    whole = ranked[:needed - 1] if needed > widths.size else ranked[:0]
    scores = np.where(np.isin(block, ranked[:needed]), scores, -1)
    scores[(place == 0) | np.isin(block, whole)] = np.inf
    mask = np.zeros(allowed.size, bool)
    mask[order[largest(scores, count)]] = True
    return mask
