"""Prefetches the requantisation parameters of tiles and hands them out row by row."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .lanes import channel_layout
from .scratchpad import PoolReader

__all__ = ["ChannelBuffer"]

_STORED_BITS = channel_layout["unused"].offset


class ChannelBuffer(wiring.Component):
    """The parameters of the next few tiles.

    Requests run ahead of the rows by as many tiles as the buffer holds, so that reads of any
    latency come in time on average.

    Parameters
    ----------
    rows : :class:`int`
        Output channels of a tile.
    tiles : :class:`int`
        Tiles that fit; a power of two.
    pool_bits, word_bits : :class:`int`
        Widths of a pool address and of a pool word.

    Members
    -------
    i : :py:`In(stream.Signature(pool_bits))`
        Address of the parameters of each tile, ``rows`` times 8 bytes in consecutive words.
    pool : :py:`Out(PoolReader(pool_bits, word_bits))`
    loaded : :py:`Out(1)`
        High for one cycle when the parameters of another tile have come.
    start : :py:`In(1)`
        Hand out the next tile, which must have come: row ``r`` is at ``o`` :attr:`LATENCY` ``+ r``
        cycles later. Not again within ``rows`` cycles.
    o : :py:`Out(channel_layout)`

    Raises
    ------
    ValueError
        If a word is too short for the 8 bytes of a channel.
    """

    LATENCY = 2

    def __init__(self, *, rows: int, tiles: int, pool_bits: int, word_bits: int):
        if word_bits < channel_layout.size:
            raise ValueError(f"Word must have at least the {channel_layout.size} bits of a "
                             f"channel's parameters, not {word_bits}")
        self.rows = rows
        self.tiles = tiles
        self.words = channel_layout.size * rows // word_bits
        super().__init__({
            "i":      In(stream.Signature(pool_bits)),
            "pool":   Out(PoolReader(pool_bits, word_bits)),
            "loaded": Out(1),
            "start":  In(1),
            "o":      Out(channel_layout),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        word_channels = self.rows // self.words
        m.submodules.ram = ram = memory.Memory(
            shape=data.ArrayLayout(_STORED_BITS, word_channels), depth=self.tiles * self.words,
            init=[], attrs={"ram_style": "distributed"})
        write, read = ram.write_port(), ram.read_port(domain="comb")
        index = Signal(range(self.tiles * self.rows))
        running, end = Signal(), Signal()
        row = Signal(_STORED_BITS, reset_less=True)
        within_word = exact_log2(word_channels)
        m.d.comb += [
            write.en.eq(self.pool.valid),
            *(stored.eq(self.pool.data.word_select(n, channel_layout.size))
              for n, stored in enumerate(write.data)),
            read.addr.eq(index[within_word:]),
            end.eq(running & index[:exact_log2(self.rows)].all()),
            self.o.eq(row),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + self.pool.valid),
            self.loaded.eq(self.pool.valid & write.addr[:exact_log2(self.words)].all()),
            running.eq(self.start | running & ~end),
            index.eq(index + running),
            row.eq(read.data[index[:within_word]]),
        ]
        self._request(m, end)
        return m

    def _request(self, m: Module, freed: Value) -> None:
        """Ask for the words of a tile whenever there is room for it."""
        room = Signal(range(self.tiles + 1), init=self.tiles)
        left = Signal(range(self.words + 1))
        request = self.pool.request
        m.d.comb += [
            request.valid.eq(left.any()),
            self.i.ready.eq(room.any() & ((left == 0) | request.ready & (left == 1))),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [request.p.eq(request.p + 1), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [request.p.eq(self.i.p), left.eq(self.words)]
        m.d.sync += room.eq(room + freed - (self.i.valid & self.i.ready))
