"""The core: engines, memories and array, connected."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .array import Array as SystolicArray
from .axi import Axi4
from .delay import delay
from .dma import Load, Store
from .drain import Drain
from .fifo import StreamFifo
from .geometry import Geometry
from .isa import TOKENS, Queue
from .matmul import Matmul
from .operand import Fill, OperandBuffer
from .scratchpad import Scratchpad
from .sequencer import Sequencer
from .tokens import Tokens

__all__ = ["Core", "Error", "error_layout"]


class Error(enum.IntEnum):
    """Values of the field ``ERROR.code``."""

    NONE = 0
    READ = 1
    WRITE = 2
    OPCODE = 3


def error_layout(address_bits: int) -> data.StructLayout:
    """What went wrong: an :class:`Error` code, and of a transfer the AXI response and burst."""
    return data.StructLayout({"code": 4, "response": 2, "port": 2, "address": address_bits})


def _posted_by(queue: Queue) -> int:
    return 0xFF << 8 * queue


class Core(wiring.Component):
    """All engines and memories; executes one program when told to.

    Members
    -------
    start : :py:`In(1)`
        Run ``length`` instructions at ``program``; all addresses are relative to ``base``.
    stop : :py:`In(1)`
        Begin no further AXI burst.
    busy : :py:`Out(1)`
        Some instruction is not yet completed.
    quiet : :py:`Out(1)`
        No AXI transfer is under way.
    error : Out
        What goes wrong in this cycle (:func:`error_layout`).
    axi : :py:`Out(Axi4(...)).array(ports)`
    step, wait_dma, wait_operands, wait_drain : :py:`Out(1)`
        What the array does in this cycle.
    read_beats, write_beats : Out
        AXI beats in this cycle.
    retired : :py:`Out(4)`
        Instructions completed in this cycle, by queue.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        super().__init__({
            "start":         In(1),
            "stop":          In(1),
            "base":          In(g.address_bits),
            "program":       In(32),
            "length":        In(32),
            "busy":          Out(1),
            "quiet":         Out(1),
            "error":         Out(error_layout(g.address_bits)),
            "axi":           Out(Axi4(g.address_bits, g.dma_bytes)).array(g.dma_ports),
            "step":          Out(1),
            "wait_dma":      Out(1),
            "wait_operands": Out(1),
            "wait_drain":    Out(1),
            "read_beats":    Out(range(g.dma_ports + 1)),
            "write_beats":   Out(range(g.dma_ports + 1)),
            "retired":       Out(len(Queue)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._place(m)
        self._connect_transfers(m)
        self._connect_array(m)
        self._connect_tokens(m)
        self._report(m)
        return m

    def _place(self, m: Module) -> None:
        g = self.geometry
        addresses = {"pool_bits": g.pool_bits, "operand_bits": g.operand_bits}
        m.submodules.sequencer = self._sequencer = Sequencer(
            address_bits=g.address_bits, beat_bytes=g.dma_bytes, burst_beats=g.burst_beats)
        m.submodules.tokens = self._tokens = Tokens()
        m.submodules.scratchpad = self._scratchpad = Scratchpad(
            g.scratchpad_words, 8 * g.word_bytes, g.scratchpad_banks)
        m.submodules.operand = self._operand = OperandBuffer(
            g.operand_steps, g.depth, g.lanes, g.word_bytes)
        m.submodules.fill = self._fill = Fill(
            **addresses, word_bits=8 * g.word_bytes, step_words=g.step_words,
            latency=Scratchpad.B_LATENCY)
        m.submodules.array = self._array = SystolicArray(g.rows, g.lanes, g.depth, g.contexts)
        m.submodules.matmul = self._matmul = Matmul(
            **addresses, contexts=g.contexts, settle=self._array.accumulate_distance)
        m.submodules.drain = self._drain = Drain(
            rows=g.rows, lanes=g.lanes, depth=g.depth, contexts=g.contexts, pool_bits=g.pool_bits,
            array_latency=self._array.drain_latency,
            settle=self._issue_latency + self._array.drain_distance,
            reuse=self._array.reuse_distance)
        transfer = {"ports": g.dma_ports, "address_bits": g.address_bits,
                    "pool_bits": g.pool_bits, "word_bytes": g.word_bytes,
                    "beat_bytes": g.dma_bytes, "burst_beats": g.burst_beats,
                    "outstanding": g.outstanding}
        m.submodules.load = self._load = Load(**transfer)
        m.submodules.store = self._store = Store(
            **transfer, latency=Scratchpad.B_LATENCY)

    @property
    def _issue_latency(self) -> int:
        """Cycles from the addresses of a step to its operands."""
        return max(Scratchpad.A_LATENCY, OperandBuffer.LATENCY)

    def _connect_transfers(self, m: Module) -> None:
        sequencer, load, store, pool = self._sequencer, self._load, self._store, self._scratchpad
        connections = [
            (load.fetched, sequencer.beats), (sequencer.request, load.fetch),
            (load.pool, pool.load), (store.pool, pool.store), (self._fill.pool, pool.fill),
            (sequencer.load, load.i), (sequencer.fill, self._fill.i),
            (sequencer.compute, self._matmul.i), (sequencer.store, store.i),
        ]
        for one, other in connections:
            wiring.connect(m, one, other)
        for n, axi in enumerate(self.axi):
            for half in (load.axi[n], store.axi[n]):
                for name, member in half.signature.members.items():
                    inner, outer = getattr(half, name), getattr(axi, name)
                    m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.address.eq(self.base + self.program),
            sequencer.length.eq(self.length),
            load.base.eq(self.base),
            store.base.eq(self.base),
            load.stop.eq(self.stop),
            store.stop.eq(self.stop),
        ]

    def _connect_array(self, m: Module) -> None:
        """Issued steps meet their operands at the array; finished tiles go to the drain."""
        issue, array, drain = self._matmul.issue, self._array, self._drain
        operand, pool, fill = self._operand, self._scratchpad, self._fill
        wiring.connect(m, drain.params, pool.params)
        wiring.connect(m, drain.pool, pool.drain)
        for name in ("write_en", "write_addr", "write_part", "write_data"):
            m.d.comb += getattr(operand, name).eq(getattr(fill, name))
        tag = Signal.like(array.tag)
        for name in ("first", "accumulate", "context"):
            m.d.comb += tag[name].eq(getattr(issue, name))
        m.d.comb += [
            tag.last.eq(issue.done),
            pool.a_en.eq(issue.step),
            pool.a_addr.eq(issue.a),
            operand.read_addr.eq(delay(m, issue.b, self._issue_latency - OperandBuffer.LATENCY,
                                         name="b_addr")),
            array.a.eq(delay(m, pool.a_data, self._issue_latency - Scratchpad.A_LATENCY,
                             name="a_data")),
            array.b.eq(operand.read_data),
            array.tag.eq(delay(m, tag, self._issue_latency, name="tag")),
            array.drain.eq(drain.command),
            *(lane.eq(value) for lane, value in zip(drain.i, array.o, strict=True)),
            issue.freed.eq(drain.freed),
            drain.tiles.valid.eq(issue.done & issue.segment.drain),
            *(drain.tiles.p[name].eq(issue.segment[name])
              for name in drain.tiles.p.shape().members),
        ]

    def _connect_tokens(self, m: Module) -> None:
        """A tile gives its tokens once it is drained; one that stays in its context, at once."""
        issue, drain, matmul = self._matmul.issue, self._drain, self._matmul
        port = self._tokens.port
        for queue, engine in ((Queue.LOAD, self._load), (Queue.FILL, self._fill),
                              (Queue.STORE, self._store)):
            wiring.connect(m, engine.tokens, port[queue])
        m.submodules.held_gives = held = StreamFifo(unsigned(TOKENS), depth=4)
        m.d.comb += [
            held.i.valid.eq(issue.done & ~issue.segment.drain & issue.segment.give.any()),
            held.i.payload.eq(issue.segment.give),
            held.o.ready.eq(~drain.give.any()),
            port[Queue.COMPUTE].give.eq(drain.give | Mux(held.o.valid & held.o.ready,
                                                         held.o.payload, 0)),
            port[Queue.COMPUTE].take.eq(matmul.tokens.take),
            matmul.tokens.available.eq(port[Queue.COMPUTE].available),
        ]
        self._held_gives = held

    def _report(self, m: Module) -> None:
        """Tell what the engines do, what the array waits for, and what went wrong first."""
        load, fill, matmul, store = self._load, self._fill, self._matmul, self._store
        issue, lacks = matmul.issue, matmul.blocked
        for_fill = (lacks & _posted_by(Queue.FILL)).any()
        for_transfer = ((lacks & (_posted_by(Queue.LOAD) | _posted_by(Queue.STORE))).any()
                        | (for_fill & (fill.blocked & _posted_by(Queue.LOAD)).any()))
        engines = (self._sequencer, load, fill, matmul, self._drain, store)
        m.d.comb += [
            self.busy.eq(Cat(engine.busy for engine in engines).any()
                         | self._held_gives.level.any()),
            self.quiet.eq(load.idle & store.idle),
            self.step.eq(issue.step),
            self.wait_drain.eq(issue.full),
            self.wait_dma.eq(for_transfer),
            self.wait_operands.eq(for_fill & ~for_transfer),
            self.read_beats.eq(load.beats),
            self.write_beats.eq(store.beats),
            self.retired.eq(Cat(engine.retired for engine in (load, fill, matmul, store))),
        ]
        with m.If(self._sequencer.illegal):
            m.d.comb += self.error.code.eq(Error.OPCODE)
        for code, engine in ((Error.WRITE, store), (Error.READ, load)):
            with m.If(engine.error.valid):
                m.d.comb += [self.error.code.eq(code),
                             *(self.error[name].eq(engine.error[name])
                               for name in ("response", "port", "address"))]
