"""Estimates the cycles of a program from a model of queues, memory and array.

The model executes the instructions with their tokens as the hardware does, in units of bursts and
tiles. It knows no data, and of the pipelines only their lengths. For all of :mod:`heddle.spread` it
is within 5 % of the RTL.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial

from .assembler import Instruction, Token
from .cost_memory import Clock, Memory, Process
from .rtl.geometry import Geometry
from .rtl.isa import INSTRUCTION_BYTES, TOKENS, Opcode, Queue

__all__ = ["Estimate", "Span", "estimate", "fill_cycles"]

_QUEUE_DEPTH = 4
_REQUEST = 4  # between bursts of the program
_LIST = 13  # from the last word of a list to the first step that it names
_START = 8  # from the start bit to the first request
_GRANT = 5  # an iteration's tokens, and its first request
_TRANSFER = 10  # from a grant to the first burst, and from the last beat to the tokens
_FILL = 10  # from a word's request to its tokens, and between instructions
_NORM = 22  # from the first request for a tile to its first row, and from the last to the tokens
_ROOT = 41  # from the last row of a first pass to the root of the first lane, and to a result
_ISSUE = 4  # from the address of a step to its operands
_SETTLE = 6  # of a sum, into its context
_PARAMETERS = 15  # from the last step of a tile to the parameters of its channels
_LANES = 17  # of requantisation
_SOFTMAX = 50  # from the last step of a tile's scores to its probabilities
_FACTORS = 60  # from the last step of a head's outputs to its factors
_AHEAD = 8  # cycles before its turn in which the next tile of keys is chosen
"""Lengths of pipelines, in cycles."""


@dataclass
class Span:
    """When what happens to an instruction, in cycles since the start."""

    queued: float = 0.0
    taken: float = 0.0
    """When it leaves its queue, to wait for its tokens and for the engine."""
    begin: float = 0.0
    """When its queue begins with it: the one before is done, and its first tokens are there. Scores
    of an ATTEND are made among the outputs of those before, so it begins with its own outputs."""
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


@dataclass
class _Iteration:
    """A transfer under way: the bursts that are missing, and the tokens to post then."""

    span: Span
    begun: float
    posts: tuple[Token, ...]
    last: bool
    missing: int = 1


@dataclass
class _Tile:
    """Keys whose scores are made, and whose outputs are not."""

    instruction: Instruction
    span: Span
    ready: float
    """When its probabilities are there."""
    first: bool
    last: bool
    """Whether it is the first or the last one of the instruction."""


@dataclass
class _Array:
    """What the array, the softmax and the drain are busy with."""

    free: float = 0.0
    """When the array has done what it has begun."""
    drained: float = 0.0
    softmax: float = 0.0
    """When the drain, and the softmax, have."""
    tiles: deque[_Tile] = field(default_factory=deque)
    """On their way through the softmax."""


class _Model:
    def __init__(self, program: Sequence[Instruction], geometry: Geometry, latency: int,
                 bandwidth: int) -> None:
        self.geometry = geometry
        self.program = program
        self.clock = Clock()
        self.memory = Memory(self.clock, geometry, latency, bandwidth)
        self.queues: dict[Queue, deque[int]] = {queue: deque() for queue in Queue}
        self.spans = [Span() for _ in program]
        self.steps = [(0.0, 0)]
        self.tokens = [0] * TOKENS
        self.contexts: deque[float] = deque([0.0] * geometry.ring_contexts)
        self.array = _Array()
        g = geometry  # from the drain of a tile's first row to its tokens
        self.behind = g.rows + g.lanes // 2 + _LANES + g.rows + g.tile_words
        self.end = 0.0
        self._ended = dict.fromkeys(Queue, 0.0)
        self._fetching = False
        self._arrived = 0  # bytes of the program
        self._dealt = 0  # instructions
        for process in (self._fetch(), self._deal(), self._transfers(Queue.LOAD), self._fills(),
                        self._products(), self._transfers(Queue.STORE)):
            self.clock.start(process)

    def run(self) -> Estimate:
        self.clock.run()
        return Estimate(round(self.end), self.steps[-1][1], tuple(self.spans), tuple(self.steps))

    # -- instructions and tokens -------------------------------------------------------------------

    def _fetch(self) -> Process:
        """Request the program as far ahead as there is room for; on its port nothing goes before.

        The instruction that is dealt out next has left the buffer as far as it has arrived.
        """
        burst = self.geometry.burst_bytes
        room = 4 * max(burst, INSTRUCTION_BYTES)
        size = len(self.program) * INSTRUCTION_BYTES
        requested = 0

        def arrive(number: int) -> None:
            self._arrived += number

        yield _START
        while requested < size:
            used = min(self._arrived, (self._dealt + 1) * INSTRUCTION_BYTES)
            number = min(burst, size - requested)
            self._fetching = requested + number <= used + room
            if self._fetching and 0 in self.memory.room(False):
                requested += number
                self.memory.burst(0, number, False, partial(arrive, number))
                yield self.clock.now + _REQUEST
            else:
                yield None
        self._fetching = False

    def _deal(self) -> Process:
        """Give each instruction that has arrived to its queue."""
        for n, instruction in enumerate(self.program):
            while self._arrived < (n + 1) * INSTRUCTION_BYTES:
                yield None
            yield self.clock.now + 2
            while len(self.queues[instruction.queue]) == _QUEUE_DEPTH:
                yield None
            self.queues[instruction.queue].append(n)
            self.spans[n].queued = self.clock.now
            self._dealt = n + 1
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

    def _step(self, begin: float, end: float, steps: int, span: Span | None = None) -> None:
        """Note that the array takes so many steps, evenly between two times, for an instruction."""
        if span is not None:
            self._occupy(Queue.COMPUTE, span, begin, end)
        time, before = self.steps[-1]
        if begin > time:
            self.steps.append((begin, before))
        self.steps.append((end, before + steps))

    def _awaited(self, instruction: Instruction, iteration: int, late: bool) -> list[int]:
        """Return the counters of which an iteration takes a token, at first or late."""
        return [number for number, each in instruction.waits
                if (each or iteration == 0) and bool(number & 1) == late]

    def _there(self, numbers: Sequence[int]) -> bool:
        return all(self.tokens[number] for number in numbers)

    def _wait(self, instruction: Instruction, iteration: int, *, late: bool = False) -> Process:
        numbers = self._awaited(instruction, iteration, late)
        while not self._there(numbers):
            yield None
        for number in numbers:
            self.tokens[number] -= 1
        if numbers or not late:
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
                if write:
                    self.memory.end_write()
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
        array, listed = self.array, 0.0  # when the words of the lists so far have been asked for
        while True:
            yield from self._outputs(lambda: bool(self.queues[Queue.COMPUTE]))
            i, span = yield from self._next(Queue.COMPUTE)
            if i.opcode == Opcode.ATTEND:
                yield from self._attend(i, span)
                continue
            while array.tiles:
                yield from self._output()
            for block in range(i["blocks"]):
                yield from self._wait(i, block)
                if i["listed"]:
                    listed = max(listed, self.clock.now) + g.list_words(i["steps"], i["wide"])
                    array.free = max(array.free, listed + _LIST)
                for tile in range(i["tiles"]):
                    if not i["accumulate"]:
                        while not self.contexts:
                            yield None
                        array.free = max(array.free, self.contexts.popleft())
                    elif block == tile == 0:
                        array.free += _SETTLE
                    begun = max(array.free, self.clock.now)
                    end = array.free = begun + i["steps"]
                    self._step(begun, end, i["steps"], span)
                    if i["drain"]:
                        array.drained = max(array.drained + g.rows, end + settle)
                        self.contexts.append(array.drained + 2)
                        end = array.drained + self.behind
                    # Segments are made only a few ahead of the array.
                    yield max(self.clock.now + 1, array.free - 4 * i["steps"])
                self._post(i.posts, block == i["blocks"] - 1, end)

    def _attend(self, i: Instruction, span: Span) -> Process:
        """Make scores as slots are free for their probabilities; outputs go first."""
        g, array = self.geometry, self.array
        early = self._awaited(i, 0, late=False)
        yield from self._outputs(lambda: self._there(early))
        yield from self._wait(i, 0)
        total = i["jobs"] * i["tiles"]
        for tile in range(total):
            while array.tiles and (len(array.tiles) >= g.probability_slots
                                   or (array.tiles[0].ready <= max(array.free, self.clock.now)
                                       and self._begun(array.tiles[0]))):
                yield from self._output()
            begun = max(array.free, self.clock.now)
            array.free = begun + i["steps"]
            self._step(begun, array.free, i["steps"])
            array.softmax = max(array.softmax + g.rows / g.softmax_rows, array.free + _SOFTMAX)
            array.tiles.append(_Tile(i, span, array.softmax, tile == 0, tile == total - 1))
        yield max(self.clock.now + 1, array.free - i["steps"])

    def _begun(self, tile: _Tile) -> bool:
        """Return whether the outputs of a tile need not wait for tokens."""
        return not tile.first or self._there(self._awaited(tile.instruction, 0, late=True))

    def _outputs(self, until: Callable[[], bool]) -> Process:
        """Make outputs of tiles that have scores until there is something else to do."""
        while not until():
            if self.array.tiles and self._begun(self.array.tiles[0]):
                yield from self._output()
            else:
                yield None

    def _output(self) -> Process:
        """Make the outputs of the oldest tile that has scores."""
        array = self.array
        tile = array.tiles.popleft()
        if tile.first:
            yield from self._wait(tile.instruction, 0, late=True)
        begun = max(array.free, tile.ready, self.clock.now)
        steps = tile.instruction["blocks"] * self.geometry.tile_steps
        array.free = begun + steps
        self._step(begun, array.free, steps, tile.span)
        if tile.last:
            self._post(tile.instruction.posts, True, array.free + self.behind + _FACTORS)
        yield max(self.clock.now + 1, array.free - _AHEAD)


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
