"""A memory of words behind a port without bursts, and what gives it an AXI4 front."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4, Response
from .fifo import StreamFifo

__all__ = ["AxiFront", "WordPort", "request_layout"]


def request_layout(address_bits: int, data_bytes: int) -> data.StructLayout:
    """Access to the word at a byte address, which is a multiple of the word's bytes.

    If ``write``, the bytes with a ``strobe`` become those of ``data``; else both mean nothing.
    """
    return data.StructLayout({"write": 1, "address": address_bits, "data": 8 * data_bytes,
                              "strobe": data_bytes})


class WordPort(wiring.Signature):
    """A manager's access to a memory. Accesses take effect in their order.

    Members
    -------
    request : :py:`Out(stream.Signature(request_layout(address_bits, data_bytes)))`
    valid : :py:`In(1)`
        ``data`` is the word of the first read that has not been answered. It cannot be held up.
    data : :py:`In(8 * data_bytes)`
    """

    def __init__(self, address_bits: int, data_bytes: int):
        self.address_bits = address_bits
        self.data_bytes = data_bytes
        super().__init__({
            "request": Out(stream.Signature(request_layout(address_bits, data_bytes))),
            "valid":   In(1),
            "data":    In(8 * data_bytes),
        })


class AxiFront(wiring.Component):
    """An AXI4 subordinate, and a second way in, before one memory of words.

    The bursts of the manager are those of this project: INCR, full beats, aligned, in order. Reads,
    writes and the host take turns, burst by burst, a word each cycle if the memory takes it. A
    burst that does not begin within the memory is answered with DECERR and changes nothing.

    Parameters
    ----------
    address_bits : :class:`int`
        Width of an AXI4 address.
    data_bytes : :class:`int`
        Bytes a beat, and a word.
    size : :class:`int`
        Bytes of the memory, which begins at address 0; a power of two from 4096 up.
    outstanding : :class:`int`
        Bursts that wait in each direction.

    Members
    -------
    axi : :py:`In(Axi4(address_bits, data_bytes))`
    host : :py:`In(WordPort(log2(size), data_bytes))`
        One read at a time: the next request may come when it is answered.
    memory : :py:`Out(WordPort(log2(size), data_bytes))`
    """

    READ_AHEAD = 16
    """Words between a request and the R channel, so that a ready manager can get one a cycle."""

    def __init__(self, *, address_bits: int, data_bytes: int, size: int, outstanding: int = 4):
        if size < 4096 or size & (size - 1):
            raise ValueError(f"Memory must have a power of two of bytes, 4096 or more, not {size}")
        self.size = size
        self.outstanding = outstanding
        port = WordPort((size - 1).bit_length(), data_bytes)
        super().__init__({
            "axi":    In(Axi4(address_bits, data_bytes)),
            "host":   In(port),
            "memory": Out(port),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        burst = Signal(self._burst_layout)
        request, last = self.memory.request, burst.left == 0
        step = Signal()  # a beat of the burst is dealt with
        with m.If(step):
            m.d.sync += [burst.left.eq(burst.left - 1),
                         burst.address.eq(burst.address + self.axi.signature.data_bytes)]
        m.d.comb += request.p.address.eq(burst.address)
        reads, promises = self._read_channels(m)
        writes, answers = self._write_channels(m)
        m.d.comb += [
            promises.i.p.last.eq(last),
            promises.i.p.wrong.eq(burst.wrong),
            answers.i.p.eq(Mux(burst.wrong, Response.DECERR, Response.OKAY)),
        ]
        with m.FSM() as fsm:
            with m.State("WRITES"):
                m.d.comb += writes.o.ready.eq(answers.i.ready)
                m.d.sync += burst.eq(writes.o.p)
                m.next = "HOST"
                with m.If(writes.o.valid & writes.o.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [
                    request.p.write.eq(1),
                    request.p.data.eq(self.axi.wdata),
                    request.p.strobe.eq(self.axi.wstrb),
                    request.valid.eq(self.axi.wvalid & ~burst.wrong),
                    self.axi.wready.eq(request.ready | burst.wrong),
                    step.eq(self.axi.wvalid & self.axi.wready),
                    answers.i.valid.eq(step & last),
                ]
                with m.If(step & last):
                    m.next = "HOST"
            with m.State("HOST"):
                # Only the state tells whose the word of a read is, so all others come first.
                mine = self.host.request.valid & ~promises.any
                m.d.comb += [
                    Value.cast(request.p).eq(self.host.request.p),
                    request.valid.eq(mine),
                    self.host.request.ready.eq(mine & request.ready),
                ]
                with m.If(~self.host.request.valid):
                    m.next = "READS"
                with m.Elif(self.host.request.ready):
                    m.next = "READS"
                    with m.If(~self.host.request.p.write):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.host.valid.eq(self.memory.valid)
                with m.If(self.memory.valid):
                    m.next = "READS"
            with m.State("READS"):
                m.d.comb += reads.o.ready.eq(1)
                m.d.sync += burst.eq(reads.o.p)
                m.next = "WRITES"
                with m.If(reads.o.valid):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += [
                    request.valid.eq(promises.i.ready & ~burst.wrong),
                    step.eq(promises.i.ready & (request.ready | burst.wrong)),
                    promises.i.valid.eq(step),
                ]
                with m.If(step & last):
                    m.next = "WRITES"
        self._answer_reads(m, promises, self.memory.valid & ~fsm.ongoing("ANSWER"))
        m.d.comb += self.host.data.eq(self.memory.data)
        return m

    @property
    def _burst_layout(self) -> data.StructLayout:
        return data.StructLayout({"address": self.memory.signature.address_bits, "left": 8,
                                  "wrong": 1})

    def _bursts(self, m: Module, channel: str) -> StreamFifo:
        """Return the queue of the bursts of an address channel."""
        address, length, valid, ready = (getattr(self.axi, channel + name)
                                         for name in ("addr", "len", "valid", "ready"))
        m.submodules[channel] = bursts = StreamFifo(self._burst_layout, depth=self.outstanding)
        m.d.comb += [
            bursts.i.p.address.eq(address),
            bursts.i.p.left.eq(length),
            bursts.i.p.wrong.eq(address >= self.size),
            bursts.i.valid.eq(valid),
            ready.eq(bursts.i.ready),
        ]
        return bursts

    def _read_channels(self, m: Module) -> tuple[StreamFifo, StreamFifo]:
        """Return the queues of bursts, and of beats that are to be answered."""
        m.submodules.promises = promises = StreamFifo(
            data.StructLayout({"last": 1, "wrong": 1}), depth=self.READ_AHEAD)
        return self._bursts(m, "ar"), promises

    def _answer_reads(self, m: Module, promises: StreamFifo, valid: Value) -> None:
        """Queue the words as they come. There is room: each has its promise."""
        m.submodules.words = words = StreamFifo(len(self.memory.data), depth=self.READ_AHEAD)
        taken = self.axi.rvalid & self.axi.rready
        m.d.comb += [
            words.i.p.eq(self.memory.data),
            words.i.valid.eq(valid),
            self.axi.rvalid.eq(promises.o.valid & (promises.o.p.wrong | words.o.valid)),
            self.axi.rdata.eq(words.o.p),
            self.axi.rlast.eq(promises.o.p.last),
            self.axi.rresp.eq(Mux(promises.o.p.wrong, Response.DECERR, Response.OKAY)),
            promises.o.ready.eq(taken),
            words.o.ready.eq(taken & ~promises.o.p.wrong),
        ]

    def _write_channels(self, m: Module) -> tuple[StreamFifo, StreamFifo]:
        """Return the queues of bursts, and of their responses."""
        m.submodules.answers = answers = StreamFifo(unsigned(2), depth=self.outstanding)
        m.d.comb += [
            self.axi.bvalid.eq(answers.o.valid),
            self.axi.bresp.eq(answers.o.p),
            answers.o.ready.eq(self.axi.bready),
        ]
        return self._bursts(m, "aw"), answers
