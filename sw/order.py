"""The order in which a program is fetched.

Each queue takes its instructions in order, holds but a few, and the fetch stops at one whose queue
is full. So a load that stands behind many instructions of another queue comes late, though nothing
else keeps it from its start. The compiler writes loads before what needs them; where there is time
and room in the scratchpad, they may stand before more.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from .assembler import Instruction
from .cost import fill_cycles
from .rtl.geometry import Geometry
from .rtl.isa import Opcode, Queue

__all__ = ["FILL_SHARE", "LATENCY", "advance_loads", "work"]

LATENCY = 100
"""Cycles from the end of some work to the start of what depends on it."""

FILL_SHARE = 0.6
"""Of the scratchpad's port, which fills get while loads go on."""

_QUEUE_DEPTH = 4


def advance_loads(program: Sequence[Instruction], geometry: Geometry) -> list[Instruction]:
    """Return the instructions of a program with loads before all that is fetched after their start.

    When that is, is expected from the work of each instruction, as if loads were fetched apart from
    the others. No load is moved back; all else stays in its order, as do the loads. Each stays
    behind all that it waits for, so a program that cannot deadlock still cannot.

    Parameters
    ----------
    program : sequence of :class:`~heddle.assembler.Instruction`
        With tokens, in an order in which each waits for earlier ones only.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    """
    times, posters = _expected(program, geometry)
    loads = deque(n for n, i in enumerate(program) if i.queue == Queue.LOAD)
    order: list[int] = []
    placed = [False] * len(program)
    for number, instruction in enumerate(program):
        if instruction.queue == Queue.LOAD:
            continue
        while loads and (loads[0] < number or (
                times[loads[0]] <= times[number]
                and all(placed[poster] for poster in posters[loads[0]]))):
            order.append(loads.popleft())
            placed[order[-1]] = True
        order.append(number)
        placed[number] = True
    return [program[number] for number in [*order, *loads]]


def _expected(program: Sequence[Instruction], geometry: Geometry,
              ) -> tuple[list[int], list[set[int]]]:
    """Return when each load starts and each other instruction is fetched, in cycles, and which
    instructions' tokens each one waits for."""
    free = dict.fromkeys(Queue, 0)
    taken = {queue: deque([0] * _QUEUE_DEPTH, _QUEUE_DEPTH) for queue in Queue}
    tokens: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)
    fetched = 0
    times: list[int] = []
    posters: list[set[int]] = []
    for number, instruction in enumerate(program):
        queue = instruction.queue
        now = free[queue]
        if queue != Queue.LOAD:
            fetched = max(fetched, taken[queue][0])
            now = max(now, fetched)
        taken[queue].append(now)
        each_takes = work(instruction, geometry)
        posters.append(set())
        times.append(fetched)
        for iteration in range(instruction.count):
            for counter, each in instruction.waits:
                if each or iteration == 0:
                    time, poster = tokens[counter].popleft()
                    now = max(now, time)
                    posters[number].add(poster)
            if iteration == 0 and queue == Queue.LOAD:
                times[number] = now
            now += each_takes
            for counter, each in instruction.posts:
                if each or iteration == instruction.count - 1:
                    tokens[counter].append((now + LATENCY, number))
        free[queue] = now
    return times, posters


def work(i: Instruction, geometry: Geometry) -> int:
    """Return the cycles for which an iteration keeps its queue busy."""
    g = geometry
    match i.opcode:
        case Opcode.MATMUL:
            return i["tiles"] * max(i["steps"], g.rows * i["drain"])  # a row is drained a cycle
        case Opcode.ATTEND:
            tile = max(i["steps"] + i["blocks"] * g.tile_steps, g.rows // g.softmax_rows)
            return i["jobs"] * i["tiles"] * tile
        case Opcode.FILL | Opcode.NORM:
            return round(fill_cycles(i, g) / FILL_SHARE)
    bandwidth = min(g.bandwidth_assumed, g.dma_ports * g.dma_bytes)
    return i["rows"] * i["words"] * g.word_bytes // bandwidth
