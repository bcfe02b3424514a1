"""The golden machine: executes the binary program on a DRAM image, bit for bit.

Each queue is a coroutine that goes from one iteration to another; tokens and instruction queues
work as in the hardware, time does not. The same bytes give the same image in hardware.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from ..rtl.geometry import Geometry
from ..rtl.isa import INSTRUCTION_BYTES, TOKENS, Queue, token_name
from .machine import Machine, Totals
from .steps import Step, prepare

__all__ = ["Deadlock", "Executor", "ProgramError", "execute"]


class ProgramError(Exception):
    """A program does what no correct program does."""


class Deadlock(ProgramError):
    """No queue can go on; the message names where each one stands."""


class Executor:
    """Runs one program.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    image : array of uint8
        The DRAM image; changed in place.
    offset, instructions : :class:`int`
        Where the program starts in the image, in bytes, and how many instructions it has.
    seed : :class:`int` or ``None``
        Chooses at random which queue goes on; without it they take turns. The result of a correct
        program does not depend on it.

    Raises
    ------
    ProgramError
        If the program or the image does not lie in words.
    """

    DEPTH = 4
    """Instructions that a queue holds beside the one in execution."""

    def __init__(self, geometry: Geometry, image: NDArray[np.uint8], *, offset: int,
                 instructions: int, seed: int | None = None) -> None:
        g = self.geometry = geometry
        end = offset + instructions * INSTRUCTION_BYTES
        if offset < 0 or end > image.size:
            raise ProgramError(f"The program ends at byte {end} of an image of {image.size} bytes")
        if image.size % g.word_bytes:
            raise ProgramError(f"The image must have whole words of {g.word_bytes} bytes, "
                               f"not {image.size} bytes")
        self._text = image[offset:end].reshape(-1, INSTRUCTION_BYTES).copy()
        self._fetched = 0
        self._queues: dict[Queue, deque[tuple[int, Step]]] = {q: deque() for q in Queue}
        self._current: dict[Queue, tuple[int, Step] | None] = dict.fromkeys(Queue)
        self._counters = [0] * TOKENS
        self._machine = Machine(g, image)
        self._random = None if seed is None else random.Random(seed)
        self._machine.totals.read_bytes += self._text.size

    def run(self) -> Totals:
        """Run the program to its end.

        Raises
        ------
        Deadlock
            If no queue can go on.
        ProgramError
            If an instruction is illegal, touches an address outside its memory, or reads a word
            that nothing has written.
        """
        engines = {queue: self._engine(queue) for queue in Queue}
        while True:
            progress = self._dispatch()
            order = list(Queue)
            if self._random:
                order = self._random.sample(order, self._random.randint(1, len(order)))
            for queue in order:
                progress |= next(engines[queue])
            if not progress and len(order) == len(Queue):
                break
        if any(self._current.values()) or self._fetched < len(self._text):
            raise Deadlock(self._standing())
        try:
            self._machine.check_end()
        except ValueError as error:
            raise ProgramError(str(error)) from None
        return self._machine.totals

    # -- instructions and tokens -------------------------------------------------------------------

    def _dispatch(self) -> bool:
        """Deal out instructions in program order as far as there is room; return if any was."""
        before = self._fetched
        while self._fetched < len(self._text):
            try:
                step = prepare(self.geometry, self._text[self._fetched].tobytes())
            except ValueError as error:
                raise ProgramError(f"Instruction {self._fetched}: {error}") from None
            queue = self._queues[step.instruction.queue]
            if len(queue) == self.DEPTH:
                break
            queue.append((self._fetched, step))
            self._fetched += 1
        return self._fetched > before

    def _engine(self, queue: Queue) -> Generator[bool, None, None]:
        """Execute the instructions of a queue; yield whether the last turn did something."""
        while True:
            while not self._queues[queue]:
                yield False
            self._current[queue] = number, step = self._queues[queue].popleft()
            instruction, done = step.instruction, 0
            while done < instruction.count:
                stop = done + self._ready(step, done)
                if stop == done:
                    yield False
                    continue
                for entry in instruction.waits:
                    self._counters[entry.number] -= stop - done if entry.each else done == 0
                yield True
                try:
                    self._machine.execute(step, done, stop)
                except ValueError as error:
                    raise ProgramError(f"Instruction {number}: {error}") from None
                for entry in instruction.posts:
                    last = stop == instruction.count
                    self._counters[entry.number] += stop - done if entry.each else last
                done = stop
            self._current[queue] = None
            yield True

    def _ready(self, step: Step, done: int) -> int:
        """Return how many iterations can be executed together after those that are done.

        As many as there are tokens for, which is one of the orders that the queues may take. With
        a seed it is one, so that the others can come between, and also if later iterations touch
        what earlier ones write.
        """
        instruction = step.instruction
        together = step.independent and not self._random
        ready = instruction.count - done if together else 1
        for number, each in instruction.waits:
            if each:
                ready = min(ready, self._counters[number])
            elif done == 0 and not self._counters[number]:
                ready = 0
        return ready

    def _standing(self) -> str:
        places = [f"Deadlock after {self._fetched} of {len(self._text)} instructions:"]
        for queue, current in self._current.items():
            if current is None:
                places.append(f"{queue.name} has no instruction;")
                continue
            number, step = current
            missing = ", ".join(token_name(t) for t, _ in step.instruction.waits
                                if not self._counters[t])
            places.append(f"{queue.name} is at instruction {number} ({step.instruction}) and waits "
                          f"for {missing};")
        return " ".join(places).rstrip(";")


def execute(geometry: Geometry, image: NDArray[np.uint8], *, offset: int, instructions: int,
            seed: int | None = None) -> Totals:
    """Run a program on a DRAM image, which it changes in place; see :class:`Executor`."""
    return Executor(geometry, image, offset=offset, instructions=instructions, seed=seed).run()
