"""The second walk over the key tiles of an ATTEND: the weighted sums of values."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .drain import Route
from .heads import HeadAddress, run_layout
from .isa import TOKENS
from .segment import segment_layout
from .tokens import Gate, TokenPort

__all__ = ["OutputWalker"]


class OutputWalker(wiring.Component):
    """The second walk: segments that add the weighted values of each key tile to the output.

    The blocks of a head's output stay in contexts of their own, in either half of those above the
    ring. Heads take the halves in turn.

    Members
    -------
    i : :py:`In(stream.Signature(run_layout(pool_bits)))`
    o : :py:`Out(stream.Signature(segment_layout(...)))`
        Segments.
    tokens : :py:`Out(TokenPort())`
        Only taken from: those of the waits with ``each``.
    blocked : :py:`Out(32)`
        Tokens for which the run waits.
    ready : :py:`In(1)`
        The probabilities of another tile may be read.
    emptied : :py:`In(1)`
        The older half of the outputs was drained.
    starved : :py:`Out(1)`
        The next segment waits for probabilities.
    full : :py:`Out(1)`
        The next segment waits for a half.
    busy : :py:`Out(1)`
        An instruction is in execution.
    retired : :py:`Out(1)`
        High for one cycle when the last segment of an instruction is out.
    """

    def __init__(self, *, pool_bits: int, step_bits: int, contexts: int, slots: int,
                 tile_steps: int):
        self.pool_bits = pool_bits
        self.contexts = contexts
        self.slots = slots
        self.tile_steps = tile_steps
        self._segment = segment_layout(pool_bits, step_bits, (contexts - 1).bit_length())
        super().__init__({
            "i":       In(stream.Signature(run_layout(pool_bits))),
            "o":       Out(stream.Signature(self._segment)),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
            "ready":   In(1),
            "emptied": In(1),
            "starved": Out(1),
            "full":    Out(1),
            "busy":    Out(1),
            "retired": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        m.submodules.values = values = HeadAddress(self.pool_bits)
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        run = Signal(run_layout(self.pool_bits))
        tile, c_head = Signal(self.pool_bits), Signal(self.pool_bits)
        jobs, tiles, blocks = Signal(16), Signal(16), Signal(8)
        last_block, last_tile, last_head = blocks == 1, tiles == 1, jobs == 1
        first, half = Signal(), Signal()
        block = Signal(range(self.contexts // 4))
        slot = Signal(range(self.slots))
        available, held = Signal(range(self.slots + 1)), Signal(range(3))
        takes, opens, closes = Signal(), Signal(), Signal()
        m.d.comb += [
            gate.header.waits.eq(run.waits), self.blocked.eq(gate.blocked),
            values.base.eq(run.v), values.stride.eq(run.v_head_stride),
            values.group.eq(run.group), opens.eq(run.begin & first),
        ]
        m.d.sync += [
            available.eq(available + self.ready - takes),
            held.eq(held + (takes & opens) - self.emptied),
            half.eq(half ^ closes),
        ]

        segment = self.o.p
        a, c = Signal.like(segment.a), Signal.like(segment.c)
        m.d.comb += [
            segment.a.eq(a), segment.b.eq(slot * self.tile_steps), segment.probability.eq(1),
            segment.steps.eq(self.tile_steps), segment.accumulate.eq(~opens),
            segment.context.eq(Cat(block, half, 1)), segment.release.eq(last_block),
            segment.drain.eq(run.end & last_tile), segment.route.eq(Route.FACTOR),
            segment.end.eq(segment.drain & last_block), segment.c.eq(c),
            segment.part_stride.eq(run.c_part_stride), segment.layout.eq(run.layout),
            segment.give.eq(Mux(last_block & last_tile & last_head, run.give, 0)),
        ]

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [run.eq(self.i.p), jobs.eq(self.i.p.jobs), c_head.eq(self.i.p.c)]
                with m.If(self.i.valid):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [gate.request.eq(1), values.start.eq(1)]
                with m.If(gate.granted):
                    m.next = "HEAD"
            with m.State("HEAD"):
                m.d.sync += [tile.eq(values.address), tiles.eq(run.tiles), first.eq(1)]
                m.next = "TILE"
            with m.State("TILE"):
                m.d.comb += [
                    self.starved.eq(available == 0),
                    self.full.eq(~self.starved & opens & (held == 2)),
                    takes.eq(~self.starved & ~self.full),
                ]
                m.d.sync += [a.eq(tile), c.eq(c_head), block.eq(0), blocks.eq(run.blocks)]
                with m.If(takes):
                    m.next = "BLOCKS"
            with m.State("BLOCKS"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [a.eq(a + run.v_block_stride), c.eq(c + run.c_stride),
                                 block.eq(block + 1), blocks.eq(blocks - 1)]
                with m.If(self.o.ready & last_block):
                    m.d.sync += [tile.eq(tile + run.v_stride), tiles.eq(tiles - 1), first.eq(0),
                                 slot.eq(slot + 1)]
                    m.next = "TILE"
                    with m.If(last_tile):
                        m.d.comb += [closes.eq(run.end), values.advance.eq(1),
                                     self.retired.eq(last_head)]
                        m.d.sync += [c_head.eq(c_head + run.c_head_stride), jobs.eq(jobs - 1)]
                        m.next = "HEAD"
                        with m.If(last_head):
                            m.next = "IDLE"
        return m
