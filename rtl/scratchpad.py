"""The scratchpad: one pool of words, with a private read port for A and a shared port for the rest."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PoolReader", "PoolWriter", "Scratchpad"]


class PoolReader(wiring.Signature):
    """A client that reads words.

    Members
    -------
    request : :py:`Out(stream.Signature(addr_bits))`
        Addresses. A client asks only for what it has room for.
    valid : :py:`In(1)`
        ``data`` holds a word; the words come in the order of the requests and cannot be held up.
    data : :py:`In(word_bits)`
    """

    def __init__(self, addr_bits: int, word_bits: int):
        self.addr_bits = addr_bits
        self.word_bits = word_bits
        super().__init__({
            "request": Out(stream.Signature(addr_bits)),
            "valid":   In(1),
            "data":    In(word_bits),
        })


class PoolWriter(wiring.Signature):
    """A client that writes words: a stream of ``addr`` and ``data``.

    A word is visible to a read whose request is accepted after the write was.
    """

    def __init__(self, addr_bits: int, word_bits: int):
        self.addr_bits = addr_bits
        self.word_bits = word_bits
        super().__init__({
            "request": Out(stream.Signature(data.StructLayout({"addr": addr_bits,
                                                               "data": word_bits}))),
        })
