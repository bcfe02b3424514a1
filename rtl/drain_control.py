"""Decides which finished tile leaves the array when, and knows which ways tiles can go."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .array import drain_layout
from .delay import delay
from .fifo import StreamFifo

__all__ = ["DrainControl", "Route", "lanes_layout", "leaving_layout", "softmax_layout"]


class Route(enum.IntEnum):
    """Where a tile goes from the array."""

    REQUANTISE = 0
    """To the scratchpad, each row scaled by the parameters of its channel."""
    SOFTMAX = 1
    """To the softmax, as it is."""
    FACTOR = 2
    """To the scratchpad, each lane scaled by its factor, which the softmax gave for the job."""


softmax_layout = data.StructLayout({
    "begin":            1,
    "end":              1,
    "masked":           1,
    "multiplier":       17,
    "multiplier_shift": 2,
    "gain":             17,
    "gain_shift":       6,
})
"""What the softmax is told of a tile of scores.

``begin``, ``end``
    The tile is the first, or the last, of its job.
``masked``
    Its mask is other than all ones.
``multiplier``, ``multiplier_shift``
    Scale of the scores.
``gain``, ``gain_shift``
    Scale of the outputs of the job, of use at its end.
"""


lanes_layout = data.StructLayout({"route": 2, "end": 1, "activation": 2})
"""What the lanes are told of a tile: its ``route``, if it is the last of its job, and which
``activation`` to apply to it; ``NONE`` with the route ``FACTOR``."""


def leaving_layout(contexts: int) -> data.StructLayout:
    """A tile that is to leave: its ``context``, and what softmax and lanes are told."""
    return data.StructLayout({"context": range(contexts), **softmax_layout.members,
                              **lanes_layout.members})


class DrainControl(wiring.Component):
    """Commands the array to drain tiles, each as soon as all that it takes is there.

    There are two paths from the array, to the softmax and to the lanes. Each takes its tiles in
    order. With one row a cycle scores come first: tiles for the lanes take what they leave of the
    array's time, or wait until the softmax has nothing to do. That is never for long, as scores
    need a place for their probabilities. With two rows scores would leave no time, and outputs
    wait until they hold up the array; so tiles for the lanes come first, and leave every other
    time to the scores.

    Contexts of scores and of tiles with the route ``REQUANTISE`` are freed in order. So scores
    wait for all such tiles before them; and no such tile may come while there are scores.

    The factors of a job are there from ``factor_loaded`` to the job's last tile, the one with
    ``end`` among those with the route ``FACTOR``.

    Parameters
    ----------
    rows : :class:`int`
        Rows of a tile. Commands are ``rows / 2`` cycles apart or more; those of two tiles for the
        lanes, ``rows``.
    softmax_rows : :class:`int`
        Rows a cycle to the softmax, 1 or 2: commands of two tiles for it are
        ``rows / softmax_rows`` cycles apart or more.
    end_distance : :class:`int`
        Least cycles from one tile for the softmax with ``end`` to the next.
    contexts : :class:`int`
        Contexts of the array.
    waiting : :class:`int`
        Tiles or factors that wait at most, of a kind.
    settle : :class:`int`
        Least cycles from a tile at ``i`` to its command.
    reuse : :class:`int`
        Cycles from a command to ``freed`` or ``emptied``.

    Members
    -------
    i : :py:`In(stream.Signature(leaving_layout(contexts)))`
        Tiles, valid only while it is ready; which it is while no more than ``contexts`` of them
        wait.
    channels_loaded, mask_loaded, factor_loaded : :py:`In(1)`
        The channels or the mask of another tile, or the factors of another job, have come.
    command : :py:`Out(drain_layout(contexts))`
    softmax : :py:`Out({"valid": 1, "tile": softmax_layout})`
        The tile that is commanded to leave is for the softmax.
    lanes : :py:`Out({"valid": 1, "tile": lanes_layout})`
        It is for the lanes.
    freed : :py:`Out(1)`
        The oldest context that does not hold outputs of a job may be overwritten.
    emptied : :py:`Out(1)`
        The contexts with the outputs of the oldest job may be overwritten.
    """

    def __init__(self, *, rows: int, softmax_rows: int, end_distance: int, contexts: int,
                 waiting: int, settle: int, reuse: int):
        self.rows = rows
        self.softmax_rows = softmax_rows
        self.end_distance = end_distance
        self.contexts = contexts
        self.waiting = waiting
        self.settle = settle
        self.reuse = reuse
        super().__init__({
            "i":               In(stream.Signature(leaving_layout(contexts))),
            "channels_loaded": In(1),
            "mask_loaded":     In(1),
            "factor_loaded":   In(1),
            "command":         Out(drain_layout(contexts)),
            "softmax":         Out(data.StructLayout({"valid": 1, "tile": softmax_layout})),
            "lanes":           Out(data.StructLayout({"valid": 1, "tile": lanes_layout})),
            "freed":           Out(1),
            "emptied":         Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        to_softmax = self.i.p.route == Route.SOFTMAX
        m.submodules.scores = scores = self._queue(softmax_layout)
        m.submodules.tiles = tiles = self._queue(lanes_layout)
        m.d.comb += self.i.ready.eq(scores.i.ready & tiles.i.ready)
        score, tile = scores.o.p, tiles.o.p
        go_score, go_tile = scores.o.ready, tiles.o.ready

        # What a tile waits for on either path.
        channels, factor = tile.tile.route == Route.REQUANTISE, tile.tile.route == Route.FACTOR
        settled_score = self._settled(m, scores, to_softmax)
        settled_tile = self._settled(m, tiles, ~to_softmax)
        channels_there = self._count(m, "channels", self.channels_loaded, go_tile & channels)
        mask_there = self._count(m, "masks", self.mask_loaded, go_score & score.tile.masked)
        factors_there = self._count(m, "factors", self.factor_loaded,
                                    go_tile & factor & tile.tile.end)
        preceded = self._count(m, "preceding", tiles.i.valid & (self.i.p.route == Route.REQUANTISE),
                               go_tile & channels)
        array_gap = self._gap(m, "array", self.rows // 2, go_score | go_tile)
        softmax_gap = self._gap(m, "softmax", self.rows // self.softmax_rows, go_score)
        end_gap = self._gap(m, "end", self.end_distance, go_score & score.tile.end)
        lanes_gap = self._gap(m, "lanes", self.rows, go_tile)

        score_ready, tile_ready = Signal(), Signal()
        precedes_tile = score_ready & (softmax_gap < self.rows // 2)
        precedes_score: Value = Const(0)
        if self.softmax_rows == 2:
            precedes_tile, precedes_score = Const(0), tile_ready
        m.d.comb += [
            score_ready.eq(settled_score & (mask_there | ~score.tile.masked)
                           & ((end_gap == 0) | ~score.tile.end) & ~preceded),
            tile_ready.eq(settled_tile & Mux(factor, factors_there, channels_there)
                          & (lanes_gap == 0)),
            go_score.eq(score_ready & ~precedes_score & (softmax_gap == 0) & (array_gap == 0)),
            go_tile.eq(tile_ready & ~precedes_tile & (array_gap == 0)),
        ]
        m.d.sync += [
            self.command.valid.eq(go_score | go_tile),
            self.command.context.eq(Mux(go_score, score.context, tile.context)),
            self.softmax.valid.eq(go_score),
            self.softmax.tile.eq(score.tile),
            self.lanes.valid.eq(go_tile),
            self.lanes.tile.eq(tile.tile),
        ]
        output = self.lanes.valid & (self.lanes.tile.route == Route.FACTOR)
        for strobe, left, name in ((self.freed, self.command.valid & ~output, "freed"),
                                   (self.emptied, output & self.lanes.tile.end, "emptied")):
            m.d.comb += strobe.eq(delay(m, left, self.reuse, name=name, reset_less=False))
        return m

    def _queue(self, told: data.StructLayout) -> StreamFifo:
        """Return a queue for the tiles of a path."""
        # One place more than tiles wait, as the queue is ready again only when its output moved on.
        return StreamFifo(data.StructLayout({"context": range(self.contexts), "tile": told}),
                          depth=self.contexts + 1)

    def _settled(self, m: Module, queue: StreamFifo, mine: Value) -> Value:
        """Queue the tiles of a path; return whether the first of them is there and settled."""
        told = queue.i.p.tile
        m.d.comb += [
            queue.i.valid.eq(self.i.valid & mine),
            queue.i.p.context.eq(self.i.p.context),
            *(told[name].eq(self.i.p[name]) for name in told.shape().members),
        ]
        settled = delay(m, queue.i.valid, max(self.settle - 2, 0), name="settling",
                        reset_less=False)
        return queue.o.valid & self._count(m, "settled", settled, queue.o.ready)

    def _count(self, m: Module, name: str, more: Value, less: Value) -> Value:
        """Count what has come and was not used; return whether there is any."""
        count = Signal(range(self.waiting + 1), name=name)
        m.d.sync += count.eq(count + more - less)
        return count.any()

    def _gap(self, m: Module, name: str, cycles: int, go: Value) -> Signal:
        """Return how many more cycles must pass until there have been enough since ``go``."""
        gap = Signal(range(cycles), name=f"{name}_gap")
        m.d.sync += gap.eq(Mux(go, cycles - 1, gap - gap.any()))
        return gap
