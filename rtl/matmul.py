"""Executes MATMUL: a loop nest becomes segments, and segments become steps of the array."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .tokens import Gate, TokenPort

__all__ = ["Matmul", "Segmenter", "StepIssuer", "segment_layout"]


def segment_layout(pool_bits: int, operand_bits: int, context_bits: int) -> data.StructLayout:
    """Payload of a segment: the steps that one tile adds to its context, and its drain.

    ``a``, ``b`` address the first step; ``settle`` asks for the array's results to be in the
    contexts before it; ``fresh`` takes a new context (otherwise the segment adds to one that is
    held); ``c``, ``part_stride``, ``channels``, ``layout`` go to the drain, if ``drain``;
    ``give`` are the tokens to post after it.
    """
    return data.StructLayout({
        "a":           pool_bits,
        "b":           operand_bits,
        "steps":       16,
        "context":     context_bits,
        "settle":      1,
        "fresh":       1,
        "drain":       1,
        "c":           pool_bits,
        "part_stride": pool_bits,
        "channels":    pool_bits,
        "layout":      2,
        "give":        TOKENS,
    })


class Segmenter(wiring.Component):
    """Walks the loop nest of a MATMUL and makes a segment of each (block, tile).

    Contexts are taken in a ring; an accumulating instruction visits again those that the last
    fresh instruction took, in the same order.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.MATMUL)))`
    o : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments, at most one every two cycles.
    tokens : :py:`Out(TokenPort())`
        Only taken from: the tokens to give travel with the segments.
    blocked : :py:`Out(32)`
        Tokens for which the next block waits.
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle when the last segment of an instruction is out.
    """

    def __init__(self, *, pool_bits: int, operand_bits: int, contexts: int):
        self.contexts = contexts
        self._segment = segment_layout(pool_bits, operand_bits, (contexts - 1).bit_length())
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.MATMUL))),
            "o":       Out(stream.Signature(self._segment)),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
            "busy":    Out(1),
            "retired": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        job = Signal(instruction_layout(Opcode.MATMUL))
        segment = Signal(self._segment)
        head, held = Signal.like(segment.context), Signal.like(segment.context)
        c_block = Signal.like(segment.c)
        blocks, tiles, ring = Signal(16), Signal(16), Signal(16)
        end_block = tiles == job.tiles
        m.d.comb += [
            gate.header.eq(job.header),
            gate.last.eq(blocks == job.blocks),
            self.blocked.eq(gate.blocked),
            self.o.p.eq(segment),
            self.o.p.give.eq(Mux(end_block, gate.posts, 0)),
        ]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [job.eq(self.i.p), gate.first.eq(1), blocks.eq(0), ring.eq(0)]
                with m.If(self.i.valid):
                    m.next = "SETUP"
            with m.State("SETUP"):
                fresh = ~job.accumulate
                m.d.sync += [
                    segment.a.eq(job.a), segment.steps.eq(job.steps), c_block.eq(job.c),
                    segment.settle.eq(job.accumulate), segment.fresh.eq(fresh),
                    segment.drain.eq(job.drain), segment.layout.eq(job.layout),
                    segment.part_stride.eq(job.c_part_stride),
                    segment.context.eq(Mux(fresh, head, held)),
                ]
                with m.If(fresh):
                    m.d.sync += held.eq(head)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += gate.request.eq(1)
                m.d.sync += [segment.b.eq(job.b), segment.c.eq(c_block), tiles.eq(1),
                             segment.channels.eq(segment.a + job.steps)]
                with m.If(gate.granted):
                    m.d.sync += [blocks.eq(blocks + 1), ring.eq(ring + 1), gate.first.eq(0)]
                    m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        tiles.eq(tiles + 1), segment.settle.eq(0),
                        segment.b.eq(segment.b + job.b_stride),
                        segment.c.eq(segment.c + job.c_tile_stride),
                        segment.context.eq(segment.context + 1),
                    ]
                    with m.If(segment.fresh):
                        m.d.sync += head.eq(segment.context + 1)
                    with m.If(end_block):
                        m.d.sync += [segment.a.eq(segment.a + job.a_stride),
                                     c_block.eq(c_block + job.c_stride)]
                        with m.If(ring == job.a_ring):
                            m.d.sync += [segment.a.eq(job.a), ring.eq(0)]
                        m.d.comb += self.retired.eq(gate.last)
                        m.next = "WAIT"
                        with m.If(gate.last):
                            m.next = "IDLE"
        return m


class StepIssuer(wiring.Component):
    """Issues the steps of segments, one a cycle and back to back.

    A segment starts when a context is free; from then on it never stops, so the array needs no
    enable and nothing to be held up.

    Parameters
    ----------
    contexts : :class:`int`
        Contexts of the array.
    settle : :class:`int`
        Cycles without a step after which all results are in their contexts.

    Members
    -------
    i : :py:`In(stream.Signature(segment_layout(...)))`
    step : :py:`Out(1)`
        ``a``, ``b`` and the tag are those of a step.
    a, b : Out
        Addresses of the step's operands.
    first, last, accumulate, context : Out
        Tag of the step (see :class:`~heddle.rtl.array.Array`).
    done : :py:`Out(1)`
        The step is the last one of ``segment``.
    segment : Out
        The segment in execution.
    freed : :py:`In(1)`
        The drain is done with the oldest context.
    full : :py:`Out(1)`
        A segment waits for a context.
    """

    def __init__(self, *, pool_bits: int, operand_bits: int, contexts: int, settle: int):
        self.contexts = contexts
        self.settle = settle
        context_bits = (contexts - 1).bit_length()
        self._segment = segment_layout(pool_bits, operand_bits, context_bits)
        super().__init__({
            "i":          In(stream.Signature(self._segment)),
            "step":       Out(1),
            "a":          Out(pool_bits),
            "b":          Out(operand_bits),
            "first":      Out(1),
            "last":       Out(1),
            "accumulate": Out(1),
            "context":    Out(context_bits),
            "done":       Out(1),
            "segment":    Out(self._segment),
            "freed":      In(1),
            "full":       Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        segment = Signal(self._segment)
        left = Signal(16)
        used = Signal(range(self.contexts + 1))
        quiet = Signal(range(self.settle + 1))
        start, room, settled = Signal(), Signal(), Signal()
        m.d.comb += [
            room.eq(~self.i.p.fresh | (used != self.contexts)),
            settled.eq(~self.i.p.settle | (quiet == self.settle)),
            start.eq(self.i.valid & room & settled & (~self.step | self.last)),
            self.full.eq(self.i.valid & ~room & ~self.step),
            self.i.ready.eq(start),
            self.last.eq(left == 1),
            self.done.eq(self.step & self.last),
            self.accumulate.eq(~segment.fresh),
            self.context.eq(segment.context),
            self.segment.eq(segment),
        ]
        m.d.sync += used.eq(used + (start & self.i.p.fresh) - self.freed)
        with m.If(self.step):
            m.d.sync += [quiet.eq(0), left.eq(left - 1), self.first.eq(0),
                         self.a.eq(self.a + 1), self.b.eq(self.b + 1)]
        with m.Elif(quiet != self.settle):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(start):
            m.d.sync += [segment.eq(self.i.p), self.a.eq(self.i.p.a), self.b.eq(self.i.p.b),
                         left.eq(self.i.p.steps), self.first.eq(1), self.step.eq(1)]
        with m.Elif(self.last):
            m.d.sync += self.step.eq(0)
        return m


class Matmul(wiring.Component):
    """The compute engine: :class:`Segmenter`, a short queue, and :class:`StepIssuer`.

    The queue hides the change of block and of instruction behind the steps of earlier segments.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.MATMUL)))`
    tokens : :py:`Out(TokenPort())`
        Only taken from.
    blocked : :py:`Out(32)`
        Tokens for lack of which the array stands; 0 while segments are queued.
    issue : :py:`Out(...)`
        Interface of the :class:`StepIssuer` towards array and drain.
    busy, retired : Out
        As in the other engines; an instruction retires with its last step, before its drain.
    """

    QUEUE = 4
    """Segments between the two halves."""

    def __init__(self, *, pool_bits: int, operand_bits: int, contexts: int, settle: int):
        sizes = {"pool_bits": pool_bits, "operand_bits": operand_bits, "contexts": contexts}
        self._segmenter = Segmenter(**sizes)
        self._issuer = StepIssuer(**sizes, settle=settle)
        issue = dict(self._issuer.signature.members)
        del issue["i"]
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.MATMUL))),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
            "issue":   Out(wiring.Signature(issue)),
            "busy":    Out(1),
            "retired": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.segmenter = segmenter = self._segmenter
        m.submodules.issuer = issuer = self._issuer
        m.submodules.queue = queue = StreamFifo(segmenter.o.p.shape(), depth=self.QUEUE)
        wiring.connect(m, wiring.flipped(self.i), segmenter.i)
        wiring.connect(m, segmenter.tokens, wiring.flipped(self.tokens))
        wiring.connect(m, segmenter.o, queue.i)
        wiring.connect(m, queue.o, issuer.i)
        for name, member in self.issue.signature.members.items():
            inner, outer = getattr(issuer, name), getattr(self.issue, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [
            self.blocked.eq(Mux(issuer.step | queue.o.valid, 0, segmenter.blocked)),
            self.busy.eq(segmenter.busy | queue.level.any() | issuer.step),
            self.retired.eq(segmenter.retired),
        ]
        return m
