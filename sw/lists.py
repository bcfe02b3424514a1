"""The lists of sparse blocks: which inputs are visited, dealt to the slots of the array's steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rtl.geometry import Geometry

__all__ = ["List", "Visits"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class List:
    """What a block visits, and with which weights."""

    addresses: Ints
    """``[steps, depth]``; those of a slot never go back."""
    selectors: NDArray[np.uint8]
    """Candidate of each row, ``[steps, depth, rows]``."""
    weights: NDArray[np.int8]
    """``[steps, depth, rows]``."""


class Visits:
    """The inputs that the blocks of a weight visit, by slots and addresses.

    An address is visited as often as the row that needs most of its candidates needs it.

    Parameters
    ----------
    weight : array of int8, shape ``[outputs, inputs]``
    used : array of bool, shape ``[outputs, inputs]``
        Which of the weights are needed.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    """

    def __init__(self, weight: NDArray[np.int8], used: NDArray[np.bool_],
                 geometry: Geometry) -> None:
        g = self.geometry = geometry
        outputs, inputs = weight.shape
        self.blocks, self.addresses = -(-outputs // g.rows), -(-inputs // (g.depth * g.candidates))
        shape = self.blocks, g.rows, self.addresses, g.candidates, g.depth
        whole = shape[0] * shape[1] - outputs, shape[2] * shape[3] * shape[4] - inputs
        self._weights, self._used = (
            np.pad(each, [(0, missing) for missing in whole]).reshape(shape)
            for each in (weight, used))
        """``[blocks, rows, addresses, candidates, slots]``."""
        self._count = np.cumsum(self._used, axis=3, dtype=np.uint8)
        """Of used weights up to each candidate."""
        self._repeats = self._count[:, :, :, -1].max(axis=1).swapaxes(1, 2).astype(np.int64)
        """Visits to each address, ``[blocks, slots, addresses]``."""
        self._block, self._slot, self._address = np.nonzero(self._repeats)
        before = np.concatenate([[0], self._address[:-1]])
        place = self._block * g.depth + self._slot
        self._first = np.diff(place, prepend=-1) != 0
        self._gaps = self._address - np.where(self._first, 0, before)

    def steps(self, bits: int) -> Ints:
        """Return the steps that each block takes with gaps of so many bits, at least 1."""
        _, ends = self._deal(bits)
        steps = np.ones(self.blocks, np.int64)
        np.maximum.at(steps, self._block, ends)
        return steps

    def lists(self, bits: int) -> list[List]:
        """Return the lists of all blocks with gaps of so many bits."""
        g = self.geometry
        limit = (1 << bits) - 1
        first, _ = self._deal(bits)
        sizes = self.steps(bits)
        shape = self.blocks, int(sizes.max()), g.depth
        gaps = np.zeros(shape, np.int64)
        skips = np.maximum(self._gaps - 1, 0) // limit
        gaps[self._block, first, self._slot] = self._gaps - skips * limit
        for back in range(1, skips.max(initial=0) + 1):
            long = skips >= back
            gaps[self._block[long], first[long] - back, self._slot[long]] = limit
        starts = np.zeros_like(self._repeats)
        starts[self._block, self._slot, self._address] = first
        kept = np.flatnonzero(self._used)
        block, row, address, candidate, slot = np.unravel_index(kept, self._weights.shape)
        step = starts[block, slot, address] + self._count.ravel()[kept] - 1
        weights, selectors = (np.zeros((*shape, g.rows), kind) for kind in (np.int8, np.uint8))
        weights[block, step, slot, row] = self._weights.ravel()[kept]
        selectors[block, step, slot, row] = candidate
        addresses = np.cumsum(gaps, axis=1)
        return [List(addresses[n, :size], selectors[n, :size], weights[n, :size])
                for n, size in enumerate(sizes)]

    def _deal(self, bits: int) -> tuple[Ints, Ints]:
        """Return for each visited address its first step, and the step after its last one.

        A gap that is too long for its bits is bridged by visits without a weight.
        """
        skips = np.maximum(self._gaps - 1, 0) // ((1 << bits) - 1)
        repeats = self._repeats[self._block, self._slot, self._address]
        ends = np.cumsum(skips + repeats)
        before = ends - skips - repeats
        ends -= np.maximum.accumulate(np.where(self._first, before, 0))
        return ends - repeats, ends
