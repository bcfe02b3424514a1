"""Turns the loop nest of a transfer into AXI bursts."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .tokens import Gate, TokenPort

__all__ = ["LoopNest", "Splitter", "Walker", "item_layout", "row_layout"]


def row_layout(offset_bits: int, pool_bits: int) -> data.StructLayout:
    """Payload of a row, or of the end of an iteration if ``end``.

    A row has ``words`` words, from word ``offset`` of the DRAM image and from word ``pool`` of the
    scratchpad. An end gives the tokens ``give``, and completes the instruction if ``retire``.
    """
    return data.StructLayout({
        "offset": offset_bits,
        "pool":   pool_bits,
        "words":  16,
        "end":    1,
        "give":   TOKENS,
        "retire": 1,
    })


def item_layout(address_bits: int, pool_bits: int, burst_words: int) -> data.StructLayout:
    """Payload of a burst, or of the end of an iteration if ``end``.

    A burst has ``words`` words (less one), from AXI address ``address`` and from word ``pool`` of
    the scratchpad. An end is as in :func:`row_layout`.
    """
    return data.StructLayout({
        "address": address_bits,
        "pool":    pool_bits,
        "words":   range(burst_words),
        "end":     1,
        "give":    TOKENS,
        "retire":  1,
    })


class LoopNest(wiring.Component):
    """Walks iterations and rows of LOAD and STORE, and marks the end of each iteration.

    An iteration starts when its tokens are there. With ``n`` rows it takes at least ``n + 3``
    cycles. An instruction without any iteration, row or word passes as a single iteration without
    rows: it waits for its tokens and gives them, and moves nothing.

    Parameters
    ----------
    pool_bits : :class:`int`
        Width of a scratchpad address.
    word_bytes : :class:`int`
        Bytes of a word; a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.LOAD)))`
        Instructions. The next one is taken when all rows of this one are out.
    o : :py:`Out(stream.Signature(row_layout(...)))`
        The rows of an iteration and then its end, in order.
    tokens : :py:`Out(TokenPort())`
        Only taken from: the tokens to give travel with the ends.
    blocked : :py:`Out(32)`
        Tokens for which the next iteration waits.
    """

    def __init__(self, *, pool_bits: int, word_bytes: int):
        self._word_shift = (word_bytes - 1).bit_length()
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.LOAD))),
            "o":       Out(stream.Signature(row_layout(32 - self._word_shift, pool_bits))),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.gate = gate = Gate()
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        job = Signal(instruction_layout(Opcode.LOAD))
        row = Signal(self.o.p.shape(), reset_less=True)
        offset, pool = Signal.like(row.offset), Signal.like(row.pool)
        iterations, rows, turn = Signal(16), Signal(16), Signal(16)
        empty = Signal()
        m.d.sync += empty.eq((job.count == 0) | (job.rows == 0) | (job.words == 0))
        m.d.comb += [
            gate.header.eq(job.header),
            gate.last.eq(empty | (iterations == 1)),
            self.blocked.eq(gate.blocked),
            self.o.p.eq(row),
            self.o.p.end.eq(0),
            self.o.p.words.eq(job.words),
            self.o.p.give.eq(gate.posts),
            self.o.p.retire.eq(gate.last),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    job.eq(self.i.p), gate.first.eq(1), turn.eq(1), iterations.eq(self.i.p.count),
                    offset.eq(self.i.p.dram >> self._word_shift), pool.eq(self.i.p.pool),
                ]
                with m.If(self.i.valid):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += gate.request.eq(1)
                m.d.sync += [row.offset.eq(offset), row.pool.eq(pool), rows.eq(job.rows)]
                with m.If(gate.granted):
                    m.d.sync += [
                        gate.first.eq(0), turn.eq(turn + 1), pool.eq(pool + job.pool_stride),
                        offset.eq(offset + (job.dram_stride >> self._word_shift)),
                    ]
                    with m.If(turn == job.ring):
                        m.d.sync += [turn.eq(1), pool.eq(job.pool)]
                    m.next = "ROWS"
                    with m.If(empty):
                        m.next = "END"
            with m.State("ROWS"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        rows.eq(rows - 1), row.pool.eq(row.pool + job.pool_row_stride),
                        row.offset.eq(row.offset + (job.dram_row_stride >> self._word_shift)),
                    ]
                    with m.If(rows == 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.o.valid.eq(1), self.o.p.end.eq(1)]
                with m.If(self.o.ready):
                    m.d.sync += iterations.eq(iterations - 1)
                    m.next = "WAIT"
                    with m.If(gate.last):
                        m.next = "IDLE"
        return m


class Splitter(wiring.Component):
    """Splits rows into bursts that end at multiples of the longest burst; a burst a cycle.

    The longest burst divides 4 KB, so no burst crosses such a boundary.

    Parameters
    ----------
    address_bits, pool_bits : :class:`int`
        Widths of an AXI address and of a scratchpad address.
    word_bytes : :class:`int`
        Bytes of a word; a power of two.
    burst_words : :class:`int`
        Words of the longest burst; a power of two.

    Members
    -------
    base : :py:`In(address_bits)`
        Address of word 0 of the DRAM image; a multiple of a word.
    i : :py:`In(stream.Signature(row_layout(...)))`
    o : :py:`Out(stream.Signature(item_layout(...)))`
        Bursts and ends, two cycles after their row at the earliest.
    """

    def __init__(self, *, address_bits: int, pool_bits: int, word_bytes: int, burst_words: int):
        self.burst_words = burst_words
        self._word_shift = (word_bytes - 1).bit_length()
        super().__init__({
            "base": In(address_bits),
            "i":    In(stream.Signature(row_layout(32 - self._word_shift, pool_bits))),
            "o":    Out(stream.Signature(item_layout(address_bits, pool_bits, burst_words))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        phase_bits = (self.burst_words - 1).bit_length()
        row, item = (Signal(port.p.shape(), reset_less=True) for port in (self.i, self.o))
        row_valid = Signal()
        start, here = (Signal(len(self.base) - self._word_shift, name=name, reset_less=True)
                       for name in ("start", "here"))
        # Words of the row beyond the burst, less one; so it is negative in the row's last burst.
        beyond = Signal(signed(18), reset_less=True)
        take, last, phase = Signal(), Signal(), here[:phase_bits]
        m.d.comb += [
            self.i.ready.eq(~row_valid | take),
            take.eq(row_valid & (~self.o.valid | (self.o.ready & last))),
            last.eq(item.end | beyond[-1]),
            self.o.p.eq(item),
            self.o.p.address.eq(here << self._word_shift),
            self.o.p.words.eq(Mux(last, beyond[:phase_bits], self.burst_words - 1) - phase),
        ]
        with m.If(self.i.ready):
            m.d.sync += [row_valid.eq(self.i.valid), row.eq(self.i.p),
                         start.eq((self.base >> self._word_shift) + self.i.p.offset)]
        with m.If(take):
            m.d.sync += [
                self.o.valid.eq(1), here.eq(start), item.pool.eq(row.pool),
                beyond.eq(start[:phase_bits] + row.words - (self.burst_words + 1)),
                item.end.eq(row.end), item.give.eq(row.give), item.retire.eq(row.retire),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.o.valid & ~last), beyond.eq(beyond - self.burst_words),
                here.eq(Cat(Const(0, phase_bits), here[phase_bits:] + 1)),
                item.pool.eq(item.pool + self.o.p.words + 1),
            ]
        return m


class Walker(wiring.Component):
    """:class:`LoopNest`, :class:`Splitter` and a short queue: from instructions to bursts.

    A long row gives a burst a cycle, a row of a single burst at most one a cycle. The queue hides
    the start of an iteration or of an instruction behind the bursts before it.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.LOAD)))`
    base : :py:`In(address_bits)`
    o : :py:`Out(stream.Signature(item_layout(...)))`
    tokens, blocked : Out
        As in :class:`LoopNest`.
    """

    DEPTH = 4
    """Bursts in the queue."""

    def __init__(self, *, address_bits: int, pool_bits: int, word_bytes: int, burst_words: int):
        self._nest = LoopNest(pool_bits=pool_bits, word_bytes=word_bytes)
        self._splitter = Splitter(address_bits=address_bits, pool_bits=pool_bits,
                                  word_bytes=word_bytes, burst_words=burst_words)
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.LOAD))),
            "base":    In(address_bits),
            "o":       Out(stream.Signature(item_layout(address_bits, pool_bits, burst_words))),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.nest = nest = self._nest
        m.submodules.splitter = splitter = self._splitter
        m.submodules.queue = queue = StreamFifo(self.o.p.shape(), depth=self.DEPTH)
        wiring.connect(m, wiring.flipped(self.i), nest.i)
        wiring.connect(m, nest.tokens, wiring.flipped(self.tokens))
        wiring.connect(m, nest.o, splitter.i)
        wiring.connect(m, splitter.o, queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        m.d.comb += [splitter.base.eq(self.base), self.blocked.eq(nest.blocked)]
        return m
