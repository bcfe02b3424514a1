"""Reads runs of small fields that lie packed in pool words, one field a cycle."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .scratchpad import PoolReader

__all__ = ["FieldReader", "field_layout", "fields_layout"]


def fields_layout(pool_bits: int, sizes: int) -> data.StructLayout:
    """A run of fields: ``steps`` of them from word ``addr`` on, of the size numbered ``size``."""
    return data.StructLayout({"addr": pool_bits, "steps": 16, "size": range(sizes)})


def field_layout(bits: int, sizes: int) -> data.StructLayout:
    """A field, with what follows it above its own bits, and whether it is the first of its run."""
    return data.StructLayout({"bits": bits, "size": range(sizes), "first": 1})


class FieldReader(wiring.Component):
    """Hands out the fields of runs, one a cycle across words and runs.

    Fields lie in words from the lowest bits up; a run starts with a word. Requests run ahead by as
    many words as the queue holds.

    Parameters
    ----------
    sizes : tuple of :class:`int`
        Bits that a field may have; powers of two of which each divides a word.
    words : :class:`int`
        Words that wait at most.
    pool_bits, word_bits : :class:`int`
        Widths of a pool address and of a pool word.

    Members
    -------
    i : :py:`In(stream.Signature(fields_layout(...)))`
        Runs, of at least one field.
    pool : :py:`Out(PoolReader(pool_bits, word_bits))`
    o : :py:`Out(stream.Signature(field_layout(...)))`
    ending : :py:`Out(1)`
        High for one cycle for each run: its last word has come, and from the third cycle on its
        fields come without a pause as they are taken, once the runs before it have ended.
    """

    def __init__(self, sizes: tuple[int, ...], *, words: int, pool_bits: int, word_bits: int):
        self.sizes = sizes
        self.words = words
        self.word_bits = word_bits
        super().__init__({
            "i":      In(stream.Signature(fields_layout(pool_bits, len(sizes)))),
            "pool":   Out(PoolReader(pool_bits, word_bits)),
            "o":      Out(stream.Signature(field_layout(max(sizes), len(sizes)))),
            "ending": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        most = self.word_bits // min(self.sizes)
        part = data.StructLayout({"steps": range(most + 1), "size": range(len(self.sizes)),
                                  "first": 1, "last": 1})
        m.submodules.asked = asked = StreamFifo(part, depth=self.words)
        m.submodules.words = words = StreamFifo(
            data.StructLayout({"fields": self.word_bits, "part": part}), depth=self.words)
        self._request(m, asked.i, self._unpack(m, words.o))
        m.d.comb += [
            asked.o.ready.eq(self.pool.valid),
            words.i.valid.eq(self.pool.valid),
            words.i.p.fields.eq(self.pool.data), words.i.p.part.eq(asked.o.p),
            self.ending.eq(self.pool.valid & asked.o.p.last),
        ]
        return m

    def _request(self, m: Module, part: stream.Interface, loads: Value) -> None:
        """Ask for the words of runs, and note how many fields of what size each will have."""
        request = self.pool.request
        left, size, first = Signal(16), Signal.like(self.i.p.size), Signal()
        room = Signal(range(self.words + 1), init=self.words)
        # ``free`` and ``loaded`` are a cycle late, which only delays requests.
        free, asked, active, last, loaded = Signal(), Signal(), Signal(), Signal(), Signal()
        fields = Array(self.word_bits // bits for bits in self.sizes)
        full = fields[size]
        m.d.comb += [
            request.valid.eq(active & free),
            asked.eq(request.valid & request.ready),
            self.i.ready.eq(~active),
            part.valid.eq(asked),
            part.p.steps.eq(Mux(last, left, full)),
            part.p.size.eq(size), part.p.first.eq(first), part.p.last.eq(last),
        ]
        m.d.sync += [loaded.eq(loads), room.eq(room + loaded - asked),
                     free.eq((room > 1) | (room.any() & ~asked))]
        with m.If(asked):
            m.d.sync += [request.p.eq(request.p + 1), first.eq(0), active.eq(~last),
                         left.eq(left - full), last.eq(left <= full << 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [request.p.eq(self.i.p.addr), left.eq(self.i.p.steps), active.eq(1),
                         last.eq(self.i.p.steps <= fields[self.i.p.size]),
                         size.eq(self.i.p.size), first.eq(1)]

    def _unpack(self, m: Module, word: stream.Interface) -> Value:
        """Shift the fields out of words; return whether another word is taken."""
        part = word.p.part
        shifted = Signal(self.word_bits, reset_less=True)
        left = Signal.like(part.steps)
        size, first = Signal.like(part.size), Signal()
        loads, some = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(some),
            self.o.p.bits.eq(shifted), self.o.p.size.eq(size), self.o.p.first.eq(first),
            word.ready.eq(~some | (left == 1) & self.o.ready),
            loads.eq(word.valid & word.ready),
        ]
        with m.If(loads):
            m.d.sync += [shifted.eq(word.p.fields), left.eq(part.steps), size.eq(part.size),
                         first.eq(part.first), some.eq(1)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [shifted.eq(Array(shifted >> bits for bits in self.sizes)[size]),
                         left.eq(left - 1), first.eq(0), some.eq(left != 1)]
        return loads
