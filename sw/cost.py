"""Estimates the cycles of a program from a model of queues, memory and array.

The model executes the instructions with their tokens as the hardware does, in units of bursts and
tiles. It knows no data, and of the pipelines only their lengths; measured against the RTL it is
within a few percent.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial

from .assembler import Instruction, Token
from .rtl.geometry import Geometry
from .rtl.isa import INSTRUCTION_BYTES, TOKENS, Opcode, Queue

__all__ = ["Estimate", "Span", "estimate", "fill_cycles"]

Process = Generator[float | None, None, None]
"""Yields the cycle in which it goes on, or ``None`` to go on when something has happened."""

_QUEUE_DEPTH = 4
_START = 4  # from the start bit to the first request
_GRANT = 3  # an iteration's tokens, and its first request
_TRANSFER = 7  # from a grant to the first burst, and from the last beat to the tokens
_FILL = 8  # from a word's request to its tokens, and between instructions
_NORM = 20  # from the first request for a tile to its first row, and from the last to the tokens
_ROOT = 41  # from the last row of a first pass to the root of the first lane, and to a result
_ISSUE = 4  # from the address of a step to its operands
_SETTLE = 6  # of a sum, into its context
_PARAMETERS = 15  # from the last step of a tile to the parameters of its channels
_LANES = 17  # of requantisation
_SOFTMAX = 90  # from the last scores of a head to its factors
_AHEAD = 8  # tiles of keys of which scores are made before the outputs of those before are done
"""Lengths of pipelines, in cycles."""


@dataclass
class Span:
    """When what happens to an instruction, in cycles since the start."""

    queued: float = 0.0
    taken: float = 0.0
    """When it leaves its queue, to wait for its tokens and for the engine."""
    begin: float = 0.0
    """When its queue begins with it: the one before is done, and its first tokens are there."""
    end: float = 0.0
    """When its queue is done with it: all bytes are there, or the array has taken its last step.
    The drain of its results goes on beside what follows."""


@dataclass(frozen=True)
class Estimate:
    """What a program is expected to take."""

    cycles: int
    array_cycles: int
    spans: tuple[Span, ...] = field(repr=False)
    """Of each instruction; those of a queue follow each other."""
    steps: tuple[tuple[float, int], ...] = field(repr=False)
    """Corners of the array's progress: times, and the cycles in which it took steps until then."""


