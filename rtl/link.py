"""The link: frames of bytes from a host become accesses to registers and memory."""

from __future__ import annotations

from contextlib import contextmanager

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.crc.catalog import CRC16_IBM_3740
from amaranth.lib.wiring import In, Out

from .axi import Axi4Lite
from .frames import ANSWER, IDENTITY, REQUEST, WORDS, Space, Status, header_layout
from .registers import ADDRESS_BITS
from .uart import byte_layout
from .word_port import WordPort

__all__ = ["Link"]


class Link(wiring.Component):
    """Carries out the requests of a host, one after the other; see :mod:`heddle.rtl.frames`.

    While a request is carried out, and while its answer leaves, nothing is taken: what comes in
    meanwhile waits in the queue before the link, whose depth limits how far a host may go ahead.

    Parameters
    ----------
    size : :class:`int`
        Bytes of the memory; a power of two.
    silence : :class:`int`
        Cycles without a byte after which the line is silent. A host may pause within a frame, but
        for less.

    Members
    -------
    i : :py:`In(stream.Signature(byte_layout))`
        Bytes from the host.
    o : :py:`Out(stream.Signature(8))`
        Bytes to the host.
    registers : :py:`Out(Axi4Lite(ADDRESS_BITS))`
    memory : :py:`Out(WordPort(log2(size), 4))`
    """

    def __init__(self, *, size: int, silence: int):
        self.size = size
        self.silence = silence
        super().__init__({
            "i":         In(stream.Signature(byte_layout)),
            "o":         Out(stream.Signature(8)),
            "registers": Out(Axi4Lite(ADDRESS_BITS)),
            "memory":    Out(WordPort((size - 1).bit_length(), 4)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.words = words = memory.Memory(shape=32, depth=WORDS, init=[])
        m.submodules.crc = self._crc = CRC16_IBM_3740(data_width=8).create()
        self._store, self._fetch = words.write_port(), words.read_port()
        self._header = Signal(header_layout)
        self._status = Signal(Status)
        self._index = Signal(range(WORDS))  # of the word that is taken, accessed or sent
        self._left = Signal(range(4 * WORDS))  # bytes of the present part, but for this one
        m.d.comb += [self._store.addr.eq(self._index), self._fetch.addr.eq(self._index)]
        with m.FSM():
            self._take(m)
            self._check(m)
            self._access(m)
            self._answer(m)
        return m

    @property
    def _last(self) -> Value:
        """Whether :attr:`_index` is that of the last word."""
        return self._index + 1 == self._header.words

    def _next_word(self, m: Module, follow: str) -> None:
        """Go on to the next word if there is one, else to a state, with the index at 0."""
        m.d.sync += self._index.eq(self._index + 1)
        with m.If(self._last):
            m.d.sync += self._index.eq(0)
            m.next = follow

    def _take(self, m: Module) -> None:
        """Take the bytes of a request."""
        header, left, crc = self._header, self._left, self._crc
        timer, silent = Signal(range(self.silence)), Signal()
        m.d.comb += silent.eq(timer == self.silence - 1)
        m.d.sync += timer.eq(Mux(self.i.valid, 0, timer + ~silent))
        self._received = received = Signal(32)  # the last four bytes, the latest on top

        @contextmanager
        def part(name: str):
            """Take bytes until none is left. What follows is for the last one, and what to do."""
            with m.State(name):
                m.d.comb += [self.i.ready.eq(1), crc.valid.eq(self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [left.eq(left - 1), received.eq(Cat(received[8:], self.i.p.value))]
                    yield
                    with m.If(self.i.p.broken):
                        m.next = "SILENCE"
                with m.Elif(silent):
                    m.next = "SILENCE"

        m.d.comb += crc.data.eq(self.i.p.value)
        with m.State("SYNC"):
            m.d.comb += [self.i.ready.eq(1), crc.start.eq(1)]
            m.d.sync += [left.eq(7), self._index.eq(0)]
            with m.If(self.i.valid):
                m.next = "SILENCE"
                with m.If((self.i.p.value == REQUEST) & ~self.i.p.broken):
                    m.next = "HEADER"
        with part("HEADER"):
            m.d.sync += Value.cast(header).eq(Cat(Value.cast(header)[8:], self.i.p.value))
            with m.If(left == 0):
                m.next = "LENGTH"
        with m.State("LENGTH"):
            m.d.sync += left.eq(Mux(header.write, (header.words << 2) - 1, 1))
            m.next = "CRC"
            with m.If((header.words == 0) | (header.words > WORDS)):
                m.next = "SILENCE"
            with m.Elif(header.write):
                m.next = "WORDS"
        with part("WORDS"):
            with m.If(left[:2] == 0):
                m.d.comb += [self._store.en.eq(1),
                             self._store.data.eq(Cat(received[8:], self.i.p.value))]
                m.d.sync += self._index.eq(self._index + 1)
            with m.If(left == 0):
                m.d.sync += [left.eq(1), self._index.eq(0)]
                m.next = "CRC"
        with part("CRC"):
            with m.If(left == 0):
                m.next = "CHECK"
        with m.State("SILENCE"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += self._status.eq(Status.BROKEN)
            with m.If(silent & ~self.i.valid):
                m.next = "ANSWER"

    def _check(self, m: Module) -> None:
        """Decide whether a request is carried out."""
        header = self._header
        end, sound = Signal(33), Signal()
        limits = {Space.REGISTERS: 1 << ADDRESS_BITS, Space.MEMORY: self.size, Space.LINK: 8}
        m.d.sync += [  # known when the CRC is: that comes three cycles after the header, or later
            end.eq(header.address + (header.words << 2)),
            sound.eq(Cat((header.space == space) & (end <= limit)
                         for space, limit in limits.items()).any()
                     & (header.address[:2] == 0) & (header.unused == 0)
                     & ~(header.write & (header.space == Space.LINK))),
        ]
        previous = Signal(24)
        present = Cat(header.tag, self._received[16:])
        with m.State("CHECK"):
            m.d.sync += self._status.eq(Status.OK)
            with m.If(~self._crc.match_detected):
                m.next = "SILENCE"
            with m.Elif(~sound):
                m.d.sync += self._status.eq(Status.REFUSED)
                m.next = "ANSWER"
            with m.Else():
                m.d.sync += previous.eq(present)
                m.next = "FETCH"
                with m.If(header.write & (present == previous)):
                    m.next = "ANSWER"

    def _access(self, m: Module) -> None:
        """Write or read word after word."""
        header, bus, port = self._header, self.registers, self.memory
        address = Signal(32)
        m.d.comb += [
            address.eq(header.address + (self._index << 2)),
            bus.awaddr.eq(address), bus.araddr.eq(address), port.request.p.address.eq(address),
            bus.wdata.eq(self._fetch.data), port.request.p.data.eq(self._fetch.data),
            bus.wstrb.eq(~0), port.request.p.strobe.eq(~0),
            port.request.p.write.eq(header.write),
        ]
        m.d.sync += [valid.eq(valid & ~ready) for valid, ready in (
            (bus.awvalid, bus.awready), (bus.wvalid, bus.wready), (bus.arvalid, bus.arready))]
        with m.State("FETCH"):
            m.next = "ACCESS"
        with m.State("ACCESS"):
            with m.If(header.space == Space.MEMORY):
                m.d.comb += port.request.valid.eq(1)
                with m.If(port.request.ready):
                    m.next = "WORD"
            with m.Elif(header.space == Space.LINK):
                m.next = "WORD"
            with m.Else():
                m.d.sync += [bus.awvalid.eq(header.write), bus.wvalid.eq(header.write),
                             bus.arvalid.eq(~header.write)]
                m.next = "WORD"
        with m.State("WORD"):
            m.d.comb += [bus.bready.eq(1), bus.rready.eq(1)]
            done = Signal()
            with m.Switch(header.space):
                with m.Case(Space.REGISTERS):
                    m.d.comb += [self._store.data.eq(bus.rdata),
                                 done.eq(Mux(header.write, bus.bvalid, bus.rvalid))]
                with m.Case(Space.MEMORY):
                    m.d.comb += [self._store.data.eq(port.data),
                                 done.eq(header.write | port.valid)]
                with m.Default():
                    m.d.comb += [self._store.data.eq(Mux(address[2], self.size, IDENTITY)),
                                 done.eq(1)]
            with m.If(done):
                m.d.comb += self._store.en.eq(~header.write)
                m.next = "FETCH"
                self._next_word(m, "ANSWER")

    def _answer(self, m: Module) -> None:
        """Send what came of a request."""
        header, left, crc = self._header, self._left, self._crc
        head, word = Signal(40), Signal(32)
        words = Signal()
        sent = self.o.valid & self.o.ready
        m.d.comb += words.eq((self._status == Status.OK) & ~header.write)

        @contextmanager
        def part(name: str, byte: Value, counts: Value):
            """Send bytes until none is left. What follows is for the last one."""
            with m.State(name):
                m.d.comb += [self.o.valid.eq(1), self.o.p.eq(byte),
                             crc.data.eq(byte), crc.valid.eq(sent & counts)]
                with m.If(sent):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        yield

        with m.State("ANSWER"):
            m.d.comb += crc.start.eq(1)
            m.d.sync += [left.eq(4), self._index.eq(0), head.eq(Cat(
                Const(ANSWER, 8), header.tag, Value.cast(self._status), Const(0, 6),
                Mux(words, header.words, 0)))]
            m.next = "ANSWER_HEAD"
        with part("ANSWER_HEAD", head.word_select((4 - left)[:3], 8), left != 4):
            m.d.sync += left.eq(1)
            m.next = "ANSWER_CRC"
            with m.If(words):
                m.next = "ANSWER_FETCH"
        with m.State("ANSWER_FETCH"):
            m.next = "ANSWER_FETCHED"
        with m.State("ANSWER_FETCHED"):
            m.d.sync += [left.eq(3), word.eq(self._fetch.data)]
            m.next = "ANSWER_WORD"
        with part("ANSWER_WORD", word.word_select(~left[:2], 8), Const(1)):
            m.d.sync += left.eq(1)
            m.next = "ANSWER_FETCH"
            self._next_word(m, "ANSWER_CRC")
        with part("ANSWER_CRC", crc.crc.word_select(left[0], 8), Const(0)):
            m.next = "SYNC"
