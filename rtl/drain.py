"""The drain: finished tiles leave the array, to the softmax or through the lanes to the pool."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .array import drain_layout
from .channels import ChannelBuffer, MaskBuffer, ParameterFetch
from .delay import delay
from .drain_control import DrainControl, Route, leaving_layout, softmax_layout
from .fifo import StreamFifo
from .isa import TOKENS
from .lanes import Lanes, factor_layout
from .rowbuffer import RowBuffer
from .scratchpad import PoolReader, PoolWriter
from .tile import TileBuffer, TileWriter, target_layout

__all__ = ["Drain", "Route", "softmax_layout", "tile_layout"]


def tile_layout(pool_bits: int, contexts: int) -> data.StructLayout:
    """A finished tile: where it is, its :class:`Route`, and what this route takes.

    ``channels`` is the address of the requantisation parameters of its rows, or of its mask, if
    ``masked``: bit ``row · lanes + lane`` of the word is 1 for a score that counts. ``c``,
    ``part_stride``, ``layout``, ``activation`` and ``give`` are as in the MATMUL instruction; the
    softmax has no use for them. ``begin`` and ``end`` mark the first and last tile of a job on its
    route.
    """
    return data.StructLayout({**leaving_layout(contexts).members,
                              **target_layout(pool_bits).members, "channels": pool_bits})


class Drain(wiring.Component):
    """Takes finished tiles out of the array, two rows a cycle, to the softmax or the scratchpad.

    Sustains a tile every ``rows / 2`` cycles, of which one every ``rows`` cycles to the scratchpad
    and one every ``rows / softmax_rows`` cycles to the softmax. On either path tiles stay in order;
    those for the scratchpad never keep others from the softmax (:class:`DrainControl`). Once
    commanded, a tile is never held up: rows, parameters and words meet by their fixed latencies.

    Parameters
    ----------
    rows, lanes, depth : :class:`int`
        Sizes of the array; a pool word has ``depth · rows`` bytes.
    contexts : :class:`int`
        Contexts of the array, of which each holds a tile.
    softmax_rows : :class:`int`
        Rows a cycle to the softmax, 1 or 2.
    end_distance : :class:`int`
        Least cycles from one tile for the softmax with ``end`` to the next.
    pool_bits : :class:`int`
        Width of a pool address.
    array_latency : :class:`int`
        Cycles from ``command`` to the first rows at lane 0 of ``i``.
    settle : :class:`int`
        Least cycles from accepting a tile to its ``command``.
    reuse : :class:`int`
        Least cycles from a ``command`` to the step that overwrites its context.
    jobs : :class:`int`
        Most jobs whose factors have come but whose last tile has not left; a power of two.

    Members
    -------
    tiles : :py:`In(stream.Signature(tile_layout(pool_bits, contexts)))`
        Tiles. Always ready while no more than ``contexts`` of them are accepted but not ``freed``
        or ``emptied``. With the route ``REQUANTISE``, only when all tiles for the softmax were
        commanded to leave.
    command : :py:`Out(drain_layout(contexts))`
        To the array.
    i : :py:`In(signed(32)).array(2, lanes)`
        Rows ``2n`` and ``2n + 1`` of the array; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later
        than lane 0.
    freed : :py:`Out(1)`
        The context of the oldest tile of another route than ``FACTOR`` may be overwritten by steps
        that are issued from now on.
    emptied : :py:`Out(1)`
        The same for the contexts of all tiles up to the oldest of the route ``FACTOR`` with
        ``end``.
    scores : :py:`Out(signed(32)).array(softmax_rows, lanes)`
        Rows of a tile for the softmax, in order and in consecutive cycles, skewed as ``i``.
    softmax_start : :py:`Out(1)`
        The first of these are at lane 0.
    softmax_tile : :py:`Out(softmax_layout)`
    softmax_mask : :py:`Out(rows * lanes)`
        The tile and its mask, in that cycle only.
    factors : :py:`In(factor_layout).array(lanes)`
        Factors of a job; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    factor_valid : :py:`In(1)`
        The factor of lane 0 is the next job's. Tiles with the route ``FACTOR`` wait for it.
    params : :py:`Out(PoolReader(...))`
        Reads channels and masks ahead. Of any latency; up to :attr:`READ_LATENCY` cycles stay
        hidden.
    pool : :py:`Out(PoolWriter(...))`
        Writes the words. Must always be ready.
    give : :py:`Out(32)`
        Tokens given in this cycle: those of a tile, after its last word was written.
    busy : :py:`Out(1)`
        A tile was accepted that has not yet reached the softmax or whose tokens were not yet given.

    Raises
    ------
    ValueError
        If there is no cycle between a command and its rows, if the softmax would take another
        number of rows a cycle than 1 or 2, or as the parts do.
    """

    READ_LATENCY = 16

    def __init__(self, *, rows: int, lanes: int, depth: int, contexts: int, softmax_rows: int = 1,
                 end_distance: int = 1, pool_bits: int, array_latency: int, settle: int,
                 reuse: int, jobs: int = 32):
        if array_latency < 1:
            raise ValueError(f"Array latency must be at least 1 cycle, not {array_latency}")
        if softmax_rows not in (1, 2):
            raise ValueError(f"Rows a cycle to the softmax must be 1 or 2, not {softmax_rows}")
        word_bits = 8 * depth * rows
        self.rows = rows
        self.contexts = contexts
        self.softmax_rows = softmax_rows
        self.array_latency = array_latency
        self._control = DrainControl(rows=rows, softmax_rows=softmax_rows,
                                     end_distance=end_distance, contexts=contexts,
                                     waiting=max(contexts, jobs, self._prefetch(2)),
                                     settle=settle, reuse=reuse)
        self._channels = ChannelBuffer(rows=rows, tiles=self._prefetch(1), word_bits=word_bits)
        self._masks = MaskBuffer(bits=rows * lanes, masks=self._prefetch(softmax_rows),
                                 word_bits=word_bits)
        self._fetch = ParameterFetch(words=self._channels.words, channels=self._channels.tiles,
                                     masks=self._masks.masks, pool_bits=pool_bits,
                                     word_bits=word_bits)
        self._lanes = Lanes(lanes, jobs)
        self._writer = TileWriter(rows=rows, lanes=lanes, depth=depth, pool_bits=pool_bits)
        super().__init__({
            "tiles":         In(stream.Signature(tile_layout(pool_bits, contexts))),
            "command":       Out(drain_layout(contexts)),
            "i":             In(signed(32)).array(2, lanes),
            "freed":         Out(1),
            "emptied":       Out(1),
            "scores":        Out(signed(32)).array(softmax_rows, lanes),
            "softmax_start": Out(1),
            "softmax_tile":  Out(softmax_layout),
            "softmax_mask":  Out(rows * lanes),
            "factors":       In(factor_layout).array(lanes),
            "factor_valid":  In(1),
            "params":        Out(PoolReader(pool_bits, word_bits)),
            "pool":          Out(PoolWriter(pool_bits, word_bits)),
            "give":          Out(TOKENS),
            "busy":          Out(1),
        })

    @property
    def softmax_latency(self) -> int:
        """Cycles from a command to ``softmax_start``."""
        return self.array_latency + (RowBuffer.LATENCY if self.softmax_rows == 1 else 0)

    @property
    def pool_latency(self) -> int:
        """Cycles from a command to the first word."""
        return (self.array_latency + RowBuffer.LATENCY + self._lanes.latency + self.rows - 1
                + TileBuffer.LATENCY)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.control = control = self._control
        m.submodules.fetch = fetch = self._fetch
        m.submodules.channels = channels = self._channels
        m.submodules.masks = masks = self._masks
        m.submodules.lanes = self._lanes
        m.submodules.writer = writer = self._writer
        accepted = self._deal(m)
        wiring.connect(m, fetch.pool, wiring.flipped(self.params))
        wiring.connect(m, writer.pool, wiring.flipped(self.pool))
        m.d.comb += [
            channels.valid.eq(fetch.channel),
            channels.data.eq(fetch.pool.data),
            masks.valid.eq(fetch.mask),
            masks.data.eq(fetch.pool.data),
            fetch.channels_freed.eq(channels.freed),
            fetch.mask_freed.eq(masks.next),
            control.channels_loaded.eq(channels.loaded),
            control.mask_loaded.eq(fetch.mask),
            control.factor_loaded.eq(self.factor_valid),
            self.command.eq(control.command),
            self.freed.eq(control.freed),
            self.emptied.eq(control.emptied),
            self.give.eq(writer.give),
        ]
        # A tile is known by the time since its command from here on.
        self._to_softmax(m)
        self._to_lanes(m)

        pending = Signal(range(self._in_flight + 1))
        m.d.sync += pending.eq(pending + accepted - writer.done - self.softmax_start)
        m.d.comb += self.busy.eq(pending.any() | self.tiles.valid)
        return m

    def _prefetch(self, rate: int) -> int:
        """Return how many tiles' parameters to hold, if ``rate`` rows of these leave a cycle."""
        # From the request for a tile's parameters to the use of the last of them.
        ahead = self.READ_LATENCY + 8 + self.array_latency + RowBuffer.LATENCY + self.rows
        return 1 << (ahead * rate // self.rows).bit_length()

    @property
    def _in_flight(self) -> int:
        """Most tiles between ``tiles`` and the end of their way: in contexts and behind."""
        return self.contexts + 2 * (self.pool_latency // self.rows + 2)

    def _deal(self, m: Module) -> Value:
        """Deal tiles to the control, the prefetch of parameters and the writer; tell of each."""
        # One place more than tiles wait, as the queue is ready again only when its output moved on.
        fetches = StreamFifo(self._fetch.i.p.shape(), depth=self.contexts + 1)
        targets = StreamFifo(self._writer.target.p.shape(), depth=self._in_flight)
        m.submodules.fetches, m.submodules.targets = fetches, targets
        wiring.connect(m, fetches.o, self._fetch.i)
        wiring.connect(m, targets.o, self._writer.target)
        leaving, tile = self._control.i, self.tiles.p
        accepted = self.tiles.valid & self.tiles.ready
        softmax = tile.route == Route.SOFTMAX
        m.d.comb += [
            self.tiles.ready.eq(fetches.i.ready & leaving.ready & targets.i.ready),
            fetches.i.valid.eq(accepted & Mux(softmax, tile.masked,
                                              tile.route == Route.REQUANTISE)),
            fetches.i.p.addr.eq(tile.channels),
            fetches.i.p.mask.eq(softmax),
            leaving.valid.eq(accepted),
            targets.i.valid.eq(accepted & ~softmax),
            *(queue.p[name].eq(tile[name]) for queue in (leaving, targets.i)
              for name in queue.p.shape().members),
        ]
        return accepted

    def _to_softmax(self, m: Module) -> None:
        """Tell the softmax of a tile when the first of its scores are there."""
        left, masks = self._control.softmax, self._masks
        before = self.softmax_latency - 1
        start = delay(m, left.valid, before, name="softmax_start", reset_less=False)
        tile = delay(m, left.tile, before, name="softmax_tile")
        mask = Signal.like(self.softmax_mask, reset_less=True)
        m.d.comb += [
            masks.next.eq(start & tile.masked),
            self.softmax_start.eq(delay(m, start, name="softmax", reset_less=False)),
            self.softmax_tile.eq(delay(m, tile, name="softmax")),
            self.softmax_mask.eq(mask),
        ]
        m.d.sync += mask.eq(masks.o | (~tile.masked).replicate(len(mask)))
        if self.softmax_rows == 2:
            m.d.comb += Cat(self.scores).eq(Cat(self.i))
        else:
            lead = delay(m, left.valid, self.array_latency - 1, name="scores_start",
                         reset_less=False)
            m.submodules.scores = buffer = RowBuffer(rows=self.rows, lanes=len(self.factors))
            m.d.comb += [buffer.start.eq(lead), Cat(buffer.i).eq(Cat(self.i)),
                         Cat(self.scores[0]).eq(Cat(buffer.o))]

    def _to_lanes(self, m: Module) -> None:
        """Send the rows of a tile through the lanes, with their parameters."""
        left, channels = self._control.lanes, self._channels
        lanes, writer = self._lanes, self._writer
        m.submodules.rows = buffer = RowBuffer(rows=self.rows, lanes=len(self.factors))
        lead = self.array_latency - 1
        start = delay(m, left.valid, lead, name="lanes_start", reset_less=False)
        factor = delay(m, left.tile.route == Route.FACTOR, lead, name="lanes_factor")
        end = delay(m, left.tile.end, lead, name="lanes_end")
        applied = delay(m, left.tile.activation, lead, name="lanes_activation")

        # The rows are at the lanes one cycle and the buffer's latency after start. So must be their
        # channels; or the tile's job, which stays until the rows of the next tile come.
        to_row = delay(m, Cat(start, start & factor, start & factor & end), RowBuffer.LATENCY,
                       name="to_row", reset_less=False)
        applied = delay(m, applied, RowBuffer.LATENCY, name="applied")
        by_factor, job, next_job = Signal(), Signal.like(lanes.row.job), Signal.like(lanes.row.job)
        activation = Signal.like(lanes.row.activation)
        with m.If(to_row[0]):
            m.d.sync += [by_factor.eq(to_row[1]), job.eq(next_job),
                         next_job.eq(next_job + to_row[2]), activation.eq(applied)]
        to_channels = 1 + RowBuffer.LATENCY - ChannelBuffer.LATENCY
        to_last = 1 + RowBuffer.LATENCY + lanes.latency + self.rows - 1
        m.d.comb += [
            buffer.start.eq(start),
            Cat(buffer.i).eq(Cat(self.i)),
            channels.start.eq(delay(m, start & ~factor, to_channels, name="channels_start",
                                    reset_less=False)),
            Cat(lanes.i).eq(Cat(buffer.o)),
            lanes.row.channel.eq(channels.o),
            lanes.row.factor.eq(by_factor),
            lanes.row.job.eq(job),
            lanes.row.activation.eq(activation),
            Cat(lanes.factors).eq(Cat(self.factors)),
            lanes.factor_valid.eq(self.factor_valid),
            writer.i.eq(lanes.o),
            writer.last.eq(delay(m, start, to_last, name="last", reset_less=False)),
        ]
