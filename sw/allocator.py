"""Allocation of the on-chip memories by the compiler."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["OperandRing", "Places", "Pool", "Region"]


@dataclass(frozen=True)
class Region:
    """Consecutive words of the scratchpad."""

    start: int
    words: int

    @property
    def end(self) -> int:
        """Address after the last word."""
        return self.start + self.words


class Pool:
    """The scratchpad, given out first-fit.

    A region that is released stays out of use until nothing else is left, and the oldest comes
    back first, so that the next transfer seldom waits for the last use of its target.

    Attributes
    ----------
    words : :class:`int`
    peak : :class:`int`
        Most words that were in use at once.
    """

    def __init__(self, words: int) -> None:
        self.words = words
        self.peak = 0
        self._used: set[Region] = set()
        self._released: deque[Region] = deque()

    def allocate(self, words: int, *, top: bool = False) -> Region | None:
        """Return the first region of so many words, from the bottom or the top, or ``None``."""
        while True:
            holes = [hole for hole in self._holes([*self._used, *self._released])
                     if hole.words >= words]
            if holes or not self._released:
                break
            self._released.popleft()
        if not holes:
            return None
        hole = holes[-1 if top else 0]
        region = Region(hole.end - words if top else hole.start, words)
        self._used.add(region)
        self.peak = max(self.peak, sum(used.words for used in self._used))
        return region

    def split(self, region: Region, words: int) -> tuple[Region, Region]:
        """Return a region as two, the first of so many words, that are released separately."""
        parts = (Region(region.start, words), Region(region.start + words, region.words - words))
        self._used.remove(region)
        self._used.update(parts)
        return parts

    def release(self, region: Region) -> None:
        """Give a region back."""
        self._used.remove(region)
        self._released.append(region)

    @property
    def largest(self) -> int:
        """Words of the largest region that could be allocated."""
        return max((hole.words for hole in self._holes(list(self._used))), default=0)

    def _holes(self, occupied: list[Region]) -> list[Region]:
        holes, start = [], 0
        for region in [*sorted(occupied, key=lambda region: region.start), Region(self.words, 0)]:
            if region.start > start:
                holes.append(Region(start, region.start - start))
            start = region.end
        return holes


class OperandRing:
    """The operand buffer, given out in a ring, with a note of what lies where.

    What is filled next therefore never overwrites what is used now, as long as both fit.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._next = 0
        self._contents: dict[Hashable, range] = {}

    def find(self, key: Hashable) -> int | None:
        """Return the first step of what was put under a key, if it is still there."""
        place = self._contents.get(key)
        return None if place is None else place.start

    def put(self, key: Hashable, steps: int) -> int:
        """Reserve steps for what the key names, overwriting the oldest, and return the first."""
        if self._next + steps > self.steps:
            self._next = 0
        place = range(self._next, self._next + steps)
        self._contents = {name: other for name, other in self._contents.items()
                          if other.stop <= place.start or place.stop <= other.start}
        self._contents[key] = place
        self._next = place.stop
        return place.start


class Places:
    """Equal places in a memory, numbered from 0: what was not used for longest makes room.

    What is pinned, stays.
    """

    def __init__(self, number: int) -> None:
        self._contents: dict[Hashable, int] = {("free", n): n for n in range(number)}
        self._pins: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._contents)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._contents

    def find(self, key: Hashable) -> int | None:
        """Return the place of what was put under a key, if it is still there, as used now."""
        place = self._contents.pop(key, None)
        if place is not None:
            self._contents[key] = place
        return place

    def put(self, key: Hashable) -> int | None:
        """Return a place for what the key names, or ``None`` if all are pinned."""
        for old in self._contents:
            if not self._pins[old]:
                self._contents[key] = place = self._contents.pop(old)
                return place
        return None

    def pin(self, key: Hashable, number: int = 1) -> None:
        """Add to the pins of what the key names; ``-1`` takes one away."""
        self._pins[key] += number
