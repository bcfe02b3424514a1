"""Which keys a query sees: as rules, and as the tiles that the accelerator visits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .visits import ALL, NONE, SOME, Run, Table, Visits, streaks

__all__ = ["Pattern", "Run", "Visits", "polarised"]

Bools = NDArray[np.bool_]


class Pattern:
    """Which keys each query sees. A pair must satisfy every rule that is given.

    Parameters
    ----------
    queries, keys : :class:`int`
        Tokens.
    mask : array of bool
        True = visible, as in PyTorch; ``[queries, keys]``, ``[heads, queries, keys]`` or
        ``[batch, heads, queries, keys]``, where 1 head or item stands for all.
    causal : :class:`bool`
        A query sees keys up to its own position: ``key <= query``, also if there are more or fewer
        keys than queries (as in PyTorch).
    window : :class:`int`
        A query sees ``window`` keys to each side, itself included as the first of both:
        ``|query - key| < window·dilation``.
    dilation : :class:`int`
        Of the keys to each side only every ``dilation``-th: ``(query - key) % dilation == 0``.
    global_tokens : :class:`int`
        So many first tokens see all keys and are seen by all queries, whatever window and dilation
        say. The other rules hold for them, too.
    lengths : :class:`int` or sequence of int
        Tokens of each item of the batch. Keys beyond are seen by no query; neither, if there are as
        many queries as keys, do queries beyond see anything.
    blocks : (array of bool, :class:`int`)
        ``(bitmap, size)``: query ``i`` sees key ``j`` if ``bitmap[i // size, j // size]``. A
        bitmap of three axes has one for each head.
    heads, batch : :class:`int`

    Raises
    ------
    TypeError
        If a size is no integer, or a mask or bitmap is not boolean.
    ValueError
        If a size is out of range, or a mask, a bitmap or the lengths do not fit.
    """

    def __init__(self, queries: int, keys: int, *, mask: ArrayLike | None = None,
                 causal: bool = False, window: int | None = None, dilation: int = 1,
                 global_tokens: int = 0, lengths: int | Sequence[int] | ArrayLike | None = None,
                 blocks: tuple[ArrayLike, int] | None = None, heads: int = 1,
                 batch: int = 1) -> None:
        self.queries = _size("Queries", queries, 1)
        self.keys = _size("Keys", keys, 1)
        self.heads = _size("Heads", heads, 1)
        self.batch = _size("Batch", batch, 1)
        self.causal = bool(causal)
        self.window = None if window is None else _size("Window", window, 1)
        self.dilation = _size("Dilation", dilation, 1)
        self.global_tokens = _size("Global tokens", global_tokens, 0, max(queries, keys))
        self.lengths = self._checked_lengths(lengths)
        self.mask = None if mask is None else self._checked_mask(mask)
        self.bitmap: Bools | None = None
        self.block = 1
        if blocks is not None:
            self.bitmap, self.block = self._checked_blocks(*blocks)

    def visible(self, head: int, queries: range, keys: range, item: int = 0) -> Bools:
        """Return which of some keys some queries see, as ``[queries, keys]``.

        Parameters
        ----------
        head : :class:`int`
        queries, keys : :class:`range`
            Consecutive tokens of the pattern.
        item : :class:`int`
        """
        q = np.arange(queries.start, queries.stop, dtype=np.int32)[:, np.newaxis]
        k = np.arange(keys.start, keys.stop, dtype=np.int32)
        length = self.keys if self.lengths is None else self.lengths[item]
        seen = np.broadcast_to(k < length, (len(q), len(k))).copy()
        if self.lengths is not None and self.queries == self.keys:
            seen &= q < length
        if self.window is not None or self.dilation > 1:
            seen &= self._near(q, k)
        if self.causal:
            seen &= k <= q
        if self.mask is not None:
            items, heads = self.mask.shape[:2]
            seen &= self.mask[item % items, head % heads, queries.start:queries.stop,
                              keys.start:keys.stop]
        if self.bitmap is not None:
            bitmap = self.bitmap[head % len(self.bitmap)]
            seen &= bitmap[q // self.block, k // self.block]
        return seen

    def runs(self, rows: int, lanes: int) -> Visits:
        """Return the visits in tiles of ``rows`` keys and ``lanes`` queries."""
        table = Table(rows, lanes)
        tiles = [range(first, min(first + lanes, self.queries))
                 for first in range(0, self.queries, lanes)]
        known: dict[tuple[int, int, int], tuple[tuple[tuple[Run, ...], ...], int, int]] = {}
        items, heads = (1, 1) if self.mask is None else self.mask.shape[:2]
        heads = max(heads, 1 if self.bitmap is None else len(self.bitmap))
        lists, visited, pairs = [], 0, []
        for item in range(self.batch):
            length = self.keys if self.lengths is None else self.lengths[item]
            of_item = []
            for head in range(heads):
                key = item % items, head, length
                if key not in known:
                    each = [self._tile(table, head, tile, item) for tile in tiles]
                    known[key] = (tuple(runs for runs, _ in each),
                                  sum(run.count for runs, _ in each for run in runs),
                                  sum(count for _, count in each))
                of_item.append(known[key][0])
                visited += known[key][1] * (self.heads // heads)
                pairs += [known[key][2]] * (self.heads // heads)
            lists.append(tuple(of_item))
        total = self.batch * self.heads * len(tiles) * -(-self.keys // rows)
        return Visits(tuple(lists), table.masks(), heads == 1, visited, total, tuple(pairs))

    # -- rules -------------------------------------------------------------------------------------

    def _near(self, q: NDArray, k: NDArray) -> Bools:
        """Return what window, dilation and global tokens let through."""
        distance = q - k
        near = np.ones(distance.shape, bool)
        if self.window is not None:
            near = np.abs(distance) < self.window * self.dilation
        if self.dilation > 1:
            near &= distance % self.dilation == 0
        return near | (q < self.global_tokens) | (k < self.global_tokens)

    def _tile(self, table: Table, head: int, tile: range,
              item: int) -> tuple[tuple[Run, ...], int]:
        """Return the runs of a tile of queries, and the pairs visible in it.

        Only the tiles at the edges of what the rules let through are looked at key by key.
        """
        kinds = self._kinds(tile, item, table.rows)
        pairs = len(tile) * table.rows * int((kinds == ALL).sum())
        looked = np.flatnonzero(kinds == SOME)
        tiles = np.empty((len(looked), table.rows, table.lanes), bool)
        for part in streaks(np.arange(len(looked)), np.diff(looked) > 1):
            keys = range(looked[part[0]] * table.rows,
                         min((looked[part[-1]] + 1) * table.rows, self.keys))
            seen = self.visible(head, tile, keys, item)
            tiles[part] = table.cut(seen)
            pairs += int(seen.sum())
        kinds[looked] = np.where(tiles.all((1, 2)), ALL,
                                 np.where(tiles.any((1, 2)), SOME, NONE))
        return table.runs(kinds, looked, tiles), pairs

    def _kinds(self, tile: range, item: int, rows: int) -> NDArray[np.int8]:
        """Return of each key tile how much of it a tile of queries may see.

        What may be all or nothing of a tile, for all that is known here, is some.
        """
        length = self.keys if self.lengths is None else self.lengths[item]
        kinds = np.full(-(-self.keys // rows), NONE, np.int8)
        first, last = tile[0], tile[-1]
        ends = self.lengths is not None and self.queries == self.keys
        if ends and first >= length:
            return kinds
        end, sure_end = ((min(length, query + 1) for query in (last, first)) if self.causal
                         else (length, length))
        kinds[:-(-min(self.global_tokens, end) // rows)] = SOME
        start = sure_start = 0
        mixed = self.mask is not None or self.bitmap is not None or (ends and last >= length)
        if last >= self.global_tokens:
            mixed |= self.dilation > 1 or (self.window is not None and first < self.global_tokens)
            if self.window is not None and first >= self.global_tokens:
                reach = (self.window - 1) * self.dilation
                start, sure_start = max(0, first - reach), max(0, last - reach)
                end, sure_end = min(end, last + reach + 1), min(sure_end, first + reach + 1)
        kinds[start // rows:max(0, -(-end // rows))] = SOME
        if not mixed:
            kinds[-(-sure_start // rows):max(0, sure_end // rows)] = ALL
        return kinds

    # -- checks ------------------------------------------------------------------------------------

    def _checked_lengths(self, lengths: object) -> tuple[int, ...] | None:
        if lengths is None:
            return None
        array = np.asarray(lengths)
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"Lengths must be integers, not {array.dtype}")
        if array.ndim == 0:
            array = np.full(self.batch, array)
        if array.shape != (self.batch,):
            raise ValueError(f"Lengths must be one for each of {self.batch} items, not of shape "
                             f"{array.shape}")
        for item, length in enumerate(array.tolist()):
            if not 0 <= length <= self.keys:
                raise ValueError(f"Length of item {item} must be between 0 and its {self.keys} "
                                 f"keys, not {length}")
        return tuple(array.tolist())

    def _checked_mask(self, mask: ArrayLike) -> Bools:
        """Return a mask with four axes, of 1 item and 1 head where all are equal."""
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"Mask must be boolean (True = visible), not {mask.dtype}")
        full = self.batch, self.heads, self.queries, self.keys
        shape = (1,) * (4 - mask.ndim) + mask.shape
        if not 2 <= mask.ndim <= 4 or shape[2:] != full[2:] or any(
                found not in (1, wanted) for found, wanted in zip(shape[:2], full)):
            raise ValueError(
                f"Mask must be [queries, keys] = {full[2:]}, [heads, queries, keys] = {full[1:]} "
                f"or [batch, heads, queries, keys] = {full}, not {mask.shape}")
        return _merged(_merged(mask.reshape(shape), 0), 1)

    def _checked_blocks(self, bitmap: ArrayLike, size: int) -> tuple[Bools, int]:
        """Return a bitmap as ``[heads or 1, queries / size, keys / size]``, and the size."""
        size = _size("Block size", size, 1)
        bitmap = np.asarray(bitmap)
        if bitmap.dtype != bool:
            raise TypeError(f"Bitmap must be boolean (True = visible), not {bitmap.dtype}")
        full = self.heads, -(-self.queries // size), -(-self.keys // size)
        shape = (1,) * (3 - bitmap.ndim) + bitmap.shape
        if not 2 <= bitmap.ndim <= 3 or shape[1:] != full[1:] or shape[0] not in (1, self.heads):
            raise ValueError(f"Bitmap of blocks of {size} must be [queries, keys] = {full[1:]} or "
                             f"[heads, queries, keys] = {full}, not {bitmap.shape}")
        return _merged(bitmap.reshape(shape), 0), size


def _size(name: str, value: object, low: int, high: int | None = None) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {limit}, not {value}")
    return int(value)


def _merged(array: Bools, axis: int) -> Bools:
    """Return an array with just one element along an axis if all along it are equal."""
    first = array.take([0], axis)
    return first if array.shape[axis] == 1 or (array == first).all() else array


def polarised(mask: ArrayLike, share: float = 0.5) -> tuple[NDArray[np.int64], int, Bools]:
    """Return an order of the keys that makes a mask a dense block and a sparse rest.

    A learned mask often has a few keys to which most queries attend, and beside them little but a
    diagonal (You et al., ViTCoD, 2023). Moved to the front, those keys fill whole tiles, and the
    tiles of the rest are visited no more for their sake. Attention does not depend on the order of
    keys: compute it of ``k[order]``, ``v[order]`` and the reordered mask.

    Parameters
    ----------
    mask : array of bool, shape ``[queries, keys]``
    share : :class:`float`
        A key belongs to the dense block if at least this share of the queries sees it.

    Returns
    -------
    order : array of int64, shape ``[keys]``
        Dense keys first; both parts keep their order.
    dense : :class:`int`
        Keys of the dense block.
    reordered : array of bool, shape ``[queries, keys]``
        ``mask[:, order]``.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If it is no matrix, or the share is not between 0 and 1.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"Mask must be boolean (True = visible), not {mask.dtype}")
    if mask.ndim != 2 or not mask.size:
        raise ValueError(f"Mask must be [queries, keys], not of shape {mask.shape}")
    if not 0 <= share <= 1:
        raise ValueError(f"Share must be between 0 and 1, not {share}")
    dense = mask.mean(0) >= share
    order = np.argsort(~dense, kind="stable")
    return order, int(dense.sum()), mask[:, order]
