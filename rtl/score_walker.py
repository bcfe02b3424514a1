"""The first walk over the key tiles of an ATTEND: the products of queries and keys."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .drain import Route
from .heads import HeadAddress, run_layout
from .isa import TOKENS, Opcode, instruction_layout
from .segment import segment_layout
from .tokens import Gate, TokenPort

__all__ = ["ScoreWalker"]


class ScoreWalker(wiring.Component):
    """The first walk: a segment for the scores of each key tile, as long as there are slots.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.ATTEND)))`
    tokens : :py:`Out(TokenPort())`
        Only taken from.
    blocked : :py:`Out(32)`
        Tokens for which the instruction waits.
    o : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments, for the next context of the ring.
    run : :py:`Out(stream.Signature(run_layout(pool_bits)))`
        For the second walk, before the first segment.
    released : :py:`In(1)`
        The probabilities of a tile were used for the last time.
    busy : :py:`Out(1)`
        An instruction is in execution.
    """

    def __init__(self, *, pool_bits: int, step_bits: int, context_bits: int, slots: int):
        self.pool_bits = pool_bits
        self.slots = slots
        self._segment = segment_layout(pool_bits, step_bits, context_bits)
        super().__init__({
            "i":        In(stream.Signature(instruction_layout(Opcode.ATTEND))),
            "tokens":   Out(TokenPort()),
            "blocked":  Out(TOKENS),
            "o":        Out(stream.Signature(self._segment)),
            "run":      Out(stream.Signature(run_layout(pool_bits))),
            "released": In(1),
            "busy":     Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        m.submodules.keys = keys = HeadAddress(self.pool_bits)
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        job = Signal(instruction_layout(Opcode.ATTEND))
        segment = self.o.p
        a, mask, q = Signal.like(segment.a), Signal.like(segment.a), Signal.like(segment.b)
        jobs, tiles = Signal(16), Signal(16)
        first, last = Signal(), tiles == 1
        used = Signal(range(self.slots + 1))
        emitted = self.o.valid & self.o.ready
        m.d.sync += used.eq(used + emitted - self.released)
        m.d.comb += [
            gate.header.eq(job.header), gate.first.eq(1), gate.last.eq(1),
            *(taken.token.eq(Mux(wait.each, 0, wait.token))  # the others are for the second walk
              for taken, wait in zip(gate.header.waits, job.header.waits, strict=True)),
            self.blocked.eq(gate.blocked),
            keys.base.eq(job.k), keys.stride.eq(job.k_head_stride), keys.group.eq(job.group),
            *(self.run.p[name].eq(job[name]) for name in self.run.p.shape().members
              if name not in ("waits", "give")),
            self.run.p.waits.eq(job.header.waits), self.run.p.give.eq(gate.posts),
            segment.a.eq(a), segment.b.eq(q), segment.steps.eq(job.steps), segment.fresh.eq(1),
            segment.drain.eq(1), segment.route.eq(Route.SOFTMAX), segment.masked.eq(job.masked),
            segment.channels.eq(mask), segment.begin.eq(job.begin & first),
            segment.end.eq(job.end & last), segment.multiplier.eq(job.multiplier),
            segment.multiplier_shift.eq(job.shift), segment.gain.eq(job.gain),
            segment.gain_shift.eq(job.gain_shift),
        ]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [job.eq(self.i.p), q.eq(self.i.p.q), jobs.eq(self.i.p.jobs)]
                with m.If(self.i.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [gate.request.eq(1), keys.start.eq(1)]
                with m.If(gate.granted):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.run.valid.eq(1)
                with m.If(self.run.ready):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.sync += [a.eq(keys.address), mask.eq(job.mask), tiles.eq(job.tiles),
                             first.eq(1)]
                m.d.comb += keys.advance.eq(1)
                m.next = "TILES"
            with m.State("TILES"):
                m.d.comb += self.o.valid.eq(used != self.slots)
                with m.If(emitted):
                    m.d.sync += [a.eq(a + job.k_stride), mask.eq(mask + job.mask_stride),
                                 tiles.eq(tiles - 1), first.eq(0)]
                    with m.If(last):
                        m.d.sync += [q.eq(q + job.q_head_stride), jobs.eq(jobs - 1)]
                        m.next = "HEAD"
                        with m.If(jobs == 1):
                            m.next = "IDLE"
        return m
