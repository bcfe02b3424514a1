"""The operand buffer, which feeds B to the array, and the engine that fills it from the pool."""

from __future__ import annotations

import itertools

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .fifo import StreamFifo
from .isa import Opcode, instruction_layout
from .ram import TwoPortRam
from .scratchpad import PoolReader
from .tokens import Gate, TokenPort

__all__ = ["Fill", "OperandBuffer"]


class OperandBuffer(wiring.Component):
    """``depth`` slots of ``candidates`` banks of vectors, all read in every cycle.

    Step ``s`` holds the vectors ``k = s·depth … s·depth + depth - 1``; slot ``k mod depth`` has one
    vector of each step, in bank ``s mod candidates`` at address ``s div candidates``. So each slot,
    whose banks share an address, offers as many steps side by side. A pool word fills several
    neighbouring slots of one step.

    Parameters
    ----------
    steps : :class:`int`
        Steps that fit; a power of two.
    depth : :class:`int`
        Slots.
    candidates : :class:`int`
        Banks a slot; a power of two.
    lanes : :class:`int`
        Bytes of a vector.
    word_bytes : :class:`int`
        Bytes of a pool word, a multiple of a vector.

    Members
    -------
    write_en, write_addr, write_part, write_data
        Write part ``write_part`` (vectors ``part · vectors per word …``) of a step.
    read_step : :py:`In(range(steps))`
        Step of which to read the address.
    read_addresses : In
        For each slot how many addresses further on it reads.
    read_data : :py:`Out(8 * depth * candidates * lanes)`
        The vectors, byte ``(k · candidates + c) · lanes + j``, :attr:`LATENCY` cycles later.
    """

    LATENCY = 3
    """Cycles from ``read_step`` to ``read_data``."""

    def __init__(self, steps: int, depth: int, lanes: int, word_bytes: int, candidates: int = 1):
        self.steps = steps
        self.depth = depth
        self.candidates = candidates
        self.lanes = lanes
        self.vectors_per_word = word_bytes // lanes
        self.parts = depth // self.vectors_per_word
        super().__init__({
            "write_en":       In(1),
            "write_addr":     In(range(steps)),
            "write_part":     In(range(self.parts)),
            "write_data":     In(8 * word_bytes),
            "read_step":      In(range(steps)),
            "read_addresses": In(data.ArrayLayout(range(steps // candidates), depth)),
            "read_data":      Out(8 * depth * candidates * lanes),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        write_addr = Signal.like(self.write_addr, reset_less=True)
        write_data = Signal.like(self.write_data, reset_less=True)
        m.d.sync += [write_addr.eq(self.write_addr), write_data.eq(self.write_data)]
        bits = exact_log2(self.candidates)
        outputs = []
        for k, c in itertools.product(range(self.depth), range(self.candidates)):
            m.submodules[f"bank_{k}_{c}"] = bank = TwoPortRam(8 * self.lanes,
                                                              self.steps // self.candidates)
            part, vector = divmod(k, self.vectors_per_word)
            read_addr = Signal.like(bank.read_addr, name=f"read_addr_{k}_{c}", reset_less=True)
            m.d.sync += [
                bank.write_en.eq(self.write_en & (self.write_part == part)
                                 & (self.write_addr[:bits] == c)),
                read_addr.eq(self.read_step[bits:] + self.read_addresses[k]),
            ]
            m.d.comb += [
                bank.write_addr.eq(write_addr[bits:]),
                bank.write_data.eq(write_data.word_select(vector, 8 * self.lanes)),
                bank.read_addr.eq(read_addr),
            ]
            outputs.append(bank.read_data)
        m.d.comb += self.read_data.eq(Cat(outputs))
        return m


class Fill(wiring.Component):
    """Executes FILL: copies tiles of B from the pool to the operand buffer, a word a cycle.

    A tile's tokens are given once its last word is in the buffer.

    Parameters
    ----------
    pool_bits, word_bits, operand_bits : :class:`int`
        Widths of a pool address, a pool word and an operand buffer address.
    step_words : :class:`int`
        Words of a step.
    latency : :class:`int`
        Cycles from a pool request to its word; sizes the queue of requests under way.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.FILL)))`
    tokens : :py:`Out(TokenPort())`
    blocked : :py:`Out(32)`
        Tokens for which the engine waits.
    pool : :py:`Out(PoolReader)`
    write_en, write_addr, write_part, write_data
        To the operand buffer.
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle at the end of an instruction.
    """

    def __init__(self, *, pool_bits: int, word_bits: int, operand_bits: int, step_words: int,
                 latency: int):
        self.step_words = step_words
        self.latency = latency
        self._target = data.StructLayout({
            "addr": operand_bits, "part": range(step_words), "end_tile": 1, "end": 1,
        })
        super().__init__({
            "i":          In(stream.Signature(instruction_layout(Opcode.FILL))),
            "tokens":     Out(TokenPort()),
            "blocked":    Out(32),
            "pool":       Out(PoolReader(pool_bits, word_bits)),
            "write_en":   Out(1),
            "write_addr": Out(operand_bits),
            "write_part": Out(range(step_words)),
            "write_data": Out(word_bits),
            "busy":       Out(1),
            "retired":    Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        m.submodules.targets = targets = StreamFifo(self._target, depth=self.latency + 4)
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        job = Signal(instruction_layout(Opcode.FILL))
        source = Signal.like(self.pool.request.p)
        source_tile = Signal.like(source)
        target = Signal(self._target)
        target_tile = Signal.like(target.addr)
        tiles, steps, copying = Signal(16), Signal(16), Signal()
        m.d.comb += [
            self.pool.request.valid.eq(copying & targets.i.ready),
            targets.i.valid.eq(copying & self.pool.request.ready),
            gate.header.eq(job.header),
            self.blocked.eq(gate.blocked),
            self.pool.request.p.eq(source),
            target.end_tile.eq((steps == 1) & (target.part == self.step_words - 1)),
            target.end.eq(tiles == 1),
            targets.i.p.eq(target),
        ]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    job.eq(self.i.p), gate.first.eq(1), tiles.eq(self.i.p.count),
                    source_tile.eq(self.i.p.pool), target_tile.eq(self.i.p.operand),
                ]
                with m.If(self.i.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += gate.request.eq(1)
                m.d.sync += [
                    source.eq(source_tile), steps.eq(job.steps),
                    target.addr.eq(target_tile), target.part.eq(0),
                ]
                with m.If(gate.granted):
                    m.d.sync += [
                        copying.eq(1), gate.first.eq(0),
                        source_tile.eq(source_tile + job.pool_stride),
                        target_tile.eq(target_tile + job.stride),
                    ]
                    m.next = "COPY"
            with m.State("COPY"):
                with m.If(self.pool.request.ready & targets.i.ready):
                    m.d.sync += [source.eq(source + 1), target.part.eq(target.part + 1)]
                    with m.If(target.part == self.step_words - 1):
                        m.d.sync += [target.part.eq(0), target.addr.eq(target.addr + 1),
                                     steps.eq(steps - 1)]
                    with m.If(target.end_tile):
                        m.d.sync += [tiles.eq(tiles - 1), copying.eq(0)]
                        m.next = "WAIT"
                        with m.If(target.end):
                            m.next = "FINISH"
            with m.State("FINISH"):
                with m.If(self.retired):
                    m.next = "IDLE"

        arrived = targets.o.p
        m.d.comb += [
            targets.o.ready.eq(self.pool.valid),
            self.write_en.eq(self.pool.valid),
            self.write_addr.eq(arrived.addr),
            self.write_part.eq(arrived.part),
            self.write_data.eq(self.pool.data),
            gate.last.eq(arrived.end),
            gate.done.eq(self.pool.valid & arrived.end_tile),
            self.retired.eq(gate.done & arrived.end),
        ]
        return m
