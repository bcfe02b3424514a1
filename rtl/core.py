"""The core: engines, memories and array, connected."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .array import Array as SystolicArray
from .axi import Axi4
from .cell import NEUTRAL_SHIFT, scale_layout
from .choose import choose
from .compute import Compute
from .delay import delay
from .dma import Load, Store
from .drain import Drain
from .fifo import StreamFifo
from .forward import forward
from .geometry import Geometry
from .isa import TOKENS, Queue
from .lists import Lists
from .operand import OperandBuffer
from .scratchpad import Scratchpad
from .sequencer import Sequencer
from .softmax import Softmax
from .staging import Staging
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
        Some instruction is not yet completed; two cycles after ``start`` at the earliest.
    quiet : :py:`Out(1)`
        No AXI transfer is under way.
    error : Out
        What goes wrong in this cycle (:func:`error_layout`).
    axi : :py:`Out(Axi4(...)).array(ports)`
    step, wait_dma, wait_operands, wait_drain, wait_softmax : :py:`Out(1)`
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
            "wait_softmax":  Out(1),
            "read_beats":    Out(range(g.dma_ports + 1)),
            "write_beats":   Out(range(g.dma_ports + 1)),
            "retired":       Out(len(Queue)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._place(m)
        self._connect_transfers(m)
        self._connect_steps(m, platform)
        self._connect_drain(m)
        self._connect_tokens(m)
        self._report(m)
        return m

    def _place(self, m: Module) -> None:
        g = self.geometry
        m.submodules.sequencer = self._sequencer = Sequencer(
            address_bits=g.address_bits, beat_bytes=g.dma_bytes, burst_beats=g.burst_beats)
        m.submodules.tokens = self._tokens = Tokens()
        m.submodules.lists = self._lists = Lists(
            rows=g.rows, depth=g.depth, steps=g.list_steps, candidates=g.candidates,
            selector_bits=g.selector_bits, pool_bits=g.pool_bits)
        m.submodules.scratchpad = self._scratchpad = Scratchpad(
            g.scratchpad_words, 8 * g.word_bytes, g.scratchpad_banks, len(self._lists.pool))
        m.submodules.operand = self._operand = OperandBuffer(
            g.operand_steps, g.depth, g.lanes, g.word_bytes, g.candidates)
        m.submodules.staging = self._staging = Staging(
            lanes=g.lanes, pool_bits=g.pool_bits, operand_bits=g.operand_bits,
            word_bits=8 * g.word_bytes, step_words=g.step_words, latency=Scratchpad.B_LATENCY)
        m.submodules.array = self._array = SystolicArray(
            g.rows, g.lanes, g.depth, g.contexts, g.candidates)
        m.submodules.softmax = self._softmax = Softmax(
            g.rows, g.lanes, g.depth, g.softmax_rows, g.probability_slots)
        m.submodules.compute = self._compute = Compute(
            pool_bits=g.pool_bits, step_bits=g.step_bits, contexts=g.contexts,
            slots=g.probability_slots, tile_steps=g.tile_steps,
            distance=self._array.accumulate_distance, entry=self._lists.o.p.shape(),
            channel_words=g.channel_words)
        m.submodules.drain = self._drain = Drain(
            rows=g.rows, lanes=g.lanes, depth=g.depth, contexts=g.contexts,
            softmax_rows=g.softmax_rows, end_distance=Softmax.END_DISTANCE, pool_bits=g.pool_bits,
            array_latency=self._array.drain_latency,
            # The drain gets a tile a cycle after its last step.
            settle=self._issue_latency + self._array.drain_distance - 1,
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
        return max(Scratchpad.A_LATENCY, OperandBuffer.LATENCY, Softmax.READ_LATENCY)

    def _connect_transfers(self, m: Module) -> None:
        sequencer, load, store, pool = self._sequencer, self._load, self._store, self._scratchpad
        staging = self._staging
        connections = [
            (self._compute.block, self._lists.i), (self._lists.o, self._compute.entries),
            *zip(self._lists.pool, pool.lists),
            (load.fetched, sequencer.beats), (sequencer.request, load.fetch),
            (load.pool, pool.load), (store.pool, pool.store),
            (staging.pool, pool.fill), (staging.target, pool.norm),
            (sequencer.load, load.i), (sequencer.fill, staging.i),
            (sequencer.compute, self._compute.i), (sequencer.store, store.i),
        ]
        for one, other in connections:
            wiring.connect(m, one, other)
        for n, axi in enumerate(self.axi):
            for half in (load.axi[n], store.axi[n]):
                forward(m, half.signature, half, axi)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.address.eq(self.base + self.program),
            sequencer.length.eq(self.length),
            load.base.eq(self.base),
            store.base.eq(self.base),
            load.stop.eq(self.stop),
            store.stop.eq(self.stop),
        ]

    def _connect_steps(self, m: Module, platform) -> None:
        """Issued steps meet their operands at the array; B has two sources."""
        g, issue, array = self.geometry, self._compute.issue, self._array
        operand, pool, softmax = self._operand, self._scratchpad, self._softmax
        latency = self._issue_latency
        for name in ("write_en", "write_addr", "write_part", "write_data"):
            m.d.comb += getattr(operand, name).eq(getattr(self._staging, name))
        tag = Signal.like(array.tag)
        for name in ("first", "accumulate", "context"):
            m.d.comb += tag[name].eq(getattr(issue, name))
        m.d.comb += [
            tag.last.eq(issue.done),
            pool.a_en.eq(issue.step),
            pool.a_addr.eq(issue.a),
            operand.read_step.eq(delay(m, issue.b, latency - OperandBuffer.LATENCY,
                                       name="operand_step")),
            operand.read_addresses.eq(delay(m, issue.entry.addresses,
                                            latency - OperandBuffer.LATENCY,
                                            name="operand_addresses")),
            softmax.read_addr.eq(delay(m, issue.b, latency - Softmax.READ_LATENCY,
                                       name="probability_addr")),
            array.tag.eq(delay(m, tag, latency, name="tag")),
        ]
        self._connect_weights(m)
        # A register for each of the depth vectors and for the scales keeps the fan-out small.
        early = delay(m, issue.segment.probability, latency - 1, name="probability")
        chosen = [Signal(name=f"probability_{k}", attrs={"keep": "true"})
                  for k in range(g.depth + 1)]
        m.d.sync += [each.eq(early) for each in chosen]
        for k, probability in enumerate(chosen[:-1]):
            weight = softmax.read_data.word_select(k, 8 * g.lanes)
            b, values = (part.word_select(k, 8 * g.lanes * g.candidates)
                         for part in (array.b, operand.read_data))
            m.d.comb += [b.eq(values),
                         b[:8 * g.lanes].eq(choose(m, platform, probability, weight,
                                                   values[:8 * g.lanes], name=f"b_{k}"))]
        neutral = scale_layout.const({"shift": NEUTRAL_SHIFT})
        for scale, weight in zip(array.scale, softmax.scales, strict=True):
            m.d.comb += scale.eq(Mux(chosen[-1], weight, neutral))

    def _connect_weights(self, m: Module) -> None:
        """Weights meet their selectors: those of a list, or the candidate that holds the step."""
        g, issue = self.geometry, self._compute.issue
        own = Mux(issue.segment.probability, 0, issue.b[:g.candidate_bits])
        selectors = Signal.like(issue.entry.selectors)
        m.d.comb += selectors.eq(issue.entry.selectors | own.replicate(g.depth * g.rows))
        selectors = delay(m, selectors, self._issue_latency, name="selectors")
        weights = delay(m, self._scratchpad.a_data, self._issue_latency - Scratchpad.A_LATENCY,
                        name="a_data")
        m.d.comb += self._array.a.eq(Cat(
            Cat(weights.word_select(n, 8), selectors.word_select(n, g.candidate_bits))
            for n in range(g.depth * g.rows)))

    def _connect_drain(self, m: Module) -> None:
        """Finished tiles go to the drain, and scores from there to the softmax."""
        issue, array, drain = self._compute.issue, self._array, self._drain
        pool, softmax = self._scratchpad, self._softmax
        wiring.connect(m, drain.params, pool.params)
        wiring.connect(m, drain.pool, pool.drain)
        m.d.sync += [
            drain.tiles.valid.eq(issue.done & issue.segment.drain),
            *(drain.tiles.p[name].eq(issue.segment[name])
              for name in drain.tiles.p.shape().members),
        ]
        m.d.comb += [
            array.drain.eq(drain.command),
            Cat(drain.i).eq(Cat(array.o)),
            issue.freed.eq(drain.freed),
            softmax.start.eq(drain.softmax_start),
            softmax.tile.eq(drain.softmax_tile),
            softmax.mask.eq(drain.softmax_mask),
            Cat(softmax.scores).eq(Cat(drain.scores)),
            Cat(drain.factors).eq(Cat(softmax.factors)),
            drain.factor_valid.eq(softmax.factor_valid),
            self._compute.ready.eq(softmax.ready),
            self._compute.emptied.eq(drain.emptied),
        ]

    def _connect_tokens(self, m: Module) -> None:
        """A tile gives its tokens once it is drained; one that stays in its context, at once."""
        issue, drain, compute = self._compute.issue, self._drain, self._compute
        port = self._tokens.port
        for queue, engine in ((Queue.LOAD, self._load), (Queue.FILL, self._staging),
                              (Queue.STORE, self._store)):
            wiring.connect(m, engine.tokens, port[queue])
        m.submodules.held_gives = held = StreamFifo(unsigned(TOKENS), depth=4)
        m.d.comb += [
            held.i.valid.eq(issue.done & ~issue.segment.drain & issue.segment.give.any()),
            held.i.payload.eq(issue.segment.give),
            held.o.ready.eq(~drain.give.any()),
            port[Queue.COMPUTE].give.eq(drain.give | Mux(held.o.valid & held.o.ready,
                                                         held.o.payload, 0)),
            port[Queue.COMPUTE].take.eq(compute.tokens.take),
            compute.tokens.available.eq(port[Queue.COMPUTE].available),
        ]
        self._held_gives = held

    def _report(self, m: Module) -> None:
        """Tell what the engines do, what the array waits for, and what went wrong first."""
        load, fill, compute, store = self._load, self._staging, self._compute, self._store
        lacks, fill_lacks = compute.blocked, Signal(TOKENS)
        for_fill = (lacks & _posted_by(Queue.FILL)).any()
        for_transfer = ((lacks & (_posted_by(Queue.LOAD) | _posted_by(Queue.STORE))).any()
                        | (for_fill & (fill_lacks & _posted_by(Queue.LOAD)).any()))
        engines = (self._sequencer, load, fill, compute, self._drain, store)
        under_way = Signal(len(engines) + 1)
        m.d.sync += [
            fill_lacks.eq(fill.blocked),
            under_way.eq(Cat(*(engine.busy for engine in engines), self._held_gives.any)),
        ]
        m.d.comb += [
            self.busy.eq(under_way.any()),
            self.quiet.eq(load.idle & store.idle),
            self.step.eq(compute.issue.step),
            self.wait_drain.eq(compute.wait_drain),
            self.wait_softmax.eq(compute.wait_softmax),
            self.wait_dma.eq(for_transfer),
            self.wait_operands.eq(for_fill & ~for_transfer | compute.wait_list),
            self.read_beats.eq(load.beats),
            self.write_beats.eq(store.beats),
            self.retired.eq(Cat(engine.retired for engine in (load, fill, compute, store))),
        ]
        with m.If(self._sequencer.illegal):
            m.d.comb += self.error.code.eq(Error.OPCODE)
        for code, engine in ((Error.WRITE, store), (Error.READ, load)):
            with m.If(engine.error.valid):
                m.d.comb += [self.error.code.eq(code),
                             *(self.error[name].eq(engine.error[name])
                               for name in ("response", "port", "address"))]
