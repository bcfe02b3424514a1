"""A memory of words for simulation of what uses one."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from ..rtl.word_port import WordPort

__all__ = ["WordMemory"]


class WordMemory(wiring.Component):
    """A memory that takes an access every ``pace`` cycles and answers a read two cycles later.

    Parameters
    ----------
    size : :class:`int`
        Bytes; a power of two.
    data_bytes : :class:`int`
        Bytes of a word.
    pace : :class:`int`

    Members
    -------
    port : :py:`In(WordPort(log2(size), data_bytes))`
    """

    def __init__(self, *, size: int, data_bytes: int = 4, pace: int = 1):
        self.size = size
        self.pace = pace
        super().__init__({"port": In(WordPort((size - 1).bit_length(), data_bytes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        port, request = self.port, self.port.request
        data_bytes = port.signature.data_bytes
        m.submodules.words = words = memory.Memory(shape=unsigned(8 * data_bytes),
                                                   depth=self.size // data_bytes, init=[])
        write, read = words.write_port(granularity=8), words.read_port()
        index = request.p.address >> (data_bytes - 1).bit_length()
        wait = Signal(range(self.pace))
        taken = request.valid & request.ready
        reading = Signal()
        m.d.comb += [
            request.ready.eq(wait == 0),
            write.addr.eq(index),
            write.data.eq(request.p.data),
            write.en.eq(Mux(taken & request.p.write, request.p.strobe, 0)),
            read.addr.eq(index),
            read.en.eq(taken),
        ]
        m.d.sync += [
            wait.eq(Mux(taken, self.pace - 1, wait - wait.any())),
            reading.eq(taken & ~request.p.write),
            port.valid.eq(reading),
            port.data.eq(read.data),
        ]
        return m
