"""The parts of the AXI write ports: words from the pool, bursts in flight, their responses."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4Write
from .fifo import StreamFifo
from .scratchpad import PoolReader
from .walker import item_layout

__all__ = ["Gather", "WritePort", "gather_layout"]


def gather_layout(pool_bits: int, burst_words: int, ports: int) -> data.StructLayout:
    """Payload of a burst to gather: ``words`` (less one) from ``pool``, for AXI port ``port``."""
    return data.StructLayout({"pool": pool_bits, "words": range(burst_words),
                              "port": range(ports)})


class Gather(wiring.Component):
    """Reads the words of bursts from the pool, a word a cycle, each for the port of its burst.

    Parameters
    ----------
    ports : :class:`int`
        Number of AXI ports.
    pool_bits, word_bits : :class:`int`
        Widths of a scratchpad address and of a word.
    burst_words : :class:`int`
        Words of the longest burst.
    latency : :class:`int`
        Cycles from a pool request to its word; sizes the queue of requests under way.
    bursts : :class:`int`
        Bursts that may wait for their turn.

    Members
    -------
    i : :py:`In(stream.Signature(gather_layout(...)))`
        Bursts whose port has room for them. Always ready while no more than ``bursts`` wait.
    pool : :py:`Out(PoolReader(pool_bits, word_bits))`
    valid : :py:`Out(ports)`
        The word of ``pool`` is for that port.
    last : :py:`Out(1)`
        It is the last one of a burst.
    """

    DEPTH = 4
    """Requests that wait for the pool."""

    def __init__(self, ports: int, *, pool_bits: int, word_bits: int, burst_words: int,
                 latency: int, bursts: int):
        self.latency = latency
        self.bursts = bursts
        super().__init__({
            "i":     In(stream.Signature(gather_layout(pool_bits, burst_words, ports))),
            "pool":  Out(PoolReader(pool_bits, word_bits)),
            "valid": Out(ports),
            "last":  Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.bursts = bursts = StreamFifo(self.i.p.shape(), depth=self.bursts + 1)
        m.submodules.order = order = StreamFifo(data.StructLayout({
            "port": range(len(self.valid)), "last": 1}), depth=self.latency + 2 * self.DEPTH)
        m.submodules.requests = requests = StreamFifo(self.pool.request.p.shape(), depth=self.DEPTH)
        wiring.connect(m, wiring.flipped(self.i), bursts.i)
        wiring.connect(m, requests.o, wiring.flipped(self.pool.request))
        burst = bursts.o
        nth = Signal.like(burst.p.words)
        last, load = Signal(), Signal()
        m.d.comb += [
            last.eq(nth == burst.p.words),
            load.eq(burst.valid & order.i.ready & requests.i.ready),
            burst.ready.eq(load & last),
            requests.i.valid.eq(load),
            requests.i.payload.eq(burst.p.pool + nth),
            order.i.valid.eq(load),
            order.i.p.port.eq(burst.p.port),
            order.i.p.last.eq(last),
            order.o.ready.eq(self.pool.valid),
            self.valid.eq(self.pool.valid << order.o.p.port),
            self.last.eq(order.o.p.last),
        ]
        with m.If(load):
            m.d.sync += nth.eq(Mux(last, 0, nth + 1))
        return m


class WritePort(wiring.Component):
    """Issues write bursts on one AXI port, each when all its words are here, several in flight.

    So the data of a burst never wait once it has begun. EXOKAY counts as success; no burst asks
    for exclusive access.

    Parameters
    ----------
    address_bits, pool_bits : :class:`int`
        Widths of an AXI address and of a scratchpad address.
    word_bytes, beat_bytes : :class:`int`
        Bytes of a word and of a beat; powers of two.
    burst_words : :class:`int`
        Words of the longest burst; a power of two.
    outstanding : :class:`int`
        Bursts in flight at most.

    Members
    -------
    i : :py:`In(stream.Signature(item_layout(...)))`
        Bursts and ends. ``ready`` does not depend on ``valid``.
    valid, last, data : In
        A word of the bursts, in their order; the last one of a burst.
    axi : :py:`Out(Axi4Write(...))`
    stop : :py:`In(1)`
        Take and begin no further burst.
    idle : :py:`Out(1)`
        No burst is in flight.
    passed : :py:`Out(1)`
        An end has passed: all bursts before it are answered.
    failed : :py:`Out(1)`
        The answer to the burst at ``address`` was an error ``response``.
    response, address : Out
    """

    BURSTS = 8
    """Longest bursts that the buffer holds: enough to hide the latency of the pool."""

    def __init__(self, *, address_bits: int, pool_bits: int, word_bytes: int, beat_bytes: int,
                 burst_words: int, outstanding: int):
        self.beat_bytes = beat_bytes
        self.word_beats = word_bytes // beat_bytes
        self.burst_words = burst_words
        self.outstanding = outstanding
        self.depth = self.BURSTS * burst_words
        super().__init__({
            "i":        In(stream.Signature(item_layout(address_bits, pool_bits, burst_words))),
            "valid":    In(1),
            "last":     In(1),
            "data":     In(8 * word_bytes),
            "axi":      Out(Axi4Write(address_bits, beat_bytes)),
            "stop":     In(1),
            "idle":     Out(1),
            "passed":   Out(1),
            "failed":   Out(1),
            "response": Out(2),
            "address":  Out(address_bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        axi = self.axi
        m.submodules.waiting = waiting = StreamFifo(data.StructLayout({
            "address": len(axi.awaddr), "words": len(self.i.p.words), "end": 1}), depth=self.depth)
        room = Signal(range(self.depth + 1), init=self.depth)
        complete = Signal(range(self.depth + 1))
        in_flight = Signal(range(self.outstanding + 1))
        begin = Signal()
        ahead, word = self._data(m, begin, waiting.o.p.words)
        flight = self._responses(m)
        m.d.comb += [
            self.i.ready.eq(waiting.i.ready
                            & (self.i.p.end | ((room >= self.burst_words) & ~self.stop))),
            waiting.i.valid.eq(self.i.valid & self.i.ready),
            waiting.i.p.address.eq(self.i.p.address),
            waiting.i.p.words.eq(self.i.p.words),
            waiting.i.p.end.eq(self.i.p.end),
            begin.eq(waiting.o.valid & ~waiting.o.p.end & complete.any() & ~ahead & ~axi.awvalid
                     & (in_flight != self.outstanding) & flight.ready & ~self.stop),
            waiting.o.ready.eq(begin | (waiting.o.p.end & flight.ready)),
            flight.valid.eq(waiting.o.valid & waiting.o.ready),
            flight.p.address.eq(waiting.o.p.address),
            flight.p.end.eq(waiting.o.p.end),
            self.idle.eq(in_flight == 0),
            axi.awsize.eq((self.beat_bytes - 1).bit_length()),
            axi.awburst.eq(1),
            axi.awcache.eq(0b0011),
        ]
        m.d.sync += [
            room.eq(room + word - Mux(waiting.i.valid & ~self.i.p.end, self.i.p.words + 1, 0)),
            complete.eq(complete + (self.valid & self.last) - begin),
            in_flight.eq(in_flight + begin - axi.bvalid),
        ]
        with m.If(begin):
            m.d.sync += [
                axi.awvalid.eq(1), axi.awaddr.eq(waiting.o.p.address),
                axi.awlen.eq(waiting.o.p.words * self.word_beats + (self.word_beats - 1)),
            ]
        with m.Elif(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        return m

    def _data(self, m: Module, begin: Value, words: Value) -> tuple[Value, Value]:
        """Buffer words and send the beats of the bursts that ``begin``.

        Return whether a burst waits for the end of the one before it, and whether a word leaves
        the buffer.
        """
        axi = self.axi
        word_shape = data.ArrayLayout(8 * self.beat_bytes, self.word_beats)
        m.submodules.memory = ram = memory.Memory(shape=word_shape, depth=self.depth, init=[])
        writer, reader = ram.write_port(), ram.read_port(domain="comb")
        left = Signal(range(self.burst_words * self.word_beats + 1))
        beat = Signal(range(self.word_beats))
        ahead = Signal()
        ahead_beats = Signal.like(left)
        advance, send, last, word = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            writer.en.eq(self.valid),
            writer.data.eq(self.data),
            advance.eq(~axi.wvalid | axi.wready),
            send.eq(advance & left.any()),
            last.eq(left == 1),
            word.eq(send & (beat == self.word_beats - 1)),
            axi.wstrb.eq(~0),
        ]
        m.d.sync += [writer.addr.eq(writer.addr + self.valid), reader.addr.eq(reader.addr + word)]
        with m.If(advance):
            m.d.sync += [axi.wvalid.eq(left.any()), axi.wlast.eq(last),
                         axi.wdata.eq(reader.data[beat])]
        with m.If(~left.any() | (send & last)):
            m.d.sync += [left.eq(Mux(ahead, ahead_beats, 0)), ahead.eq(0)]
        with m.Elif(send):
            m.d.sync += left.eq(left - 1)
        with m.If(begin):
            m.d.sync += [ahead.eq(1), ahead_beats.eq((words + 1) * self.word_beats)]
        m.d.sync += beat.eq(beat + send)
        return ahead, word

    def _responses(self, m: Module):
        """Match responses with bursts; return the stream that takes bursts and ends in order."""
        depth = 2 * self.outstanding  # of each burst in flight an end, too
        m.submodules.flight = flight = StreamFifo(data.StructLayout({
            "address": len(self.address), "end": 1}), depth=depth)
        # Ends may hold answers up, but there are never more answers than bursts in the other queue.
        m.submodules.answers = answers = StreamFifo(unsigned(2), depth=depth)
        m.d.comb += [
            self.axi.bready.eq(1),
            answers.i.valid.eq(self.axi.bvalid),
            answers.i.payload.eq(self.axi.bresp),
            answers.o.ready.eq(flight.o.valid & ~flight.o.p.end),
            flight.o.ready.eq(flight.o.p.end | answers.o.valid),
            self.passed.eq(flight.o.valid & flight.o.p.end),
            self.failed.eq(answers.o.valid & answers.o.ready & answers.o.payload[1]),
            self.response.eq(answers.o.payload),
            self.address.eq(flight.o.p.address),
        ]
        return flight.i
