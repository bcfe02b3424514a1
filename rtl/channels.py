"""Prefetches what tiles need on their way: requantisation parameters of rows, or a mask."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from .lanes import channel_layout
from .scratchpad import PoolReader

__all__ = ["ChannelBuffer", "MaskBuffer", "ParameterFetch", "fetch_layout"]

_STORED_BITS = channel_layout["unused"].offset


def fetch_layout(pool_bits: int) -> data.StructLayout:
    """What to fetch for a tile from ``addr`` on: a ``mask``, or the parameters of its channels."""
    return data.StructLayout({"addr": pool_bits, "mask": 1})


class ParameterFetch(wiring.Component):
    """Reads the words of the next few tiles, in order, and tells apart what comes.

    Requests run ahead by as many tiles as the buffers hold, so that reads of any latency come in
    time on average.

    Parameters
    ----------
    words : :class:`int`
        Words with the channels of a tile; a mask is one word.
    channels, masks : :class:`int`
        Tiles whose channels, and whose masks, the buffers hold.
    pool_bits, word_bits : :class:`int`
        Widths of a pool address and of a pool word.

    Members
    -------
    i : :py:`In(stream.Signature(fetch_layout(pool_bits)))`
    pool : :py:`Out(PoolReader(pool_bits, word_bits))`
    channel, mask : :py:`Out(1)`
        ``pool.data`` is a word with channels or a mask.
    channels_freed, mask_freed : :py:`In(1)`
        There is room for the channels or the mask of one tile more.
    """

    def __init__(self, *, words: int, channels: int, masks: int, pool_bits: int, word_bits: int):
        self.words = words
        self.channels = channels
        self.masks = masks
        super().__init__({
            "i":              In(stream.Signature(fetch_layout(pool_bits))),
            "pool":           Out(PoolReader(pool_bits, word_bits)),
            "channel":        Out(1),
            "mask":           Out(1),
            "channels_freed": In(1),
            "mask_freed":     In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        channels = Signal(range(self.channels + 1), init=self.channels)
        masks = Signal(range(self.masks + 1), init=self.masks)
        left, mask = Signal(range(self.words + 1)), Signal()
        tile, request = self.i.p, self.pool.request
        taken, asked = self.i.valid & self.i.ready, request.valid & request.ready
        m.d.comb += [
            request.valid.eq(left.any()),
            self.i.ready.eq(Mux(tile.mask, masks.any(), channels.any())
                            & ((left == 0) | request.ready & (left == 1))),
        ]
        with m.If(asked):
            m.d.sync += [request.p.eq(request.p + 1), left.eq(left - 1)]
        with m.If(taken):
            m.d.sync += [request.p.eq(tile.addr), mask.eq(tile.mask),
                         left.eq(Mux(tile.mask, 1, self.words))]
        m.d.sync += [
            channels.eq(channels + self.channels_freed - (taken & ~tile.mask)),
            masks.eq(masks + self.mask_freed - (taken & tile.mask)),
        ]

        # What each word under way is.
        m.submodules.kinds = kinds = memory.Memory(
            shape=1, depth=1 << ceil_log2(self.channels * self.words + self.masks), init=[],
            attrs={"ram_style": "distributed"})
        write, read = kinds.write_port(), kinds.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(asked),
            write.data.eq(mask),
            self.mask.eq(self.pool.valid & read.data),
            self.channel.eq(self.pool.valid & ~read.data),
        ]
        m.d.sync += [write.addr.eq(write.addr + asked),
                     read.addr.eq(read.addr + self.pool.valid)]
        return m


class ChannelBuffer(wiring.Component):
    """The parameters of the next few tiles, handed out row by row.

    Parameters
    ----------
    rows : :class:`int`
        Output channels of a tile.
    tiles : :class:`int`
        Tiles that fit; a power of two.
    word_bits : :class:`int`
        Width of a pool word.

    Members
    -------
    valid : :py:`In(1)`
        ``data`` is the next of the words of a tile, ``rows`` times 8 bytes.
    data : :py:`In(word_bits)`
    loaded : :py:`Out(1)`
        High for one cycle when the parameters of another tile have come.
    start : :py:`In(1)`
        Hand out the next tile, which must have come: row ``r`` is at ``o`` :attr:`LATENCY` ``+ r``
        cycles later. Not again within ``rows`` cycles.
    o : :py:`Out(channel_layout)`
    freed : :py:`Out(1)`
        High for one cycle when there is room for another tile.

    Raises
    ------
    ValueError
        If a word is too short for the 8 bytes of a channel.
    """

    LATENCY = 2

    def __init__(self, *, rows: int, tiles: int, word_bits: int):
        if word_bits < channel_layout.size:
            raise ValueError(f"Word must have at least the {channel_layout.size} bits of a "
                             f"channel's parameters, not {word_bits}")
        self.rows = rows
        self.tiles = tiles
        self.words = channel_layout.size * rows // word_bits
        super().__init__({
            "valid":  In(1),
            "data":   In(word_bits),
            "loaded": Out(1),
            "start":  In(1),
            "o":      Out(channel_layout),
            "freed":  Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        word_channels = self.rows // self.words
        m.submodules.ram = ram = memory.Memory(
            shape=data.ArrayLayout(_STORED_BITS, word_channels), depth=self.tiles * self.words,
            init=[], attrs={"ram_style": "distributed"})
        write, read = ram.write_port(), ram.read_port(domain="comb")
        index = Signal(range(self.tiles * self.rows))
        running = Signal()
        row = Signal(_STORED_BITS, reset_less=True)
        within_word = exact_log2(word_channels)
        m.d.comb += [
            write.en.eq(self.valid),
            *(stored.eq(self.data.word_select(n, channel_layout.size))
              for n, stored in enumerate(write.data)),
            read.addr.eq(index[within_word:]),
            self.freed.eq(running & index[:exact_log2(self.rows)].all()),
            self.o.eq(row),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + self.valid),
            self.loaded.eq(self.valid & write.addr[:exact_log2(self.words)].all()),
            running.eq(self.start | running & ~self.freed),
            index.eq(index + running),
            row.eq(read.data[index[:within_word]]),
        ]
        return m


class MaskBuffer(wiring.Component):
    """The masks of the next few tiles.

    Parameters
    ----------
    bits : :class:`int`
        Bits of a mask: one for each output of a tile.
    masks : :class:`int`
        Masks that fit; a power of two.
    word_bits : :class:`int`
        Width of a pool word, of which a mask takes the low bits.

    Members
    -------
    valid : :py:`In(1)`
        ``data`` is the next mask.
    data : :py:`In(word_bits)`
    next : :py:`In(1)`
        Take the oldest mask, which must have come the cycle before or earlier.
    o : :py:`Out(bits)`
        The oldest mask.

    Raises
    ------
    ValueError
        If a mask does not fit into a word.
    """

    def __init__(self, *, bits: int, masks: int, word_bits: int):
        if bits > word_bits:
            raise ValueError(f"Word must have at least the {bits} bits of a tile's mask, "
                             f"not {word_bits}")
        self.bits = bits
        self.masks = masks
        super().__init__({
            "valid": In(1),
            "data":  In(word_bits),
            "next":  In(1),
            "o":     Out(bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ram = ram = memory.Memory(shape=self.bits, depth=self.masks, init=[],
                                               attrs={"ram_style": "distributed"})
        write, read = ram.write_port(), ram.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.valid), write.data.eq(self.data), self.o.eq(read.data)]
        m.d.sync += [write.addr.eq(write.addr + self.valid), read.addr.eq(read.addr + self.next)]
        return m
