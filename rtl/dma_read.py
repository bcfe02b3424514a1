"""The parts of the AXI read ports: bursts in flight, where they land, and the way to the pool."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4Read
from .fifo import StreamFifo
from .scratchpad import PoolWriter
from .walker import item_layout

__all__ = ["ReadBuffer", "ReadMerge", "ReadPort", "burst_layout", "word_layout"]


def burst_layout(address_bits: int) -> data.StructLayout:
    """Payload of a read burst: ``address`` and ``beats`` (less one)."""
    return data.StructLayout({"address": address_bits, "beats": 8})


def word_layout(pool_bits: int, word_bits: int) -> data.StructLayout:
    """Payload of a word ``data`` for pool address ``addr``, or of an iteration's ``end``."""
    return data.StructLayout({"addr": pool_bits, "data": word_bits, "end": 1})


class ReadPort(wiring.Component):
    """Issues read bursts on one AXI port, several in flight, and returns their beats in order.

    Its beats cannot be held up (RREADY is always high): who asks for a burst has room for it.
    EXOKAY counts as success, for the data are valid; no burst asks for exclusive access.

    Parameters
    ----------
    address_bits, beat_bytes : :class:`int`
        Width of an address, bytes of a beat.
    outstanding : :class:`int`
        Bursts in flight at most.

    Members
    -------
    request : :py:`In(stream.Signature(burst_layout(address_bits)))`
        Bursts, each in the cycle after one in which the port was ready and took none, whatever
        ``ready`` says by then: it is low while a ``fetch`` waits. With ``stop`` a burst is lost.
    fetch : :py:`In(1)`
        A burst of the program waits; it is the payload of ``request`` unless that is valid.
    fetching : :py:`Out(1)`
        That burst is taken.
    valid, data, fetched : Out
        A beat, one cycle after it was transferred; and ``fetch`` of its burst.
    axi : :py:`Out(Axi4Read(...))`
    stop : :py:`In(1)`
        Take no further burst.
    idle : :py:`Out(1)`
        No burst is in flight.
    failed : :py:`Out(1)`
        The beat came with an error ``response``; its burst began at ``address``.
    response, address : Out
    """

    def __init__(self, *, address_bits: int, beat_bytes: int, outstanding: int):
        self.outstanding = outstanding
        super().__init__({
            "request":  In(stream.Signature(burst_layout(address_bits))),
            "fetch":    In(1),
            "fetching": Out(1),
            "valid":    Out(1),
            "data":     Out(8 * beat_bytes),
            "fetched":  Out(1),
            "axi":      Out(Axi4Read(address_bits, beat_bytes)),
            "stop":     In(1),
            "idle":     Out(1),
            "failed":   Out(1),
            "response": Out(2),
            "address":  Out(address_bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        axi, request = self.axi, self.request
        m.submodules.flight = flight = StreamFifo(data.StructLayout({
            "address": len(axi.araddr), "fetch": 1}), depth=self.outstanding)
        # A burst may wait while another is offered to the memory.
        spare, spared = Signal.like(request.p, reset_less=True), Signal()
        room = ~spared & flight.i.ready & ~self.stop
        begin = request.valid & ~self.stop | self.fetch & room
        m.d.comb += [
            axi.arsize.eq((axi.signature.data_bytes - 1).bit_length()),
            axi.arburst.eq(1),
            axi.arcache.eq(0b0011),
            axi.rready.eq(1),
            request.ready.eq(room & ~self.fetch),
            self.fetching.eq(self.fetch & room & ~request.valid),
            flight.i.valid.eq(begin),
            flight.i.p.address.eq(request.p.address),
            flight.i.p.fetch.eq(~request.valid),
            flight.o.ready.eq(axi.rvalid & axi.rlast),
            self.idle.eq(~flight.any),
        ]
        m.d.sync += [
            self.valid.eq(axi.rvalid),
            self.data.eq(axi.rdata),
            self.fetched.eq(flight.o.p.fetch),
            self.failed.eq(axi.rvalid & axi.rresp[1]),
            self.response.eq(axi.rresp),
            self.address.eq(flight.o.p.address),
        ]
        with m.If(~axi.arvalid | axi.arready):
            m.d.sync += [axi.arvalid.eq(spared | begin), spared.eq(0),
                         Cat(axi.araddr, axi.arlen).eq(Mux(spared, spare, request.p))]
        with m.Elif(begin):
            m.d.sync += [spared.eq(1), spare.eq(request.p)]
        return m


class ReadBuffer(wiring.Component):
    """Room for the bursts of a port: takes beats as they come and gives whole words.

    Parameters
    ----------
    address_bits, pool_bits : :class:`int`
        Widths of an AXI address and of a scratchpad address.
    word_bytes, beat_bytes : :class:`int`
        Bytes of a word and of a beat; powers of two.
    burst_words : :class:`int`
        Words of the longest burst; a power of two.
    depth : :class:`int`
        Words in the buffer; a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(item_layout(...)))`
        Bursts and ends, as the outputs of a :class:`~heddle.rtl.dealer.Dealer`. ``ready`` does not
        depend on ``valid``.
    request : :py:`Out(stream.Signature(burst_layout(address_bits)))`
        The burst is passed on in the cycle in which it is taken. It is valid only in the cycle
        after one in which it was ready.
    valid, data : In
        A beat of the bursts, in their order.
    o : :py:`Out(stream.Signature(word_layout(...)))`
        Words and ends, in the order of ``i``.
    """

    def __init__(self, *, address_bits: int, pool_bits: int, word_bytes: int, beat_bytes: int,
                 burst_words: int, depth: int):
        self.beat_bytes = beat_bytes
        self.word_beats = word_bytes // beat_bytes
        self.burst_words = burst_words
        self.depth = depth
        super().__init__({
            "i":       In(stream.Signature(item_layout(address_bits, pool_bits, burst_words))),
            "request": Out(stream.Signature(burst_layout(address_bits))),
            "valid":   In(1),
            "data":    In(8 * beat_bytes),
            "o":       Out(stream.Signature(word_layout(pool_bits, 8 * word_bytes))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.order = order = StreamFifo(data.StructLayout({
            "pool": len(self.i.p.pool), "words": len(self.i.p.words), "end": 1}), depth=self.depth)
        room = Signal(range(self.depth + 1), init=self.depth)
        words = Signal(range(self.depth + 1))
        nth = Signal.like(self.i.p.words)
        burst, word = Signal(), Signal()
        written, oldest = self._memory(m, word)
        m.d.comb += [
            self.i.ready.eq(order.i.ready & (self.i.p.end | (self.request.ready
                                                             & (room >= self.burst_words)))),
            burst.eq(self.i.valid & ~self.i.p.end),
            self.request.valid.eq(burst),
            self.request.p.address.eq(self.i.p.address),
            self.request.p.beats.eq(self.i.p.words * self.word_beats + (self.word_beats - 1)),
            order.i.valid.eq(self.i.valid),
            order.i.p.pool.eq(self.i.p.pool),
            order.i.p.words.eq(self.i.p.words),
            order.i.p.end.eq(self.i.p.end),
            self.o.valid.eq(order.o.valid & (order.o.p.end | words.any())),
            self.o.p.end.eq(order.o.p.end),
            self.o.p.addr.eq(order.o.p.pool + nth),
            self.o.p.data.eq(oldest),
            word.eq(self.o.valid & self.o.ready & ~order.o.p.end),
            order.o.ready.eq(self.o.ready & (order.o.p.end | (word & (nth == order.o.p.words)))),
        ]
        m.d.sync += [
            room.eq(room + word - Mux(burst, self.i.p.words + 1, 0)),
            words.eq(words + written - word),
        ]
        with m.If(word):
            m.d.sync += nth.eq(Mux(order.o.ready, 0, nth + 1))
        return m

    def _memory(self, m: Module, read: Signal) -> tuple[Signal, Value]:
        """Pack beats into words; return when one is complete, and the oldest one until ``read``."""
        word_shape = data.ArrayLayout(8 * self.beat_bytes, self.word_beats)
        m.submodules.memory = ram = memory.Memory(shape=word_shape, depth=self.depth, init=[])
        writer, reader = ram.write_port(granularity=1), ram.read_port(domain="comb")
        beat = Signal(range(self.word_beats))
        written = Signal()
        m.d.comb += [
            writer.en.eq(self.valid << beat),
            writer.data.eq(self.data.replicate(self.word_beats)),
            written.eq(self.valid & (beat == self.word_beats - 1)),
        ]
        m.d.sync += [
            beat.eq(beat + self.valid),
            writer.addr.eq(writer.addr + written),
            reader.addr.eq(reader.addr + read),
        ]
        return written, Value.cast(reader.data)


class ReadMerge(wiring.Component):
    """Merges the words of all ports into one stream of writes, a word a cycle.

    Parameters
    ----------
    ports : :class:`int`
        Number of ports; a power of two.
    pool_bits, word_bits : :class:`int`
        Widths of a scratchpad address and of a word.

    Members
    -------
    i : :py:`In(stream.Signature(word_layout(pool_bits, word_bits))).array(ports)`
        The ports are asked in rotation; ``ready`` does not depend on ``valid``.
    pool : :py:`Out(PoolWriter(pool_bits, word_bits))`
    passed : :py:`Out(ports)`
        An end of that port has passed: the pool has taken all words before it.
    """

    DEPTH = 4
    """Words that wait for the pool."""

    def __init__(self, ports: int, *, pool_bits: int, word_bits: int):
        super().__init__({
            "i":      In(stream.Signature(word_layout(pool_bits, word_bits))).array(ports),
            "pool":   Out(PoolWriter(pool_bits, word_bits)),
            "passed": Out(ports),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        request = self.pool.request
        # Two queues that go in step, as the one for the data may be a block RAM, which is slow.
        m.submodules.queue = queue = StreamFifo(data.StructLayout({
            "addr": request.p.addr.shape(), "word": 1, "passed": len(self.passed)}),
            depth=self.DEPTH)
        m.submodules.data = words = StreamFifo(request.p.data.shape(), depth=self.DEPTH)
        turn = Signal(range(len(self.passed)))
        m.d.sync += turn.eq(turn + queue.i.ready)
        for n, port in enumerate(self.i):
            m.d.comb += [
                port.ready.eq(queue.i.ready & ((turn == n) | port.p.end)),
                queue.i.p.passed[n].eq(port.valid & port.p.end),
            ]
            with m.If(turn == n):
                m.d.comb += [
                    queue.i.p.word.eq(port.valid & ~port.p.end),
                    queue.i.p.addr.eq(port.p.addr),
                    words.i.p.eq(port.p.data),
                ]
        m.d.comb += [
            queue.i.valid.eq(queue.i.p.word | queue.i.p.passed.any()),
            words.i.valid.eq(queue.i.valid),
            queue.o.ready.eq(request.ready | ~queue.o.p.word),
            words.o.ready.eq(queue.o.ready),
            request.valid.eq(queue.o.valid & queue.o.p.word),
            request.p.addr.eq(queue.o.p.addr),
            request.p.data.eq(words.o.p),
        ]
        m.d.sync += self.passed.eq(Mux(queue.o.valid & queue.o.ready, queue.o.p.passed, 0))
        return m
