"""The engine of the queue FILL: copies to the operand buffer, and normalisation in the pool."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .forward import forward
from .isa import Opcode, Queue, queue_layout
from .norm import Norm
from .operand import Fill
from .scratchpad import PoolWriter

__all__ = ["Staging"]


class Staging(wiring.Component):
    """:class:`~heddle.rtl.operand.Fill` and :class:`~heddle.rtl.norm.Norm`, one at a time.

    An instruction begins when the one before has ended, so both share a port to read the pool, and
    one may read what the other has written.

    Parameters
    ----------
    lanes : :class:`int`
        Tokens of a tile.
    pool_bits, word_bits, operand_bits, step_words, latency : :class:`int`
        As of :class:`~heddle.rtl.operand.Fill`.

    Members
    -------
    i : :py:`In(stream.Signature(queue_layout(Queue.FILL)))`
    target : :py:`Out(PoolWriter(pool_bits, word_bits))`
        Results of NORM.
    tokens, blocked, pool, write_en, write_addr, write_part, write_data, busy, retired : Out
        As of :class:`~heddle.rtl.operand.Fill`.
    """

    def __init__(self, *, lanes: int, pool_bits: int, word_bits: int, **fill: int):
        self._fill = Fill(pool_bits=pool_bits, word_bits=word_bits, **fill)
        self._norm = Norm(lanes=lanes, pool_bits=pool_bits, word_bits=word_bits)
        super().__init__(dict(self._fill.signature.members) | {
            "i":      In(stream.Signature(queue_layout(Queue.FILL))),
            "target": Out(PoolWriter(pool_bits, word_bits)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.fill = fill = self._fill
        m.submodules.norm = norm = self._norm
        wiring.connect(m, norm.target, wiring.flipped(self.target))
        forward(m, wiring.Signature({
            name: member for name, member in fill.signature.members.items()
            if name.startswith("write")}), fill, self)

        pool = self.pool
        for opcode, engine, source, other in (
                (Opcode.FILL, fill, fill.pool, norm), (Opcode.NORM, norm, norm.source, fill)):
            mine = (self.i.p.header.opcode == opcode) & ~other.busy
            m.d.comb += [
                engine.i.valid.eq(self.i.valid & mine),
                engine.i.p.eq(self.i.p),
                engine.tokens.available.eq(self.tokens.available),
                source.request.ready.eq(pool.request.ready),
                source.valid.eq(pool.valid & engine.busy),
                source.data.eq(pool.data),
            ]
            with m.If(mine):
                m.d.comb += self.i.ready.eq(engine.i.ready)
            with m.If(source.request.valid):  # one of them at most
                m.d.comb += [pool.request.valid.eq(1), pool.request.p.eq(source.request.p)]
        m.d.comb += [
            self.blocked.eq(fill.blocked | norm.blocked),
            self.tokens.take.eq(fill.tokens.take | norm.tokens.take),
            self.tokens.give.eq(fill.tokens.give | norm.tokens.give),
            self.busy.eq(fill.busy | norm.busy),
            self.retired.eq(fill.retired | norm.retired),
        ]
        return m
