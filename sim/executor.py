"""The golden machine: executes the binary program on a DRAM image, bit for bit.

Each queue is a coroutine that runs iteration by iteration; tokens and instruction queues work as
in the hardware, time does not. The same bytes give the same image in hardware.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..assembler import Instruction, decode
from ..footprint import Access, Space, footprint
from ..rtl.geometry import Geometry
from ..rtl.isa import INSTRUCTION_BYTES, TOKENS, Activation, Layout, Opcode, Queue, token_name
from . import attention, golden, norm

__all__ = ["Deadlock", "Executor", "ProgramError", "Totals", "execute"]


class ProgramError(Exception):
    """A program does what no correct program does."""


class Deadlock(ProgramError):
    """No queue can go on; the message names where each one stands."""


@dataclass
class Totals:
    """What a program did."""

    array_cycles: int = 0
    """Steps of the array."""
    read_bytes: int = 0
    """Bytes read from DRAM, the program included."""
    write_bytes: int = 0
    """Bytes written to DRAM."""


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
        self._queues: dict[Queue, deque[tuple[int, Instruction]]] = {q: deque() for q in Queue}
        self._current: dict[Queue, tuple[int, Instruction] | None] = dict.fromkeys(Queue)
        self._counters = [0] * TOKENS
        self._memories = {
            Space.DRAM: image.reshape(-1, g.word_bytes),
            Space.POOL: np.zeros((g.scratchpad_words, g.word_bytes), np.uint8),
            Space.OPERAND: np.zeros((g.operand_steps, g.depth * g.lanes), np.uint8),
        }
        self._written = {space: np.zeros(len(memory), bool)
                         for space, memory in self._memories.items()}
        self._written[Space.DRAM][:] = True
        self._contexts = np.zeros((g.ring_contexts, g.rows, g.lanes), np.int32)
        self._head = 0
        self._sums: tuple[NDArray[np.int64], attention.LaneState] | None = None
        self._held = 0
        self._random = None if seed is None else random.Random(seed)
        self.totals = Totals(read_bytes=instructions * INSTRUCTION_BYTES)

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
        if self._held:
            raise ProgramError(f"The program ends with {self._held} contexts not drained")
        if self._sums:
            raise ProgramError("The program ends with the output of a head not drained")
        return self.totals

    # -- instructions and tokens -------------------------------------------------------------------

    def _dispatch(self) -> bool:
        """Deal out instructions in program order as far as there is room; return if any was."""
        before = self._fetched
        while self._fetched < len(self._text):
            try:
                instruction = decode(self._text[self._fetched])
            except ValueError as error:
                raise ProgramError(f"Instruction {self._fetched}: {error}") from None
            if len(self._queues[instruction.queue]) == self.DEPTH:
                break
            self._queues[instruction.queue].append((self._fetched, instruction))
            self._fetched += 1
        return self._fetched > before

    def _engine(self, queue: Queue) -> Generator[bool, None, None]:
        """Execute the instructions of a queue; yield whether the last turn did something."""
        while True:
            while not self._queues[queue]:
                yield False
            self._current[queue] = number, instruction = self._queues[queue].popleft()
            try:
                accesses = footprint(instruction, self.geometry)
                for iteration in range(instruction.count):
                    while self._missing(instruction, iteration):
                        yield False
                    for entry in instruction.waits:
                        self._counters[entry.number] -= entry.each or iteration == 0
                    yield True
                    self._execute(instruction, iteration, accesses)
                    for entry in instruction.posts:
                        last = iteration == instruction.count - 1
                        self._counters[entry.number] += entry.each or last
            except ValueError as error:
                raise ProgramError(f"Instruction {number}: {error}") from None
            self._current[queue] = None
            yield True

    def _missing(self, instruction: Instruction, iteration: int) -> list[int]:
        return [number for number, each in instruction.waits
                if (each or iteration == 0) and not self._counters[number]]

    def _standing(self) -> str:
        places = [f"Deadlock after {self._fetched} of {len(self._text)} instructions:"]
        for queue, current in self._current.items():
            if current is None:
                places.append(f"{queue.name} has no instruction;")
                continue
            number, instruction = current
            missing = ", ".join(token_name(t) for t, _ in instruction.waits
                                if not self._counters[t])
            places.append(f"{queue.name} is at instruction {number} ({instruction}) and waits for "
                          f"{missing};")
        return " ".join(places).rstrip(";")

    # -- effects -----------------------------------------------------------------------------------

    def _execute(self, instruction: Instruction, iteration: int, accesses: list[Access]) -> None:
        if instruction.opcode == Opcode.MATMUL:
            self._matmul(instruction, iteration, accesses)
            return
        if instruction.opcode == Opcode.ATTEND:
            self._attend(instruction, accesses)
            return
        if instruction.opcode == Opcode.NORM:
            self._norm(instruction, iteration, accesses)
            return
        source, target = accesses
        data = self._read(source, iteration)
        self._write(target, iteration, data)
        if instruction.opcode == Opcode.LOAD:
            self.totals.read_bytes += data.size
        elif instruction.opcode == Opcode.STORE:
            self.totals.write_bytes += data.size

    def _read(self, access: Access, iteration: int) -> NDArray[np.uint8]:
        addresses = self._checked(access, iteration)
        written = self._written[access.space][addresses]
        if not written.all():
            raise ValueError(f"reads address {addresses[~written][0]} of the {access.space.value}, "
                             "which nothing has written")
        return self._memories[access.space][addresses]

    def _write(self, access: Access, iteration: int, data: NDArray[np.uint8]) -> None:
        memory = self._memories[access.space]
        addresses = self._checked(access, iteration)
        memory[addresses] = data.reshape(len(addresses), memory.shape[1])
        self._written[access.space][addresses] = True

    def _checked(self, access: Access, iteration: int) -> NDArray[np.int64]:
        addresses = access.addresses[iteration]
        if addresses.max() >= len(self._memories[access.space]):
            raise ValueError(f"address {addresses.max()} is outside the {access.space.value} of "
                             f"{len(self._memories[access.space])} words")
        return addresses

    def _matmul(self, i: Instruction, block: int, accesses: list[Access]) -> None:
        """Multiply one block of A with all tiles of B."""
        g = self.geometry
        a = self._read(accesses[0], block)
        weights = a[:i["steps"]].view(np.int8).reshape(-1, g.rows)
        if i["listed"]:
            weights, b = self._visited(i, weights, self._checked(accesses[1], block),
                                       a[-g.list_words(i["steps"], i["wide"]):])
        else:
            b = self._read(accesses[1], block).view(np.int8)
            b = b.reshape(i["tiles"], -1, g.lanes).swapaxes(0, 1).reshape(-1, i["tiles"] * g.lanes)
        acc = golden.matmul(weights, b)
        tiles = acc.reshape(g.rows, i["tiles"], g.lanes).swapaxes(0, 1)
        self.totals.array_cycles += i["tiles"] * i["steps"]

        contexts = self._take(i, block)
        if i["accumulate"]:
            tiles = tiles + self._contexts[contexts]
        if not i["drain"]:
            self._contexts[contexts] = tiles
            return
        channels = golden.unpack_channels(a[i["steps"]:][:g.channel_words])
        drained = golden.requantise(tiles, *channels, Activation(i["activation"]))
        self._write(accesses[2], block, golden.lay_tile(drained, Layout(i["layout"]), g.depth))

    def _visited(self, i: Instruction, a: NDArray[np.int8], steps: NDArray[np.int64],
                 words: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Return the operands of a block whose list lies in these words, from tiles of B that have
        these steps.

        Steps that nothing has written fill a tile up to a whole address; only weights of 0 may
        meet them.
        """
        g = self.geometry
        addresses, selectors = golden.unpack_list(words, i["steps"], g.rows, g.depth,
                                                  g.selector_bits, wide=i["wide"])
        a = a.reshape(-1, g.depth, g.rows)
        b = self._memories[Space.OPERAND][steps].view(np.int8)
        b = b.reshape(i["tiles"], -1, g.candidates, g.depth, g.lanes)
        if addresses.max() >= b.shape[1]:
            raise ValueError(f"{i} has a list that visits address {addresses.max()} of tiles of "
                             f"{b.shape[1]}")
        if selectors.max() >= g.candidates:
            raise ValueError(f"{i} has a list that selects candidate {selectors.max()} of "
                             f"{g.candidates}")
        written = self._written[Space.OPERAND][steps].reshape(i["tiles"], -1, g.candidates)
        if (~written[:, addresses[..., np.newaxis], selectors] & (a != 0)).any():
            raise ValueError(f"{i} has a list that visits a step which nothing has written")
        return golden.visited(a, b, addresses, selectors)

    def _take(self, i: Instruction, block: int) -> NDArray[np.int64]:
        """Return the contexts of a block's tiles and keep count of those that are held."""
        g = self.geometry
        total = i["blocks"] * i["tiles"]
        if i["accumulate"]:
            if block == 0 and self._held != total:
                raise ValueError(f"{i} adds to {total} contexts, but {self._held} are held")
        elif block == 0 and self._held:
            raise ValueError(f"{i} takes contexts while {self._held} are held")
        elif block == 0 and not i["drain"]:
            if total > g.ring_contexts:
                raise ValueError(f"{i} holds {total} contexts, but there are {g.ring_contexts}")
            self._held = total
        contexts = (self._head + block * i["tiles"] + np.arange(i["tiles"])) % g.ring_contexts
        if i["drain"] and block == i["blocks"] - 1:
            self._held = 0
            self._head = (self._head + total) % g.ring_contexts
        return contexts

    def _attend(self, i: Instruction, accesses: list[Access]) -> None:
        """Let all heads of an instruction attend to its key tiles."""
        g = self.geometry
        jobs, tiles = i["jobs"], i["tiles"]
        if i["blocks"] > g.attention_blocks:
            raise ValueError(f"{i} has {i['blocks']} blocks of features, but there are contexts "
                             f"for {g.attention_blocks}")
        if self._held or bool(self._sums) == i["begin"] or (jobs > 1 and not i["end"]):
            raise ValueError(f"{i} starts while sums of another kind are held, or goes on without")
        group = np.arange(jobs) // i["group"]
        k, v, q = (self._read(access, 0).view(np.int8) for access in accesses[:3])
        k = k.reshape(-1, tiles, i["steps"] * g.depth, g.rows)[group].astype(np.float32)
        v = v.reshape(-1, tiles, i["blocks"], g.rows, g.rows).swapaxes(2, 3)
        v = v.reshape(-1, tiles, g.rows, i["blocks"] * g.rows)[group]
        q = q.reshape(jobs, -1, g.lanes).astype(np.float32)
        masks = np.ones((1, g.rows, g.lanes), bool)
        if i["masked"]:
            bits = np.unpackbits(self._read(accesses[3], 0), axis=1, bitorder="little")
            masks = bits[:, :g.rows * g.lanes].reshape(-1, g.rows, g.lanes).astype(bool)
        sums, state = self._sums or (np.zeros((jobs, v.shape[3], g.lanes), np.int64),
                                     attention.LaneState.start(jobs * g.lanes))
        scale = attention.Scale(i["multiplier"], 12 + 4 * i["shift"])
        for tile in range(tiles):
            scores = (k[:, tile].swapaxes(1, 2) @ q).swapaxes(0, 1).reshape(g.rows, -1)
            p, levels, seen = attention.tile_probabilities(
                attention.energies(scores, scale), np.tile(masks[tile % len(masks)], (1, jobs)))
            factors = state.add(p, levels, seen)
            for job in range(jobs):
                lanes = slice(job * g.lanes, (job + 1) * g.lanes)
                shift, code, up = (factor[..., lanes] for factor in factors)
                sums[job] = attention.accumulate(sums[job], p[:, lanes], v[job, tile], shift, code,
                                                 up, g.depth)
        self.totals.array_cycles += jobs * tiles * (i["steps"] + i["blocks"] * g.tile_steps)
        self._sums = None if i["end"] else (sums, state)
        if i["end"]:
            multiplier, shift = attention.factor(state, i["gain"], i["gain_shift"])
            output = attention.output(np.hstack(list(sums)), multiplier, shift)
            blocks = output.reshape(i["blocks"], g.rows, jobs, g.lanes).transpose(2, 0, 1, 3)
            self._write(accesses[-1], 0, golden.lay_tile(blocks, Layout(i["layout"]), g.depth))

    def _norm(self, i: Instruction, tile: int, accesses: list[Access]) -> None:
        """Add and normalise the rows of one tile."""
        inputs = 1 + i["residual"]
        x, *o = (self._read(access, tile).view(np.int8).reshape(-1, self.geometry.lanes)
                 for access in accesses[:inputs])
        try:
            scales = norm.unpack_norm(self._read(accesses[inputs], tile), len(x), i["features"],
                                      i["epsilon"], norm=i["norm"])
        except ValueError as error:
            raise ValueError(f"{i} {error}") from None
        if {name: i[name] for name in scales.fields} != scales.fields:
            raise ValueError(f"{i} must have reciprocal={scales.fields['reciprocal']} "
                             f"reciprocal_shift={scales.fields['reciprocal_shift']}")
        y = norm.values(x, o[0] if o else None, scales)
        results = [norm.store_sum(y, scales)] if i["sum"] else []
        if i["norm"]:
            results.append(norm.normalise(y, scales, rms=i["rms"]))
        for access, result in zip(accesses[inputs + 1:], results, strict=True):
            self._write(access, tile, result.view(np.uint8))


def execute(geometry: Geometry, image: NDArray[np.uint8], *, offset: int, instructions: int,
            seed: int | None = None) -> Totals:
    """Run a program on a DRAM image, which it changes in place; see :class:`Executor`."""
    return Executor(geometry, image, offset=offset, instructions=instructions, seed=seed).run()
