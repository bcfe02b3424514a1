"""Instructions as the golden machine executes them: decoded, with the words that they touch."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..assembler import Instruction, decode
from ..footprint import Access, Space, footprint
from ..rtl.geometry import Geometry

__all__ = ["Step", "Words", "prepare"]


@dataclass(frozen=True)
class Words:
    """What the iterations of an instruction touch in one space, as indices of NumPy."""

    space: Space
    start: int
    size: int
    """Words of an iteration."""
    constant: bool
    """All iterations touch the same words."""
    scattered: NDArray[np.int64] | None
    """Addresses, ``[iterations, size]``; ``None`` if all follow each other from ``start``."""

    @classmethod
    def of(cls, access: Access) -> Words:
        """Return the words of an access."""
        scattered = None if access.consecutive else access.addresses
        return cls(access.space, access.start, access.size, access.constant, scattered)

    def index(self, first: int, stop: int) -> slice | NDArray[np.int64]:
        """Return the addresses of the iterations ``first <= n < stop``.

        There is one row of them, or a slice of one iteration, if all touch the same words.
        """
        if self.constant:
            first, stop = 0, 1
        if self.scattered is not None:
            return self.scattered[first:stop]
        return slice(self.start + first * self.size, self.start + stop * self.size)


@dataclass(frozen=True)
class Step:
    """An instruction that is ready to be executed."""

    instruction: Instruction
    words: tuple[Words, ...]
    """As :func:`~heddle.footprint.footprint` orders them."""
    independent: bool
    """No iteration touches what an earlier one writes, so it is all one whether they are executed
    one after the other, or all read before any writes."""


@functools.lru_cache(1 << 12)
def prepare(geometry: Geometry, data: bytes) -> Step:
    """Return the instruction that some bytes hold; programs of the same layers share many.

    Raises
    ------
    ValueError
        If the instruction is illegal.
    """
    instruction = decode(data)
    accesses = footprint(instruction, geometry)
    words = tuple(map(Words.of, accesses))
    return Step(instruction, words, instruction.count == 1 or all(
        _independent(access, accesses, of.scattered is None)
        for access, of in zip(accesses, words, strict=True) if access.write))


def _independent(target: Access, accesses: list[Access], once: bool) -> bool:
    """Return whether no iteration touches what an earlier one writes by this access.

    ``once`` says that it writes no word twice.
    """
    low, high = target.lowest, target.highest
    others = [access for access in accesses if access.space is target.space
              and access.lowest <= high and access.highest >= low]
    if once and len(others) == 1:  # itself
        return True
    iterations = np.arange(len(target.addresses))[:, np.newaxis]
    writer = np.full(high + 1 - low, len(iterations))
    np.minimum.at(writer, target.addresses - low, iterations)
    for access in others:
        place = access.addresses - low
        inside = (place >= 0) & (place < len(writer))
        if (inside & (writer.take(place, mode="clip") < iterations)).any():
            return False
    return True
