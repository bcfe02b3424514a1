"""The memories of the golden machine, and what each operation does to them, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..assembler import Instruction
from ..footprint import Space
from ..rtl.geometry import Geometry
from ..rtl.isa import Activation, Layout, Opcode
from . import attention, golden, layouts, norm
from .steps import Step, Words

__all__ = ["Machine", "Totals"]


@dataclass
class Totals:
    """What a program did."""

    array_cycles: int = 0
    """Steps of the array."""
    read_bytes: int = 0
    """Bytes read from DRAM, the program included."""
    write_bytes: int = 0
    """Bytes written to DRAM."""


class Machine:
    """Scratchpad, operand buffer and contexts of a geometry, beside a DRAM image.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    image : array of uint8
        The DRAM image, in whole words; changed in place.

    Attributes
    ----------
    totals : :class:`Totals`
    """

    def __init__(self, geometry: Geometry, image: NDArray[np.uint8]) -> None:
        g = self.geometry = geometry
        # The operand buffer holds its integers as single-precision BLAS takes them.
        self._memories: dict[Space, NDArray] = {
            Space.DRAM: image.reshape(-1, g.word_bytes),
            Space.POOL: np.zeros((g.scratchpad_words, g.word_bytes), np.uint8),
            Space.OPERAND: np.zeros((g.operand_steps, g.depth * g.lanes), np.float32),
        }
        self._written = {space: np.full(len(memory), space == Space.DRAM)
                         for space, memory in self._memories.items()}
        self._contexts = np.zeros((g.ring_contexts, g.rows, g.lanes), np.int32)
        self._head = 0
        self._held = 0
        self._sums: tuple[NDArray[np.int64], attention.LaneState] | None = None
        self.totals = Totals()

    def execute(self, step: Step, first: int, stop: int) -> None:
        """Execute the iterations ``first <= n < stop`` of an instruction: read all, write all.

        Raises
        ------
        ValueError
            If they touch an address outside the image, read a word that nothing has written, or
            do not go with what the array holds.
        """
        opcode = step.instruction.opcode
        if opcode == Opcode.MATMUL:
            self._matmul(step, first, stop)
        elif opcode == Opcode.ATTEND:
            self._attend(step)
        elif opcode == Opcode.NORM:
            self._norm(step, first, stop)
        else:
            self._move(step, first, stop)

    def check_end(self) -> None:
        """Raise a ``ValueError`` if the array holds what is still to be drained."""
        if self._held:
            raise ValueError(f"The program ends with {self._held} contexts not drained")
        if self._sums:
            raise ValueError("The program ends with the output of a head not drained")

    # -- memories ----------------------------------------------------------------------------------

    def _read(self, words: Words, first: int, stop: int) -> NDArray:
        """Return the words of some iterations, ``[iterations, words, elements]``.

        There is one iteration if all touch the same words.
        """
        index, memory = self._index(words, first, stop), self._memories[words.space]
        written = self._written[words.space][index]
        if not written.all():
            raise ValueError(f"reads address {np.arange(len(memory))[index][~written][0]} of the "
                             f"{words.space.value}, which nothing has written")
        return memory[index].reshape(-1, words.size, memory.shape[1])

    def _write(self, words: Words, first: int, stop: int, data: NDArray) -> None:
        index, memory = self._index(words, first, stop), self._memories[words.space]
        written = self._written[words.space]
        memory[index] = data.reshape(*written[index].shape, memory.shape[1])
        written[index] = True

    def _index(self, words: Words, first: int, stop: int) -> slice | NDArray[np.int64]:
        index, size = words.index(first, stop), len(self._memories[words.space])
        last = index.stop - 1 if isinstance(index, slice) else index.max()
        if last >= size:
            raise ValueError(f"address {last} is outside the {words.space.value} of {size} words")
        return index

    def _move(self, step: Step, first: int, stop: int) -> None:
        """Copy the words of a LOAD, a FILL or a STORE."""
        source, target = step.words
        data = self._read(source, first, stop)
        opcode = step.instruction.opcode
        if opcode == Opcode.LOAD:
            self.totals.read_bytes += data.size
        elif opcode == Opcode.STORE:
            self.totals.write_bytes += data.size
        self._write(target, first, stop, data.view(np.int8) if opcode == Opcode.FILL else data)

    # -- products ----------------------------------------------------------------------------------

    def _matmul(self, step: Step, first: int, stop: int) -> None:
        """Multiply some blocks of A with all tiles of B."""
        g, i = self.geometry, step.instruction
        blocks, tiles, steps = stop - first, i["tiles"], i["steps"]
        a = self._read(step.words[0], first, stop)
        if i["listed"]:
            acc = np.stack([self._listed(step, block) for block in a])
        else:
            weights = a[:, :steps].view(np.int8).astype(np.float32)
            b = self._read(step.words[1], first, stop)
            acc = golden.matmul(weights.reshape(blocks, 1, -1, g.rows),
                                b.reshape(tiles, -1, g.lanes))
        self.totals.array_cycles += blocks * tiles * steps

        contexts = self._take(i, first, stop)
        if i["accumulate"]:
            acc += self._contexts[contexts]
        if not i["drain"]:
            self._contexts[contexts] = acc
            return
        bias, multiplier, shift, gate_shift = (
            channels.reshape(blocks, 1, g.rows)
            for channels in layouts.unpack_channels(a[:, steps:steps + g.channel_words]))
        drained = golden.requantise(acc, bias, multiplier, shift, gate_shift,
                                    Activation(i["activation"]))
        self._write(step.words[2], first, stop,
                    layouts.lay_tile(drained, Layout(i["layout"]), g.depth))

    def _listed(self, step: Step, block: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Multiply a block that has a list, ``[tiles, rows, lanes]``.

        Steps that nothing has written fill a tile up to a whole address; only weights of 0 may
        meet them.
        """
        g, i, steps = self.geometry, step.instruction, self._index(step.words[1], 0, 1)
        addresses, selectors = layouts.unpack_list(
            block[-g.list_words(i["steps"], i["wide"]):], i["steps"], g.rows, g.depth,
            g.selector_bits, wide=i["wide"])
        a = block[:i["steps"]].view(np.int8).reshape(-1, g.depth, g.rows)
        b = self._memories[Space.OPERAND][steps]
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
        acc = golden.matmul(*golden.visited(a, b, addresses, selectors))
        return acc.reshape(g.rows, i["tiles"], g.lanes).swapaxes(0, 1)

    def _take(self, i: Instruction, first: int, stop: int) -> NDArray[np.int64]:
        """Return the contexts of some blocks' tiles, and keep count of those that are held."""
        g = self.geometry
        total = i["blocks"] * i["tiles"]
        if i["accumulate"]:
            if first == 0 and self._held != total:
                raise ValueError(f"{i} adds to {total} contexts, but {self._held} are held")
        elif first == 0 and self._held:
            raise ValueError(f"{i} takes contexts while {self._held} are held")
        elif first == 0 and not i["drain"]:
            if total > g.ring_contexts:
                raise ValueError(f"{i} holds {total} contexts, but there are {g.ring_contexts}")
            self._held = total
        tiles = np.arange(first * i["tiles"], stop * i["tiles"]).reshape(-1, i["tiles"])
        contexts = (self._head + tiles) % g.ring_contexts
        if i["drain"] and stop == i["blocks"]:
            self._held = 0
            self._head = (self._head + total) % g.ring_contexts
        return contexts

    # -- attention ---------------------------------------------------------------------------------

    def _attend(self, step: Step) -> None:
        """Let all heads of an instruction attend to its key tiles."""
        g, i = self.geometry, step.instruction
        jobs, tiles = i["jobs"], i["tiles"]
        if i["blocks"] > g.attention_blocks:
            raise ValueError(f"{i} has {i['blocks']} blocks of features, but there are contexts "
                             f"for {g.attention_blocks}")
        if self._held or bool(self._sums) == i["begin"] or (jobs > 1 and not i["end"]):
            raise ValueError(f"{i} starts while sums of another kind are held, or goes on without")
        group = np.arange(jobs) // i["group"]
        k, v, q = (self._read(words, 0, 1) for words in step.words[:3])
        k = k.view(np.int8).reshape(-1, tiles, i["steps"] * g.depth, g.rows)[group]
        v = v.view(np.int8).reshape(-1, tiles, i["blocks"], g.rows, g.rows)[group]
        v = v.swapaxes(2, 3).reshape(jobs, tiles, g.rows, -1)
        scores = golden.matmul(k, q.reshape(jobs, 1, -1, g.lanes))
        masks = None
        if i["masked"]:
            bits = np.unpackbits(self._read(step.words[3], 0, 1), axis=-1, bitorder="little",
                                 count=g.rows * g.lanes)
            masks = bits.reshape(-1, g.rows, g.lanes).astype(bool)
        scale = attention.Scale(i["multiplier"], 12 + 4 * i["shift"])
        p, levels, seen = attention.tile_probabilities(attention.energies(scores, scale), masks)
        sums, state = self._sums or (np.zeros((jobs, v.shape[3], g.lanes), np.int64),
                                     attention.LaneState.start(jobs, g.lanes))
        for tile in range(tiles):
            factors = state.add(p[:, tile], levels[:, tile], seen[:, tile])
            sums = attention.accumulate(sums, p[:, tile], v[:, tile], *factors, g.depth)
        self.totals.array_cycles += jobs * tiles * (i["steps"] + i["blocks"] * g.tile_steps)
        self._sums = None if i["end"] else (sums, state)
        if i["end"]:
            output = attention.output(
                sums, *attention.factor(state, i["gain"], i["gain_shift"]))
            self._write(step.words[-1], 0, 1, layouts.lay_tile(
                output.reshape(jobs, -1, g.rows, g.lanes), Layout(i["layout"]), g.depth))

    # -- normalisation -----------------------------------------------------------------------------

    def _norm(self, step: Step, first: int, stop: int) -> None:
        """Add and normalise the rows of some tiles."""
        g, i = self.geometry, step.instruction
        inputs = 1 + i["residual"]
        x, *o = (self._read(words, first, stop).view(np.int8).reshape(stop - first, -1, g.lanes)
                 for words in step.words[:inputs])
        try:
            scales = norm.unpack_norm(self._read(step.words[inputs], first, stop), x.shape[1],
                                      i["features"], i["epsilon"], norm=i["norm"])
        except ValueError as error:
            raise ValueError(f"{i} {error}") from None
        if {name: i[name] for name in scales.fields} != scales.fields:
            raise ValueError(f"{i} must have reciprocal={scales.fields['reciprocal']} "
                             f"reciprocal_shift={scales.fields['reciprocal_shift']}")
        y = norm.values(x, o[0] if o else None, scales)
        results = [norm.store_sum(y, scales)] if i["sum"] else []
        if i["norm"]:
            results.append(norm.normalise(y, scales, rms=i["rms"]))
        for words, result in zip(step.words[inputs + 1:], results, strict=True):
            self._write(words, first, stop, result.view(np.uint8))
