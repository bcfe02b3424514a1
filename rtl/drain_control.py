"""Decides when a finished tile leaves the array, and knows which ways tiles can go."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay

__all__ = ["DrainControl", "Route", "command_layout", "leaving_layout", "softmax_layout"]


class Route(enum.IntEnum):
    """Where a tile goes from the array."""

    REQUANTISE = 0
    """To the scratchpad, each row scaled by the parameters of its channel."""
    SOFTMAX = 1
    """To the softmax, as it is."""
    FACTOR = 2
    """To the scratchpad, each lane scaled by its factor, which the softmax gave for the job."""


def command_layout(contexts: int) -> data.StructLayout:
    """Command to the array: if ``valid``, rows of ``context`` leave, two a cycle."""
    return data.StructLayout({"valid": 1, "context": range(contexts)})


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


def leaving_layout(contexts: int) -> data.StructLayout:
    """A tile that is to leave: its ``context`` and ``route``, and what the softmax is told."""
    return data.StructLayout({"context": range(contexts), "route": 2, **softmax_layout.members})


class DrainControl(wiring.Component):
    """Commands the array to drain the next tile as soon as all that it takes is there.

    Tiles leave in order. The factors of a job are there from ``factor_loaded`` to the job's last
    tile, the one with ``end`` among those with the route ``FACTOR``.

    Parameters
    ----------
    rows : :class:`int`
        Rows of a tile. Commands are ``rows / 2`` cycles apart or more; those of two tiles that are
        requantised, ``rows``.
    softmax_rows : :class:`int`
        Rows a cycle to the softmax, 1 or 2: commands of two tiles with this route are
        ``rows / softmax_rows`` cycles apart or more.
    contexts : :class:`int`
        Contexts of the array.
    waiting : :class:`int`
        Tiles or factors that wait at most, of a kind.
    settle : :class:`int`
        Least cycles from ``accepted`` to the command.
    reuse : :class:`int`
        Cycles from a command to ``freed`` or ``emptied``.

    Members
    -------
    i : :py:`In(stream.Signature(leaving_layout(contexts)))`
        Tiles, taken when they leave.
    accepted : :py:`In(1)`
        Another tile is to be drained. It may come at ``i`` later.
    channels_loaded, mask_loaded, factor_loaded : :py:`In(1)`
        The channels or the mask of another tile, or the factors of another job, have come.
    command : :py:`Out(command_layout(contexts))`
    tile : :py:`Out(leaving_layout(contexts))`
        The tile that is commanded to leave.
    freed : :py:`Out(1)`
        The oldest context that does not hold outputs of a job may be overwritten.
    emptied : :py:`Out(1)`
        The contexts with the outputs of the oldest job may be overwritten.
    """

    def __init__(self, *, rows: int, softmax_rows: int, contexts: int, waiting: int, settle: int,
                 reuse: int):
        self.rows = rows
        self.softmax_rows = softmax_rows
        self.contexts = contexts
        self.waiting = waiting
        self.settle = settle
        self.reuse = reuse
        super().__init__({
            "i":               In(stream.Signature(leaving_layout(contexts))),
            "accepted":        In(1),
            "channels_loaded": In(1),
            "mask_loaded":     In(1),
            "factor_loaded":   In(1),
            "command":         Out(command_layout(contexts)),
            "tile":            Out(leaving_layout(contexts)),
            "freed":           Out(1),
            "emptied":         Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        tile, go = self.i.p, Signal()
        softmax, factor = tile.route == Route.SOFTMAX, tile.route == Route.FACTOR
        settled = delay(m, self.accepted, max(self.settle - 2, 0), name="settling",
                        reset_less=False)
        ripe = self._count(m, "ripe", settled, go)
        channels = self._count(m, "channels", self.channels_loaded, go & ~softmax & ~factor)
        masks = self._count(m, "masks", self.mask_loaded, go & softmax & tile.masked)
        factors = self._count(m, "factors", self.factor_loaded, go & factor & tile.end)
        to_softmax = self._spaced(m, "softmax", self.rows // self.softmax_rows, go & softmax)
        to_lanes = self._spaced(m, "lanes", self.rows, go & ~softmax)
        from_array = self._spaced(m, "array", self.rows // 2, go)
        m.d.comb += [
            go.eq(self.i.valid & ripe & from_array
                  & Mux(softmax, to_softmax & (masks | ~tile.masked),
                        to_lanes & Mux(factor, factors, channels))),
            self.i.ready.eq(go),
        ]
        m.d.sync += [
            self.tile.eq(tile),
            self.command.valid.eq(go),
            self.command.context.eq(tile.context),
        ]
        outputs = self.tile.route == Route.FACTOR
        for strobe, left, name in ((self.freed, ~outputs, "freed"),
                                   (self.emptied, outputs & self.tile.end, "emptied")):
            m.d.comb += strobe.eq(delay(m, self.command.valid & left, self.reuse, name=name,
                                        reset_less=False))
        return m

    def _count(self, m: Module, name: str, more: Value, less: Value) -> Value:
        """Count what has come and was not used; return whether there is any."""
        count = Signal(range(self.waiting + 1), name=name)
        m.d.sync += count.eq(count + more - less)
        return count.any()

    def _spaced(self, m: Module, name: str, cycles: int, go: Value) -> Value:
        """Return whether ``go`` was not within the last cycles."""
        gap = Signal(range(cycles), name=f"{name}_gap")
        m.d.sync += gap.eq(Mux(go, cycles - 1, gap - gap.any()))
        return gap == 0
