"""Reads what NORM needs of a tile: its two inputs and the parameters, in both passes."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import Opcode, instruction_layout
from .norm_format import first_layout
from .scratchpad import PoolReader

__all__ = ["NormReader", "group_layout"]

_PARAMETER_BITS = first_layout.size


def group_layout(lanes: int, word_bits: int) -> data.StructLayout:
    """A word of each input, with the parameters of its vectors."""
    vectors = word_bits // (8 * lanes)
    return data.StructLayout({"x": word_bits, "o": word_bits, "params": vectors * _PARAMETER_BITS})


class NormReader(wiring.Component):
    """Requests the words of a tile as far ahead as there is room, and puts them together.

    Parameters
    ----------
    lanes : :class:`int`
        Bytes of a vector.
    pool_bits, word_bits : :class:`int`
        Widths of a pool address and of a pool word.
    depth : :class:`int`
        Words that are under way or have come but are not yet put together.

    Members
    -------
    start : :py:`In(1)`
        Read a tile; the one before must have been read.
    job : :py:`In(instruction_layout(Opcode.NORM))`
        With the addresses of this tile; stable while it is read.
    pool : :py:`Out(PoolReader(pool_bits, word_bits))`
    groups : :py:`Out(stream.Signature(group_layout(lanes, word_bits)))`
        The words of the tile, once a pass. ``o`` is of no account unless ``residual``.
    """

    def __init__(self, *, lanes: int, pool_bits: int, word_bits: int, depth: int = 16):
        self.depth = depth
        # Words of inputs that share a word of parameters, or words of parameters that they take.
        self.shared = max(1, lanes // 8)
        self.each = max(1, 8 // lanes)
        self._kind = data.StructLayout({"params": 1, "x": 1, "last": 1})
        super().__init__({
            "start":  In(1),
            "job":    In(instruction_layout(Opcode.NORM)),
            "pool":   Out(PoolReader(pool_bits, word_bits)),
            "groups": Out(stream.Signature(group_layout(lanes, word_bits))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.kinds = kinds = StreamFifo(self._kind, depth=self.depth + 1)
        m.submodules.words = words = StreamFifo(
            data.StructLayout({"word": len(self.pool.data), "kind": self._kind}), depth=self.depth)
        asked = self.pool.request.valid & self.pool.request.ready
        taken = words.o.valid & words.o.ready
        room = Signal(range(self.depth + 1), init=self.depth)
        free = Signal()  # a cycle late, which only delays requests
        m.d.sync += [room.eq(room + taken - asked),
                     free.eq((room > 1) | (room.any() & ~asked))]
        m.d.comb += [
            kinds.i.valid.eq(asked),
            kinds.o.ready.eq(self.pool.valid),
            words.i.valid.eq(self.pool.valid),
            words.i.p.word.eq(self.pool.data), words.i.p.kind.eq(kinds.o.p),
        ]
        self._ask(m, free, asked, kinds.i.p)
        self._join(m, words.o, taken)
        return m

    def _ask(self, m: Module, free: Value, asked: Value, kind: data.View) -> None:
        """Request parameters where they are due, then a word of each input, and so on."""
        request, job = self.pool.request, self.job
        x, o, params = (Signal.like(request.p, name=name, reset_less=True)
                        for name in ("x", "o", "params"))
        left = Signal(16, reset_less=True)  # groups of the pass
        turn = Signal(range(max(self.shared, self.each)), reset_less=True)
        # What is not idle is a register of its own, as it lies in front of the pool's arbiter.
        second, active = Signal(), Signal()

        def end_group() -> None:
            m.d.sync += [left.eq(left - 1), turn.eq(turn + 1)]
            m.next = "X"
            with m.If(turn == self.shared - 1):
                m.d.sync += turn.eq(0)
                m.next = "PARAMS"
            with m.If(left == 1):
                m.d.sync += [second.eq(1), left.eq(job.words), turn.eq(0), x.eq(job.x), o.eq(job.o)]
                m.next = "PARAMS"
                with m.If(second | ~job.norm):
                    m.d.sync += active.eq(0)
                    m.next = "IDLE"

        m.d.comb += request.valid.eq(active & free)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [second.eq(0), left.eq(job.words), turn.eq(0),
                             x.eq(job.x), o.eq(job.o), params.eq(job.params)]
                with m.If(self.start):
                    m.d.sync += active.eq(1)
                    m.next = "PARAMS"
            with m.State("PARAMS"):
                m.d.comb += [request.p.eq(params), kind.params.eq(1)]
                with m.If(asked):
                    m.d.sync += [params.eq(params + 1), turn.eq(turn + 1)]
                    with m.If(turn == self.each - 1):
                        m.d.sync += turn.eq(0)
                        m.next = "X"
            with m.State("X"):
                m.d.comb += [request.p.eq(x), kind.x.eq(1), kind.last.eq(~job.residual)]
                with m.If(asked):
                    m.d.sync += x.eq(x + 1)
                    m.next = "O"
                    with m.If(~job.residual):
                        end_group()
            with m.State("O"):
                m.d.comb += [request.p.eq(o), kind.last.eq(1)]
                with m.If(asked):
                    m.d.sync += o.eq(o + 1)
                    end_group()

    def _join(self, m: Module, words: stream.Interface, taken: Value) -> None:
        """Keep the words of a group until it is complete and taken."""
        word, kind = words.p.word, words.p.kind
        group, passed = self.groups.p, self.groups.valid & self.groups.ready
        table = Signal(max(len(word), len(group.params)), reset_less=True)
        place = Signal(range(len(table) // len(group.params)), reset_less=True)
        x, o = (Signal(len(word), name=name, reset_less=True) for name in ("x", "o"))
        m.d.comb += [
            words.ready.eq(~self.groups.valid | self.groups.ready),
            group.x.eq(x),
            group.o.eq(o),
            group.params.eq(table.word_select(place, len(group.params))),
        ]
        with m.If(passed):
            m.d.sync += [self.groups.valid.eq(0), place.eq(place + 1)]
        with m.If(taken):
            m.d.sync += self.groups.valid.eq(kind.last)
            with m.If(kind.params):
                m.d.sync += [table.eq(Cat(table, word)[-len(table):]), place.eq(0)]
            with m.Elif(kind.x):
                m.d.sync += x.eq(word)
            with m.Else():
                m.d.sync += o.eq(word)
