"""Dependency tokens, derived from what the instructions of a program touch.

The compiler writes a program as if its instructions were executed one after the other;
:func:`synchronise` finds the pairs of queues that would break this order and puts tokens between
them. As an instruction then waits only for earlier ones, no program so made can deadlock.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .assembler import Instruction, Token
from .footprint import Access, Space, footprint
from .rtl.geometry import Geometry
from .rtl.isa import WAITS, Queue, token

__all__ = ["synchronise"]


class _History:
    """When each queue last read and wrote each word, in iterations of that queue, from 1."""

    def __init__(self) -> None:
        self._last: dict[tuple[Space, Queue, bool], NDArray[np.int64]] = {}

    def latest(self, access: Access, queue: Queue) -> NDArray[np.int64]:
        """Return for each iteration the last one of ``queue`` that conflicts with it, or 0."""
        latest = np.zeros(len(access.addresses), np.int64)
        for write in (True, False)[:1 + access.write]:
            last = self._last.get((access.space, queue, write))
            if last is not None:
                inside = access.addresses < len(last)
                when = np.where(inside, last[np.where(inside, access.addresses, 0)], 0)
                latest = np.maximum(latest, when.max(axis=1))
        return latest

    def record(self, access: Access, queue: Queue, iterations: NDArray[np.int64]) -> None:
        """Note that the iterations of ``queue`` make an access.

        A write comes after all that it conflicts with; what conflicts with it later, need not look
        further back.
        """
        if access.write:
            for (space, *_), last in self._last.items():
                if space == access.space:
                    last[access.addresses[access.addresses < len(last)]] = 0
        key = (access.space, queue, access.write)
        last = self._last.get(key, np.zeros(0, np.int64))
        missing = access.highest + 1 - len(last)
        if missing > 0:
            last = self._last[key] = np.pad(last, (0, max(missing, len(last))))
        last[access.addresses] = iterations[:, np.newaxis]


def synchronise(program: Sequence[Instruction], geometry: Geometry,
                after: Mapping[int, int] | None = None) -> None:
    """Give the instructions of a program the waits and posts that keep its sequential meaning.

    Of an instruction that several iterations of another one depend on, every iteration posts and
    waits if both have as many iterations and no iteration depends on a later one; otherwise the
    whole instruction is waited for. What is needed by late accesses only is waited for late, by
    counters of index 1, if a wait is left for that.

    Parameters
    ----------
    program : sequence of :class:`~heddle.assembler.Instruction`
        In program order; changed in place.
    after : mapping of int to int
        Further dependencies: the instruction with the first number starts after the end of the
        earlier one with the second.

    Raises
    ------
    ValueError
        If an instruction of the queue COMPUTE reads from the scratchpad what an earlier one of this
        queue drains there, and waits for no other queue that has waited for it: the array does not
        wait for its own drain.
    """
    history = _History()
    queues: dict[Queue, list[Instruction]] = {queue: [] for queue in Queue}
    ends: dict[Queue, list[int]] = {queue: [0] for queue in Queue}  # iterations before each
    known = {pair: 0 for pair in itertools.permutations(Queue, 2)}
    known_late = dict(known)  # before late accesses
    own = dict.fromkeys(Queue, 0)  # iterations of its own that a queue knows to be over
    echoes: dict[tuple[Queue, int], dict[Queue, int]] = {}  # of others that a queue knows then
    place: list[tuple[Queue, int]] = []
    for number, instruction in enumerate(program):
        queue = instruction.queue
        accesses = footprint(instruction, geometry)
        others = [other for other in Queue if other != queue]
        early, late = ({poster: _needed(history, poster, accesses, late, instruction.count)
                        for poster in others} for late in (False, True))
        if after and number in after:
            poster, index = place[after[number]]
            early[poster] = np.maximum(early[poster], ends[poster][index + 1])
        if sum(early[poster][-1] > known[poster, queue] for poster in others) == WAITS:
            for poster in others:
                if late[poster][-1] > known_late[poster, queue]:
                    early[poster] = np.maximum(early[poster], late[poster])
        for index, needs, sure in ((0, early, known), (1, late, known_late)):
            for poster, needed in needs.items():
                if needed[-1] <= sure[poster, queue]:
                    continue
                source = int(np.searchsorted(ends[poster], needed[-1])) - 1
                _connect(queues[poster][source], instruction, needed - ends[poster][source], index)
                sure[poster, queue] = ends[poster][source + 1]
                known_late[poster, queue] = max(known_late[poster, queue], sure[poster, queue])
                if instruction.count == 1 and not index:
                    own[queue] = max(own[queue], echoes[poster, source][queue])
        for access in accesses if queue == Queue.COMPUTE else ():
            if not access.write and history.latest(access, queue).max() > own[queue]:
                raise ValueError(f"Instruction {number} ({instruction}) reads what an earlier "
                                 f"one of its own queue writes")
        iterations = ends[queue][-1] + 1 + np.arange(instruction.count)
        for access in accesses:
            history.record(access, queue, iterations)
        place.append((queue, len(queues[queue])))
        echoes[queue, len(queues[queue])] = {
            other: known_late[other, queue] for other in others}
        queues[queue].append(instruction)
        ends[queue].append(ends[queue][-1] + instruction.count)


def _needed(history: _History, poster: Queue, accesses: Sequence[Access], late: bool,
            count: int) -> NDArray[np.int64]:
    """Return the last iteration of a queue that each iteration of some accesses needs, or 0."""
    needed = np.zeros(count, np.int64)
    for access in accesses:
        if access.late == late:
            needed = np.maximum(needed, history.latest(access, poster))
    return np.maximum.accumulate(needed)


def _connect(poster: Instruction, waiter: Instruction, needed: NDArray[np.int64],
             index: int) -> None:
    """Make ``waiter`` wait for ``poster``; iteration ``i`` needs the first ``needed[i]`` of it.

    With ``index`` 1 it waits before its late accesses.
    """
    each = (1 < waiter.count == poster.count
            and bool((needed <= 1 + np.arange(waiter.count)).all()))
    number = token(poster.queue, waiter.queue, index)
    poster.posts += (Token(number, each),)
    waiter.waits += (Token(number, each or index == 1),)