class _Clock:
    """Runs processes in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._idle: list[Process] = []

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def start(self, process: Process) -> None:
        """Let a process run until it waits, and go on as it says."""
        for time in process:
            if time is None:
                self._idle.append(process)
                return
            if time > self.now:
                self.at(time, lambda: self.start(process))
                return

    def notify(self) -> None:
        """Let the processes look again that wait for something to happen."""
        idle, self._idle = self._idle, []
        for process in idle:
            self.at(self.now, partial(self.start, process))

    def run(self) -> None:
        """Run until nothing more happens."""
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class _Memory:
    """Serves bursts: in order on each port, all ports sharing the bandwidth."""

    def __init__(self, clock: _Clock, geometry: Geometry, latency: int, bandwidth: int) -> None:
        self.clock = clock
        self.latency = latency
        self.beat_bytes = geometry.dma_bytes
        self.bandwidth = bandwidth or 2 * geometry.dma_ports * geometry.dma_bytes
        self.limit = geometry.outstanding
        self._free = 0.0
        self._ports = {write: [0.0] * geometry.dma_ports for write in (False, True)}
        self._under_way = {write: [0] * geometry.dma_ports for write in (False, True)}
        self._turn = {False: 0, True: 0}

    def room(self, write: bool) -> list[int]:
        """Return the ports that take another burst, the next in turn first."""
        ports = self._under_way[write]
        turns = [(self._turn[write] + n) % len(ports) for n in range(len(ports))]
        return [port for port in turns if ports[port] < self.limit]

    def burst(self, port: int, size: int, write: bool, done: Callable[[], None]) -> None:
        """Transfer a burst through a port."""
        self._turn[write] = (port + 1) % len(self._under_way[write])
        self._under_way[write][port] += 1

        def transfer() -> None:
            start = max(self.clock.now, self._ports[write][port])
            self._free = max(self._free, start) + size / self.bandwidth
            end = max(self._free, start + size / self.beat_bytes)
            self._ports[write][port] = end
            self.clock.at(end + (self.latency if write else 0), finish)

        def finish() -> None:
            self._under_way[write][port] -= 1
            done()
            self.clock.notify()

        self.clock.at(self.clock.now + (0 if write else self.latency), transfer)


@dataclass
class _Iteration:
    """A transfer under way: the bursts that are missing, and the tokens to post then."""

    span: Span
    begun: float
    posts: tuple[Token, ...]
    last: bool
    missing: int = 1


class _Model:
    def __init__(self, program: Sequence[Instruction], geometry: Geometry, latency: int,
                 bandwidth: int) -> None:
        self.geometry = geometry
        self.program = program
        self.clock = _Clock()
        self.memory = _Memory(self.clock, geometry, latency, bandwidth)
        self.queues: dict[Queue, deque[int]] = {queue: deque() for queue in Queue}
        self.spans = [Span() for _ in program]
        self.steps = [(0.0, 0)]
        self.tokens = [0] * TOKENS
        self.contexts: deque[float] = deque([0.0] * geometry.ring_contexts)
        self.end = 0.0
        self._ended = dict.fromkeys(Queue, 0.0)
        self._fetching = False
        for process in (self._fetch(), self._transfers(Queue.LOAD), self._fills(),
                        self._products(), self._transfers(Queue.STORE)):
            self.clock.start(process)

    def run(self) -> Estimate:
        self.clock.run()
        return Estimate(round(self.end), self.steps[-1][1], tuple(self.spans), tuple(self.steps))

    # -- instructions and tokens -------------------------------------------------------------------

    def _fetch(self) -> Process:
        burst = self.geometry.burst_bytes
        room = 2 * max(burst, INSTRUCTION_BYTES)
        size = len(self.program) * INSTRUCTION_BYTES
        requested = arrived = 0

        def arrive(number: int) -> None:
            nonlocal arrived
            arrived += number

        yield _START
        for n, instruction in enumerate(self.program):
            start, end = n * INSTRUCTION_BYTES, (n + 1) * INSTRUCTION_BYTES
            while arrived < end:
                self._fetching = requested < min(size, start + room - burst + 1)
                if self._fetching and 0 in self.memory.room(False):
                    number = min(burst, size - requested)
                    requested += number
                    self.memory.burst(0, number, False, partial(arrive, number))
                else:
                    yield None
            self._fetching = False
            yield self.clock.now + 2
            while len(self.queues[instruction.queue]) == _QUEUE_DEPTH:
                yield None
            self.queues[instruction.queue].append(n)
            self.spans[n].queued = self.clock.now
            self.clock.notify()

    def _next(self, queue: Queue) -> Generator[None, None, tuple[Instruction, Span]]:
        while not self.queues[queue]:
            yield None
        number = self.queues[queue].popleft()
        self.spans[number].taken = self.clock.now
        self.clock.notify()
        return self.program[number], self.spans[number]

    def _occupy(self, queue: Queue, span: Span, begin: float, end: float) -> None:
        """Note that a queue is busy with an instruction, after those before, until a time."""
        span.begin = span.begin or max(begin, self._ended[queue])
        span.end = self._ended[queue] = max(span.begin, end)

    def _step(self, span: Span, begin: float, end: float, steps: int) -> None:
        """Note that the array takes so many steps for an instruction, evenly between two times."""
        self._occupy(Queue.COMPUTE, span, begin, end)
        time, before = self.steps[-1]
        if begin > time:
            self.steps.append((begin, before))
        self.steps.append((end, before + steps))

    def _wait(self, instruction: Instruction, iteration: int) -> Process:
        numbers = [number for number, each in instruction.waits if each or iteration == 0]
        while not all(self.tokens[number] for number in numbers):
            yield None
        for number in numbers:
            self.tokens[number] -= 1
        yield self.clock.now + _GRANT

    def _post(self, posts: tuple[Token, ...], last: bool, time: float) -> None:
        """Post the tokens of an iteration at a time."""
        self.end = max(self.end, time)

        def give() -> None:
            for number, each in posts:
                self.tokens[number] += each or last
            self.clock.notify()

        self.clock.at(time, give)

    # -- engines -----------------------------------------------------------------------------------

    def _transfers(self, queue: Queue) -> Process:
        """LOAD or STORE: bursts of an iteration follow those of the one before."""
        write = queue == Queue.STORE
        word = self.geometry.word_bytes
        ledger: deque[_Iteration] = deque()

        def done(iteration: _Iteration) -> None:
            iteration.missing -= 1
            while ledger and not ledger[0].missing:
                ended = ledger.popleft()
                self._occupy(queue, ended.span, ended.begun, self.clock.now)
                self._post(ended.posts, ended.last, self.clock.now + _TRANSFER)

        while True:
            i, span = yield from self._next(queue)
            for iteration in range(i.count):
                yield from self._wait(i, iteration)
                if not ledger:
                    yield self.clock.now + _TRANSFER
                begun = self.clock.now
                entry = _Iteration(span, begun, i.posts, iteration == i.count - 1)
                ledger.append(entry)
                for row in range(i["rows"]):
                    start = i["dram"] + iteration * i["dram_stride"] + row * i["dram_row_stride"]
                    for size in self._bursts(start, i["words"] * word):
                        while not (ports := self._ports(write)):
                            yield None
                        entry.missing += 1
                        self.memory.burst(ports[0], size, write, partial(done, entry))
                        # A write begins when its words have been read from the pool.
                        yield self.clock.now + (size / word if write else 1)
                done(entry)  # all its bursts are under way
                yield max(self.clock.now, begun + i["rows"])

    def _ports(self, write: bool) -> list[int]:
        """Return the ports for a burst; port 0 serves the fetch of instructions first."""
        ports = self.memory.room(write)
        return [port for port in ports if port or write or not self._fetching]

    def _bursts(self, start: int, size: int) -> list[int]:
        longest = self.geometry.burst_bytes
        edges = [start, *range(start - start % longest + longest, start + size, longest),
                 start + size]
        return [end - begin for begin, end in itertools.pairwise(edges)]

    def _fills(self) -> Process:
        while True:
            i, span = yield from self._next(Queue.FILL)
            for iteration in range(i.count):
                yield from self._wait(i, iteration)
                begun = self.clock.now
                yield begun + fill_cycles(i, self.geometry)
                self._occupy(Queue.FILL, span, begun, self.clock.now)
                self._post(i.posts, iteration == i.count - 1, self.clock.now + _FILL)
            yield self.clock.now + _FILL

    def _products(self) -> Process:
        g = self.geometry
        settle = max(_ISSUE + g.depth + _SETTLE, _PARAMETERS + g.channel_words)
        behind = g.rows + g.lanes // 2 + _LANES + g.rows + g.tile_words
        free = drain = 0.0  # when the array, and the drain, have done what they have begun
        while True:
            i, span = yield from self._next(Queue.COMPUTE)
            if i.opcode == Opcode.ATTEND:
                yield from self._wait(i, 0)
                work = i["steps"] + i["blocks"] * g.tile_steps
                tiles = i["jobs"] * i["tiles"]
                begun = max(free, self.clock.now)
                free = drain = begun + tiles * max(work, g.rows // g.softmax_rows)
                self._step(span, begun, free, tiles * work)
                self._post(i.posts, True, free + behind + _SOFTMAX)
                yield max(self.clock.now + 1, free - _AHEAD * g.rows)
                continue
            for block in range(i["blocks"]):
                yield from self._wait(i, block)
                for tile in range(i["tiles"]):
                    if not i["accumulate"]:
                        while not self.contexts:
                            yield None
                        free = max(free, self.contexts.popleft())
                    elif block == tile == 0:
                        free += _SETTLE
                    begun = max(free, self.clock.now)
                    end = free = begun + i["steps"]
                    self._step(span, begun, free, i["steps"])
                    if i["drain"]:
                        drain = max(drain + g.rows, free + settle)
                        self.contexts.append(drain + 2)
                        end = drain + behind
                    # Segments are made only a few ahead of the array.
                    yield max(self.clock.now + 1, free - 4 * i["steps"])
                self._post(i.posts, block == i["blocks"] - 1, end)


def fill_cycles(i: Instruction, geometry: Geometry) -> float:
    """Return the cycles of an iteration of FILL or NORM, if the port to the pool is free."""
    g = geometry
    if i.opcode == Opcode.FILL:
        return i["steps"] * g.step_words
    read = 1 + i["residual"] + 8 / g.lanes
    cycles = i["words"] * max(g.vectors_per_word, read + i["sum"]) + g.lanes // 2 + _NORM
    if i["norm"]:
        cycles += i["words"] * max(g.vectors_per_word, read + 1) + g.lanes + _ROOT
    return cycles


def estimate(program: Sequence[Instruction], geometry: Geometry, *, latency: int = 100,
             bandwidth: int | None = None) -> Estimate:
    """Return the cycles that a program is expected to take.

    Parameters
    ----------
    program : sequence of :class:`~heddle.assembler.Instruction`
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    latency : :class:`int`
        Cycles from an AXI address to the first beat of the response.
    bandwidth : :class:`int` or ``None``
        Bytes a cycle of all ports, reads and writes together; 0: no limit; by default what the
        geometry assumes.
    """
    bandwidth = geometry.bandwidth_assumed if bandwidth is None else bandwidth
    return _Model(program, geometry, latency, bandwidth).run()
