"""The compute engine: executes MATMUL and ATTEND, a step of the array a cycle."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .attend import Attend
from .fifo import StreamFifo
from .forward import forward
from .isa import TOKENS, Opcode, Queue, queue_layout
from .issue import StepIssuer
from .matmul import Segmenter
from .tokens import TokenPort

__all__ = ["Compute"]


class Compute(wiring.Component):
    """Segments of :class:`Segmenter` and :class:`Attend`, short queues, and :class:`StepIssuer`.

    The queues hide the change of block and of instruction behind the steps of earlier segments.
    The segments of MATMUL and ATTEND never mix: an instruction of the other kind waits until all
    segments of those before it are on their way in the right order.

    Parameters
    ----------
    pool_bits, step_bits : :class:`int`
        Widths of a pool address and of a step address.
    contexts : :class:`int`
        Contexts of the array, a power of two from 4 up: the lower half is a ring for tiles of
        MATMUL and scores, the upper half holds outputs of ATTEND.
    slots, tile_steps : :class:`int`
        As of :class:`~heddle.rtl.attend.Attend`.
    distance, entry
        As of :class:`~heddle.rtl.issue.StepIssuer`.
    channel_words : :class:`int`
        As of :class:`~heddle.rtl.matmul.Segmenter`.

    Members
    -------
    i : :py:`In(stream.Signature(queue_layout(Queue.COMPUTE)))`
    tokens : :py:`Out(TokenPort())`
        Only taken from.
    blocked : :py:`Out(32)`
        Tokens for lack of which the array stood in the cycle before; 0 while segments are queued.
        What the array waits for is told a cycle late by the other members, too.
    block : :py:`Out(stream.Signature(block_layout(pool_bits)))`
        Blocks with lists, in the order of their segments.
    entries : :py:`In(stream.Signature(entry))`
        Their lists (:class:`~heddle.rtl.lists.Lists`).
    issue : :py:`Out(...)`
        Interface of the :class:`StepIssuer` towards array and drain.
    ready : :py:`In(1)`
        The softmax has the probabilities of another tile.
    emptied : :py:`In(1)`
        The drain is done with the oldest output.
    wait_softmax : :py:`Out(1)`
        The array stands for lack of probabilities.
    wait_drain : :py:`Out(1)`
        The array stands for lack of a context.
    wait_list : :py:`Out(1)`
        The array stands for lack of a list.
    busy, retired : Out
        As in the other engines; an instruction retires with its last step, before its drain.
    """

    QUEUE = 4
    """Segments of either kind between walkers and issuer."""

    def __init__(self, *, pool_bits: int, step_bits: int, contexts: int, slots: int,
                 tile_steps: int, distance: int, entry: data.StructLayout, channel_words: int):
        sizes = {"pool_bits": pool_bits, "step_bits": step_bits}
        ring = {"ring": contexts // 2, "context_bits": (contexts - 1).bit_length()}
        self._segmenter = Segmenter(**sizes, **ring, channel_words=channel_words)
        self._attend = Attend(**sizes, contexts=contexts, slots=slots, tile_steps=tile_steps)
        self._issuer = StepIssuer(**sizes, **ring, distance=distance, entry=entry)
        issue = dict(self._issuer.signature.members)
        for name in ("i", "outputs", "entries", "full", "unlisted"):
            del issue[name]
        super().__init__({
            "i":            In(stream.Signature(queue_layout(Queue.COMPUTE))),
            "tokens":       Out(TokenPort()),
            "blocked":      Out(TOKENS),
            "block":        Out(self._segmenter.block.signature),
            "entries":      In(stream.Signature(entry)),
            "issue":        Out(wiring.Signature(issue)),
            "ready":        In(1),
            "emptied":      In(1),
            "wait_softmax": Out(1),
            "wait_drain":   Out(1),
            "wait_list":    Out(1),
            "busy":         Out(1),
            "retired":      Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.segmenter = segmenter = self._segmenter
        m.submodules.attend = attend = self._attend
        m.submodules.issuer = issuer = self._issuer
        segment = issuer.segment.shape()
        m.submodules.outputs = outputs = StreamFifo(segment, depth=self.QUEUE)
        m.submodules.others = others = StreamFifo(segment, depth=self.QUEUE)
        wiring.connect(m, attend.outputs, outputs.i)
        wiring.connect(m, outputs.o, issuer.outputs)
        wiring.connect(m, others.o, issuer.i)
        wiring.connect(m, segmenter.block, wiring.flipped(self.block))
        wiring.connect(m, wiring.flipped(self.entries), issuer.entries)
        forward(m, self.issue.signature, issuer, self.issue)
        self._deal(m, outputs.any)
        self._merge(m, others.i)

        queued = outputs.any | others.any | issuer.step
        starved = Signal()
        m.d.sync += [
            self.blocked.eq(Mux(queued, 0, segmenter.blocked | attend.blocked)),
            starved.eq(attend.starved & ~queued),
            self.wait_drain.eq(issuer.full | (attend.full & ~queued)),
            self.wait_list.eq(issuer.unlisted),
        ]
        m.d.comb += [
            attend.ready.eq(self.ready),
            attend.released.eq(issuer.done & issuer.segment.release),
            attend.emptied.eq(self.emptied),
            self.tokens.take.eq(segmenter.tokens.take | attend.tokens.take),
            segmenter.tokens.available.eq(self.tokens.available),
            attend.tokens.available.eq(self.tokens.available),
            self.wait_softmax.eq(starved & ~self.blocked.any()),
            self.busy.eq(segmenter.busy | attend.busy | queued),
            self.retired.eq(segmenter.retired | attend.retired),
        ]
        return m

    def _deal(self, m: Module, outputs: Value) -> None:
        """Hand each instruction to its walker once those of the other kind cannot be overtaken."""
        segmenter, attend = self._segmenter, self._attend
        for opcode, engine, other, busy in (
                (Opcode.MATMUL, segmenter, attend, attend.busy | outputs),
                (Opcode.ATTEND, attend, segmenter, segmenter.busy)):
            idle = Signal(name=f"others_than_{opcode.name.lower()}_idle")
            m.d.sync += idle.eq(~busy & ~(other.i.valid & other.i.ready))
            turn = (self.i.p.header.opcode == opcode) & idle
            m.d.comb += [engine.i.valid.eq(self.i.valid & turn),
                         engine.i.payload.eq(self.i.payload)]
            with m.If(turn):
                m.d.comb += self.i.ready.eq(engine.i.ready)

    def _merge(self, m: Module, queue: stream.Interface) -> None:
        """Queue products and scores, with the context of the ring that each takes."""
        segmenter, scores = self._segmenter, self._attend.scores
        head = Signal(range(self._segmenter.ring))
        segment = Signal.like(queue.p)
        m.d.comb += [
            segmenter.head.eq(head),
            segment.eq(Mux(segmenter.o.valid, segmenter.o.p, scores.p)),
            queue.p.eq(segment),
            queue.valid.eq(segmenter.o.valid | scores.valid),
            segmenter.o.ready.eq(queue.ready),
            scores.ready.eq(queue.ready & ~segmenter.o.valid),
        ]
        with m.If(segment.fresh):
            m.d.comb += queue.p.context.eq(head)
            with m.If(queue.valid & queue.ready):
                m.d.sync += head.eq(head + 1)
