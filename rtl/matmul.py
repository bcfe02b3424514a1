"""Executes MATMUL: its loop nest becomes segments, and its lists are asked for."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .drain import Route
from .isa import TOKENS, Opcode, instruction_layout
from .list_loader import block_layout
from .segment import segment_layout
from .tokens import Gate, TokenPort

__all__ = ["Segmenter"]


class Segmenter(wiring.Component):
    """Walks the loop nest of a MATMUL and makes a segment of each (block, tile).

    Contexts are taken in a ring; an accumulating instruction visits again those that the last
    fresh instruction took, in the same order.

    Parameters
    ----------
    pool_bits, step_bits, context_bits : :class:`int`
        Widths in a segment.
    ring : :class:`int`
        Contexts in the ring: numbers 0, 1, …; a power of two.
    channel_words : :class:`int`
        Words between the last step of a block and its list.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.MATMUL)))`
    head : :py:`In(range(ring))`
        The next context of the ring, which a fresh segment takes as it leaves.
    o : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments; between blocks, one is missing for the time that the tokens take.
    block : :py:`Out(stream.Signature(block_layout(pool_bits)))`
        The block whose segments come next, if it has a list. Its segments do not wait for this.
    tokens : :py:`Out(TokenPort())`
        Only taken from: the tokens to give travel with the segments.
    blocked : :py:`Out(32)`
        Tokens for which the next block waits.
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle when the last segment of an instruction is out.
    """

    def __init__(self, *, pool_bits: int, step_bits: int, context_bits: int, ring: int,
                 channel_words: int):
        self.ring = ring
        self.channel_words = channel_words
        self._segment = segment_layout(pool_bits, step_bits, context_bits)
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.MATMUL))),
            "head":    In(range(ring)),
            "o":       Out(stream.Signature(self._segment)),
            "block":   Out(stream.Signature(block_layout(pool_bits))),
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
        first, held = Signal(range(self.ring)), Signal(range(self.ring))
        c_block = Signal.like(segment.c)
        blocks, tiles, ring, last = Signal(16), Signal(16), Signal(16), Signal()
        end_block = tiles == job.tiles
        block = self.block
        m.d.comb += [
            gate.header.eq(job.header),
            gate.last.eq(last),
            self.blocked.eq(gate.blocked),
            self.o.p.eq(segment),
            self.o.p.context.eq(Mux(segment.fresh, self.head, held)),
            self.o.p.give.eq(Mux(end_block, gate.posts, 0)),
        ]
        with m.If(block.ready):
            m.d.sync += block.valid.eq(0)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [job.eq(self.i.p), gate.first.eq(1), blocks.eq(1), ring.eq(0)]
                with m.If(self.i.valid):
                    m.next = "SETUP"
            with m.State("SETUP"):
                fresh = ~job.accumulate
                m.d.sync += [
                    segment.a.eq(job.a), segment.steps.eq(job.steps), c_block.eq(job.c),
                    segment.listed.eq(job.listed),
                    segment.fresh.eq(fresh), segment.accumulate.eq(job.accumulate),
                    segment.drain.eq(job.drain), segment.route.eq(Route.REQUANTISE),
                    segment.layout.eq(job.layout), segment.activation.eq(job.activation),
                    segment.part_stride.eq(job.c_part_stride), held.eq(first),
                ]
                with m.If(fresh):
                    m.d.sync += first.eq(self.head)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += gate.request.eq(~block.valid)
                m.d.sync += [last.eq(blocks == job.blocks),
                             segment.b.eq(job.b), segment.c.eq(c_block), tiles.eq(1),
                             segment.channels.eq(segment.a + job.steps)]
                with m.If(gate.granted):
                    m.d.sync += [
                        blocks.eq(blocks + 1), ring.eq(ring + 1), gate.first.eq(0),
                        block.valid.eq(job.listed), block.p.wide.eq(job.wide),
                        block.p.gaps.eq(segment.channels + self.channel_words),
                        block.p.steps.eq(job.steps), block.p.tiles.eq(job.tiles),
                    ]
                    m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        tiles.eq(tiles + 1), held.eq(held + 1),
                        segment.b.eq(segment.b + job.b_stride),
                        segment.c.eq(segment.c + job.c_tile_stride),
                    ]
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
