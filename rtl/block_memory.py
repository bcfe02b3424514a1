"""A memory of words in block RAM."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .ram import TwoPortRam
from .word_port import WordPort

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """Block RAM behind a :class:`~heddle.rtl.word_port.WordPort`, one RAM for each byte of a word.

    It takes an access every cycle; a read is answered two cycles later.

    Parameters
    ----------
    size : :class:`int`
        Bytes; a power of two.
    data_bytes : :class:`int`
        Bytes of a word.

    Members
    -------
    port : :py:`In(WordPort(log2(size), data_bytes))`
    """

    def __init__(self, *, size: int, data_bytes: int):
        if size < 2 * data_bytes or size & (size - 1):
            raise ValueError(f"Memory must have a power of two of bytes, and more than a word of "
                             f"{data_bytes}, not {size}")
        self.size = size
        super().__init__({"port": In(WordPort((size - 1).bit_length(), data_bytes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        port, request = self.port, self.port.request
        data_bytes = port.signature.data_bytes
        index = request.p.address >> (data_bytes - 1).bit_length()
        read = Signal(2)
        m.d.comb += [request.ready.eq(1), port.valid.eq(read[1])]
        m.d.sync += read.eq(Cat(request.valid & ~request.p.write, read))
        for n in range(data_bytes):
            m.submodules[f"byte_{n}"] = ram = TwoPortRam(8, self.size // data_bytes)
            m.d.comb += [
                ram.write_en.eq(request.valid & request.p.write & request.p.strobe[n]),
                ram.write_addr.eq(index),
                ram.write_data.eq(request.p.data.word_select(n, 8)),
                ram.read_addr.eq(index),
                port.data.word_select(n, 8).eq(ram.read_data),
            ]
        return m
