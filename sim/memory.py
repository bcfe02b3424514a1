"""An AXI4 memory with settable latency and bandwidth, for simulation."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.axi import Axi4, Axi4Read, Axi4Write, Response
from ..rtl.fifo import StreamFifo
from .bucket import Bucket
from .storage import Storage

__all__ = ["AxiMemory", "Settings"]

_INCR = 1
_TIME_BITS = 32
_READ_STAGES = 3
"""Cycles from the grant of a read beat to its offer on the R channel."""
_READ_AHEAD = 8
"""Beats between grant and transfer on the R channel, so that a ready manager gets one a cycle."""


class Settings(wiring.Signature):
    """What may be changed from run to run.

    Members
    -------
    latency : :py:`Out(16)`
        Cycles from a read address to its first beat, and from the last write beat to its response,
        if nothing else holds them up. Below 5 for reads, and 2 for writes, it makes no difference.
    bandwidth : :py:`Out(16)`
        Bytes a cycle of all ports, reads and writes together; 0: as many as the ports carry.
    base : Out
        Address of the first byte of the memory.
    size : :py:`Out(64)`
        Bytes of the memory. Beats beyond are answered with SLVERR.
    error_first, error_end : Out
        Beats at ``error_first <= address < error_end`` are answered with SLVERR.
    """

    def __init__(self, address_bits: int):
        super().__init__({
            "latency":     Out(16),
            "bandwidth":   Out(16),
            "base":        Out(address_bits),
            "size":        Out(64),
            "error_first": Out(address_bits),
            "error_end":   Out(address_bits),
        })


class _Channel(wiring.Component):
    """One direction of a port: takes bursts in order and asks for leave to transfer each beat."""

    def __init__(self, axi: type[Axi4Read | Axi4Write], *, address_bits: int, data_bytes: int,
                 outstanding: int, **storage: wiring.Member):
        self.address_bits = address_bits
        self.data_bytes = data_bytes
        self.outstanding = outstanding
        super().__init__({
            "axi":      In(axi(address_bits, data_bytes)),
            "settings": In(Settings(address_bits)),
            "now":      In(_TIME_BITS),
            "want":     Out(1),
            "grant":    In(1),
            "offset":   Out(64),
            **storage,
        })

    def _bursts(self, m: Module, channel: str, delay: Value | int):
        """Queue the bursts of an address channel. Return the ID of that at the head, whether it is
        due, and for its next beat whether it is the last and whether it must fail."""
        number, address, length, size, burst, valid, ready = (
            getattr(self.axi, channel + name)
            for name in ("id", "addr", "len", "size", "burst", "valid", "ready"))
        m.submodules.bursts = bursts = StreamFifo(data.StructLayout({
            "id": 1, "address": self.address_bits, "length": 8, "legal": 1, "due": _TIME_BITS}),
            depth=self.outstanding)
        bytes_log2 = (self.data_bytes - 1).bit_length()
        end = address[:12] + ((length + 1) << bytes_log2)
        m.d.comb += [
            bursts.i.valid.eq(valid),
            ready.eq(bursts.i.ready),
            bursts.i.p.id.eq(number),
            bursts.i.p.address.eq(address),
            bursts.i.p.length.eq(length),
            bursts.i.p.legal.eq((burst == _INCR) & (size == bytes_log2) & (end <= 4096)
                                & (address[:bytes_log2] == 0)),
            bursts.i.p.due.eq(self.now + delay),
        ]
        head, settings = bursts.o.p, self.settings
        beat, last, due, fail = Signal(8), Signal(), Signal(), Signal()
        here = Signal(self.address_bits)
        m.d.comb += [
            here.eq(head.address + (beat << bytes_log2)),
            self.offset.eq(here - settings.base),
            last.eq(beat == head.length),
            due.eq(bursts.o.valid & ~(self.now - head.due)[-1]),
            fail.eq(~head.legal | (self.offset >= settings.size)
                    | ((here >= settings.error_first) & (here < settings.error_end))),
            bursts.o.ready.eq(self.grant & last),
        ]
        with m.If(self.grant):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        return head.id, due, last, fail


class _Reader(_Channel):
    """The read channels. ``data`` is the beat granted in the cycle before."""

    def __init__(self, *, data_bytes: int, **sizes: int):
        super().__init__(Axi4Read, data_bytes=data_bytes, **sizes, data=In(8 * data_bytes))

    def elaborate(self, platform) -> Module:
        m = Module()
        number, due, last, fail = self._bursts(m, "ar", self.settings.latency - _READ_STAGES)
        m.submodules.beats = beats = StreamFifo(data.StructLayout({
            "id": 1, "data": 8 * self.data_bytes, "response": Response, "last": 1}),
            depth=_READ_AHEAD)
        room = Signal(range(_READ_AHEAD + 1), init=_READ_AHEAD)
        m.d.comb += [
            self.want.eq(due & room.any()),
            beats.i.p.data.eq(self.data),
            self.axi.rvalid.eq(beats.o.valid),
            beats.o.ready.eq(self.axi.rready),
            self.axi.rid.eq(beats.o.p.id),
            self.axi.rdata.eq(beats.o.p.data),
            self.axi.rresp.eq(beats.o.p.response),
            self.axi.rlast.eq(beats.o.p.last),
        ]
        m.d.sync += [
            room.eq(room - self.grant + (self.axi.rvalid & self.axi.rready)),
            beats.i.valid.eq(self.grant),
            beats.i.p.id.eq(number),
            beats.i.p.response.eq(Mux(fail, Response.SLVERR, Response.OKAY)),
            beats.i.p.last.eq(last),
        ]
        return m


class _Writer(_Channel):
    """The write channels. ``write`` is high in the cycle in which a beat is granted and legal."""

    def __init__(self, **sizes: int):
        super().__init__(Axi4Write, **sizes, write=Out(1))

    def elaborate(self, platform) -> Module:
        m = Module()
        number, due, last, fail = self._bursts(m, "aw", 0)
        m.submodules.responses = responses = StreamFifo(data.StructLayout({
            "id": 1, "response": Response, "due": _TIME_BITS}), depth=self.outstanding)
        failed_before, failed = Signal(), Signal()
        m.d.comb += [
            self.want.eq(due & self.axi.wvalid & responses.i.ready),
            self.axi.wready.eq(self.grant),
            self.write.eq(self.grant & ~fail),
            failed.eq(failed_before | fail | (self.axi.wlast != last)),
            responses.i.valid.eq(self.grant & last),
            responses.i.p.id.eq(number),
            responses.i.p.response.eq(Mux(failed, Response.SLVERR, Response.OKAY)),
            responses.i.p.due.eq(self.now + self.settings.latency),
            self.axi.bvalid.eq(responses.o.valid & ~(self.now - responses.o.p.due)[-1]),
            self.axi.bid.eq(responses.o.p.id),
            self.axi.bresp.eq(responses.o.p.response),
            responses.o.ready.eq(self.axi.bvalid & self.axi.bready),
        ]
        with m.If(self.grant):
            m.d.sync += failed_before.eq(failed & ~last)
        return m


class AxiMemory(wiring.Component):
    """AXI4 memory of several ports that share one bandwidth.

    Each port answers its bursts in order, and reads independently of writes. A port takes up to
    ``outstanding`` bursts of each direction ahead. A burst must be of type INCR, of full beats at
    aligned addresses, and must not cross a multiple of 4 KB, else it is answered with SLVERR. What
    is answered with SLVERR is not written.

    Parameters
    ----------
    ports : :class:`int`
        Number of AXI4 ports.
    address_bits : :class:`int`
        Width of an address.
    data_bytes : :class:`int`
        Bytes a beat; a power of two.
    outstanding : :class:`int`
        Bursts that a port takes ahead in each direction.

    Members
    -------
    axi : :py:`In(Axi4(address_bits, data_bytes)).array(ports)`
    settings : :py:`In(Settings(address_bits))`
    """

    def __init__(self, *, ports: int, address_bits: int, data_bytes: int, outstanding: int = 16):
        self._sizes = {"address_bits": address_bits, "data_bytes": data_bytes,
                       "outstanding": outstanding}
        self.ports = ports
        self.storage = Storage(ports=ports, data_bytes=data_bytes)
        self._bucket = Bucket(requesters=2 * ports, data_bytes=data_bytes)
        super().__init__({
            "axi":      In(Axi4(address_bits, data_bytes)).array(ports),
            "settings": In(Settings(address_bits)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.storage = storage = self.storage
        m.submodules.bucket = bucket = self._bucket
        now = Signal(_TIME_BITS)
        m.d.sync += now.eq(now + 1)
        m.d.comb += bucket.bandwidth.eq(self.settings.bandwidth)
        for i, axi in enumerate(self.axi):
            reader, writer = _Reader(**self._sizes), _Writer(**self._sizes)
            m.submodules[f"reader_{i}"], m.submodules[f"writer_{i}"] = reader, writer
            for j, channel in enumerate((reader, writer)):
                wiring.connect(m, wiring.flipped(self.settings), channel.settings)
                m.d.comb += [
                    channel.now.eq(now),
                    bucket.want[2 * i + j].eq(channel.want),
                    channel.grant.eq(bucket.grant[2 * i + j]),
                ]
                for name, member in channel.axi.signature.flip().members.items():
                    inner, outer = getattr(channel.axi, name), getattr(axi, name)
                    m.d.comb += inner.eq(outer) if member.flow is Out else outer.eq(inner)
            read, write = storage.read[i], storage.write[i]
            m.d.comb += [
                read.en.eq(reader.grant),
                read.offset.eq(reader.offset),
                reader.data.eq(read.data),
                write.en.eq(writer.write),
                write.offset.eq(writer.offset),
                write.data.eq(axi.wdata),
                write.strobe.eq(axi.wstrb),
            ]
        return m
