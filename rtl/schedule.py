"""The schedule of the softmax: when a tile passes which part."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GROUP", "Schedule"]

GROUP = 8
"""Keys that share a level; a tile of fewer rows is one group."""


@dataclass(frozen=True)
class Schedule:
    """Times of the first group of a tile, in cycles after its first row came.

    A second group is :attr:`cycles` later; lane 1 of a pair is one cycle later than lane 0.
    """

    rows: int
    """Keys of a tile: 4, 8 or 16."""
    rows_per_cycle: int
    """Rows that come each cycle, 1 or 2."""

    @property
    def groups(self) -> int:
        """Groups of a tile."""
        return max(1, self.rows // GROUP)

    @property
    def cycles(self) -> int:
        """Cycles of a group."""
        return self.rows // self.rows_per_cycle // self.groups

    @property
    def energy(self) -> int:
        """The energy of the first row is known."""
        return 6

    @property
    def least(self) -> int:
        """The least octave of the rows that came first is known."""
        return self.energy + self.rows_per_cycle - 1

    @property
    def level(self) -> int:
        """The level of the group is known."""
        return self.least + self.cycles

    @property
    def p(self) -> int:
        """The probability of the first row is known."""
        return self.level + 3

    @property
    def sum(self) -> int:
        """The sum of the probabilities is known."""
        return self.p + self.rows_per_cycle - 1 + self.cycles

    @property
    def turn(self) -> int:
        """The group has its turn at the reference, once all levels of the tile are known."""
        return self.scale - 3

    @property
    def scale(self) -> int:
        """The sum of the group is scaled."""
        return self.sum if self.groups == 1 else self.level + self.cycles + 4

    @property
    def scaled(self) -> int:
        """The scale of the group is known."""
        return self.scale + 1

    @property
    def total(self) -> int:
        """The total with this group is known."""
        return self.scale + 3

    @property
    def end(self) -> int:
        """The total with all groups of the tile is known."""
        return self.total + (self.groups - 1) * self.cycles
