"""The drain: finished tiles leave the array, are requantised and written to the scratchpad."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .channels import ChannelBuffer
from .delay import delay
from .fifo import StreamFifo
from .isa import TOKENS
from .lanes import Lanes
from .scratchpad import PoolReader, PoolWriter
from .tile import TileWriter, target_layout

__all__ = ["Drain", "DrainControl", "command_layout", "tile_layout"]


def tile_layout(pool_bits: int) -> data.StructLayout:
    """A finished tile: ``c``, ``part_stride``, ``layout``, ``give``, as in the MATMUL instruction.

    ``channels`` is the address of the requantisation parameters of its rows.
    """
    return data.StructLayout({**target_layout(pool_bits).members, "channels": pool_bits})


def command_layout(contexts: int) -> data.StructLayout:
    """Command to the array: if ``valid``, rows of ``context`` leave, one a cycle."""
    return data.StructLayout({"valid": 1, "context": range(contexts)})


class DrainControl(wiring.Component):
    """Commands the array to drain the next context as soon as all that it takes is there.

    Contexts are a ring: tile ``n`` is in context ``n`` modulo ``contexts``.

    Parameters
    ----------
    rows : :class:`int`
        Least cycles between two commands.
    contexts : :class:`int`
        Contexts of the array; a power of two.
    settle : :class:`int`
        Least cycles from ``accepted`` to the command.
    reuse : :class:`int`
        Cycles from a command to ``freed``.

    Members
    -------
    accepted : :py:`In(1)`
        Another tile is to be drained.
    loaded : :py:`In(1)`
        The parameters of another tile have come.
    command : :py:`Out(command_layout(contexts))`
    freed : :py:`Out(1)`
        The oldest context may be overwritten.

    Raises
    ------
    ValueError
        If the number of contexts is not a power of two.
    """

    def __init__(self, *, rows: int, contexts: int, settle: int, reuse: int):
        if contexts < 2 or contexts & (contexts - 1):
            raise ValueError(f"Contexts must be a power of two from 2 up, not {contexts}")
        self.rows = rows
        self.contexts = contexts
        self.settle = settle
        self.reuse = reuse
        super().__init__({
            "accepted": In(1),
            "loaded":   In(1),
            "command":  Out(command_layout(contexts)),
            "freed":    Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        settled = delay(m, self.accepted, max(self.settle - 2, 0), name="settling",
                        reset_less=False)
        ripe, loaded = Signal(range(self.contexts + 1)), Signal(range(self.contexts + 1))
        gap = Signal(range(self.rows))
        go = Signal()
        m.d.comb += go.eq(ripe.any() & loaded.any() & (gap == 0))
        m.d.sync += [
            ripe.eq(ripe + settled - go),
            loaded.eq(loaded + self.loaded - go),
            gap.eq(Mux(go, self.rows - 1, gap - gap.any())),
            self.command.valid.eq(go),
            self.command.context.eq(self.command.context + self.command.valid),
        ]
        m.d.comb += self.freed.eq(delay(m, self.command.valid, self.reuse, name="reuse",
                                        reset_less=False))
        return m


class Drain(wiring.Component):
    """Takes finished tiles out of the array, a row a cycle, and writes them to the scratchpad.

    Sustains a tile every ``rows`` cycles. Once commanded, a tile is never held up: rows, parameters
    and words meet by their fixed latencies.

    Parameters
    ----------
    rows, lanes, depth : :class:`int`
        Sizes of the array; a pool word has ``depth · rows`` bytes.
    contexts : :class:`int`
        Contexts of the array, of which each holds a tile; a power of two.
    pool_bits : :class:`int`
        Width of a pool address.
    array_latency : :class:`int`
        Cycles from ``command`` to the first row at ``i[0]``.
    settle : :class:`int`
        Least cycles from accepting a tile to its ``command``.
    reuse : :class:`int`
        Least cycles from a ``command`` to the step that overwrites its context.

    Members
    -------
    tiles : :py:`In(stream.Signature(tile_layout(pool_bits)))`
        Tiles in the order of their contexts: tile ``n`` is in context ``n`` modulo ``contexts``.
        Always ready while no more than ``contexts`` tiles are accepted but not ``freed``.
    command : :py:`Out(command_layout(contexts))`
        To the array.
    i : :py:`In(signed(32)).array(lanes)`
        Rows of the array; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    freed : :py:`Out(1)`
        The oldest context may be overwritten by steps that are issued from now on.
    params : :py:`Out(PoolReader(...))`
        Reads the requantisation parameters ahead. Of any latency; up to :attr:`READ_LATENCY`
        cycles stay hidden.
    pool : :py:`Out(PoolWriter(...))`
        Writes the words. Must always be ready.
    give : :py:`Out(32)`
        Tokens given in this cycle: those of a tile, after its last word was written.
    busy : :py:`Out(1)`
        A tile was accepted whose tokens were not yet given.

    Raises
    ------
    ValueError
        If the array is faster than the prefetched parameters, or as the parts do.
    """

    READ_LATENCY = 16

    def __init__(self, *, rows: int, lanes: int, depth: int, contexts: int, pool_bits: int,
                 array_latency: int, settle: int, reuse: int):
        if array_latency < ChannelBuffer.LATENCY:
            raise ValueError(f"Array latency must be at least {ChannelBuffer.LATENCY} cycles, "
                             f"not {array_latency}")
        word_bits = 8 * depth * rows
        # From the request for a tile's parameters to the use of the last of them.
        ahead = self.READ_LATENCY + 8 + array_latency + rows
        self.rows = rows
        self.contexts = contexts
        self.array_latency = array_latency
        self._control = DrainControl(rows=rows, contexts=contexts, settle=settle, reuse=reuse)
        self._channels = ChannelBuffer(rows=rows, tiles=1 << (ahead // rows).bit_length(),
                                       pool_bits=pool_bits, word_bits=word_bits)
        self._lanes = Lanes(lanes)
        self._writer = TileWriter(rows=rows, lanes=lanes, depth=depth, pool_bits=pool_bits)
        super().__init__({
            "tiles":   In(stream.Signature(tile_layout(pool_bits))),
            "command": Out(command_layout(contexts)),
            "i":       In(signed(32)).array(lanes),
            "freed":   Out(1),
            "params":  Out(PoolReader(pool_bits, word_bits)),
            "pool":    Out(PoolWriter(pool_bits, word_bits)),
            "give":    Out(TOKENS),
            "busy":    Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.control = control = self._control
        m.submodules.channels = channels = self._channels
        m.submodules.lanes = lanes = self._lanes
        m.submodules.writer = writer = self._writer
        self._queue(m)
        wiring.connect(m, channels.pool, wiring.flipped(self.params))
        wiring.connect(m, writer.pool, wiring.flipped(self.pool))

        # A tile is known by the time since its command from here on.
        to_channels = self.array_latency - ChannelBuffer.LATENCY
        to_last = ChannelBuffer.LATENCY + lanes.latency + self.rows - 1
        start = delay(m, control.command.valid, to_channels, name="start", reset_less=False)
        m.d.comb += [
            control.loaded.eq(channels.loaded),
            self.command.eq(control.command),
            self.freed.eq(control.freed),
            channels.start.eq(start),
            lanes.channel.eq(channels.o),
            *(lane.eq(value) for lane, value in zip(lanes.i, self.i, strict=True)),
            writer.i.eq(lanes.o),
            writer.last.eq(delay(m, start, to_last, name="last", reset_less=False)),
            self.give.eq(writer.give),
        ]

        pending = Signal(range(self._in_flight + 1))
        m.d.sync += pending.eq(pending + control.accepted - writer.done)
        m.d.comb += self.busy.eq(pending.any())
        return m

    @property
    def _in_flight(self) -> int:
        """Most tiles between ``tiles`` and the pool: those in contexts and those behind."""
        return self.contexts + (self.array_latency + self._lanes.latency) // self.rows + 3

    def _queue(self, m: Module) -> None:
        """Deal each tile to the prefetch of its parameters, the control and the writer."""
        # One place more than tiles wait, as the queue is ready again only when its output moved on.
        channels = StreamFifo(self._channels.i.p.shape(), depth=self.contexts + 1)
        targets = StreamFifo(self._writer.target.p.shape(), depth=self._in_flight)
        m.submodules.addresses, m.submodules.targets = channels, targets
        wiring.connect(m, channels.o, self._channels.i)
        wiring.connect(m, targets.o, self._writer.target)
        tile = self.tiles.p
        accepted = self.tiles.valid & self.tiles.ready
        m.d.comb += [
            self.tiles.ready.eq(channels.i.ready & targets.i.ready),
            self._control.accepted.eq(accepted),
            channels.i.valid.eq(accepted),
            channels.i.p.eq(tile.channels),
            targets.i.valid.eq(accepted),
            *(targets.i.p[name].eq(tile[name]) for name in targets.i.p.shape().members),
        ]
