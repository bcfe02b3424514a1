"""The order of a program in which its instructions are expected to start.

A program is made in an order in which its results are right. Each queue takes its instructions in
order, holds but a few, and the fetch stops at one whose queue is full. So what stands in front of
a load delays it, if it starts later; a program is best in the order in which its instructions
would start if all were in their queues from the beginning.

Fills, moreover, may pass each other: one whose source is there does not wait behind another that
waits for results, if it is over before those come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .assembler import Instruction
from .cost import fill_cycles
from .footprint import footprint
from .hazards import History
from .rtl.geometry import Geometry
from .rtl.isa import Opcode, Queue

__all__ = ["ordered"]

_LATENCY = 100  # cycles from the end of an iteration's work to what depends on it
_SHARE = 0.6  # of the scratchpad's port, which fills get while loads go on

Times = NDArray[np.int64]


def ordered(program: Sequence[Instruction], geometry: Geometry,
            after: Mapping[int, int]) -> tuple[list[Instruction], dict[int, int]]:
    """Return instructions in the order of their expected starts.

    Whatever touches the same words stays in its order, so the program means the same; and so do
    the instructions of each queue, fills excepted.

    Parameters
    ----------
    program : sequence of :class:`~heddle.assembler.Instruction`
        In an order in which it can be executed one by one, without tokens.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    after : mapping of int to int
        Further dependencies, as :func:`~heddle.hazards.synchronise` has them.

    Returns
    -------
    program : list of :class:`~heddle.assembler.Instruction`
    after : dict of int to int
        With the new numbers.
    """
    history = History()
    queues = {queue: _Timeline() for queue in Queue}
    keys: list[int] = []
    ends: list[int] = []
    for number, instruction in enumerate(program):
        accesses = footprint(instruction, geometry)
        ready = np.zeros(instruction.count, np.int64)
        key = 0
        for access in accesses:
            ready = np.maximum(ready, history.latest(access, "end"))
            key = max(key, int(history.latest(access, "start").max()))
        if number in after:
            ready = np.maximum(ready, ends[after[number]])
            key = max(key, keys[after[number]])
        queue = queues[instruction.queue]
        over = queue.add(ready, _work(instruction, geometry), instruction.queue == Queue.FILL)
        key = max(key, queue.start)
        if instruction.queue != Queue.FILL:
            key = queue.key = max(key, queue.key)
        keys.append(key)
        ends.append(int(over[-1]) + _LATENCY)
        for access in accesses:
            history.record(access, "end", over + _LATENCY)
            history.record(access, "start", np.full(len(over), key))
    order = sorted(range(len(program)), key=keys.__getitem__)
    place = {number: n for n, number in enumerate(order)}
    return ([program[number] for number in order],
            {place[number]: place[other] for number, other in after.items()})


class _Timeline:
    """When a queue is busy, and with what it was last; in cycles.

    Attributes
    ----------
    start : :class:`int`
        When the last addition starts.
    """

    def __init__(self) -> None:
        self.start = 0
        self.key = 0
        self._starts: list[int] = []
        self._ends = [0]

    def add(self, ready: Times, work: int, early: bool) -> Times:
        """Return when the iterations of an instruction are over, each of so much work.

        It comes after what was added before, or ``early`` in a gap that holds all of it.
        """
        before = np.arange(len(ready)) * work
        whole = int((ready - before).max())
        place = len(self._starts)
        if early:
            place = next((n for n in range(bisect_right(self._ends, whole) - 1, place)
                          if max(self._ends[n], whole) + len(ready) * work <= self._starts[n]),
                         place)
        free = self._ends[place]
        starts = np.maximum.accumulate(np.maximum(ready - before, free if place == len(
            self._starts) else max(free, whole))) + before
        self.start = int(starts[0])
        self._starts.insert(place, self.start)
        self._ends.insert(place + 1, int(starts[-1]) + work)
        return starts + work


def _work(i: Instruction, geometry: Geometry) -> int:
    """Return the cycles for which an iteration keeps its queue busy."""
    g = geometry
    match i.opcode:
        case Opcode.MATMUL:
            return i["tiles"] * i["steps"]
        case Opcode.ATTEND:
            tile = max(i["steps"] + i["blocks"] * g.tile_steps, g.rows // g.softmax_rows)
            return i["jobs"] * i["tiles"] * tile
        case Opcode.FILL | Opcode.NORM:
            return round(fill_cycles(i, g) / _SHARE)
    bandwidth = min(g.bandwidth_assumed, g.dma_ports * g.dma_bytes)
    return i["rows"] * i["words"] * g.word_bytes // bandwidth
