"""The reference: what a pair of lanes keeps of the tiles of a job so far."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .cell import scale_layout
from .delay import delay
from .divider import SUM_FRACTION, TOTAL_BITS
from .exponential import OCTAVE_BITS, PEAK, visible
from .schedule import GROUP, Schedule

__all__ = ["CLEAR", "GRANULE", "GUARD", "HIDDEN_SHIFT", "ZEROS_BITS", "Reference"]

GUARD = 11
"""Bits by which sums of values are finer than a probability of 1/127 of the reference."""

GRANULE = 8
"""Octaves by which the reference moves: a raise code counts these."""

CLEAR = 3
"""The raise code that clears what was summed so far."""

HIDDEN_SHIFT = 31
"""The shift of a group that adds nothing."""

ZEROS_BITS = 3
"""Width of the number of zeros at the low end of a tile's number in its job."""

_GRANULE_BITS = (GRANULE - 1).bit_length()
_SUM_BITS = (GROUP * PEAK).bit_length()
_kept_layout = data.StructLayout({
    "reference": signed(OCTAVE_BITS - _GRANULE_BITS), "empty": 1, "moved": 1})


class Reference(wiring.Component):
    """Two lanes in turn: levels of groups become scales, and sums of probabilities a total.

    The reference is the level to which all sums are relative, in granules of 8 octaves. It moves
    down to the lowest level of a tile, and by one granule if the total before the last tile had
    reached half its range and the last tile did not move it. The scale of a group says how far the
    reference moved and how far the group is above it.

    The groups of a tile come ``cycles`` apart, at least 4, and so may the next tile. Each comes as
    two items, that of lane 0 at the times below and that of lane 1 a cycle later. A tile decides in
    the turn of its first group, when all its levels have come. What is kept of the lanes stands in
    rings of two places, which go round at each turn.

    Parameters
    ----------
    schedule : :class:`~heddle.rtl.schedule.Schedule`
        Gives the times below.

    Members
    -------
    level : :py:`In(signed(12))`
        At ``level``: least octave of the group.
    turn, decide : :py:`In(2)`
        At ``turn``, a bit a lane: the group has its turn; it is the first of its tile.
    begin, recent : :py:`In(1)`
        With ``decide``: the tile is the first of its job; the last tile decided 4 or 5 cycles ago.
    sum : :py:`In(10)`
        At ``scale``: sum of the probabilities of the group.
    zeros : :py:`In(3)`
        At ``scale``: zeros at the low end of the number of the tile in its job, which is 1
        for the first; at most 7.
    scale : :py:`Out(scale_layout)`
        At ``scaled``. ``raise`` is that of the tile in the first group, and 0
        in the second.
    total : :py:`Out(28)`
        At ``total``: sum of all probabilities of the job so far.
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        super().__init__({
            "level":  In(signed(OCTAVE_BITS)),
            "turn":   In(2),
            "decide": In(2),
            "begin":  In(1),
            "recent": In(1),
            "sum":    In(_SUM_BITS),
            "zeros":  In(ZEROS_BITS),
            "scale":  Out(scale_layout),
            "total":  Out(TOTAL_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        wait = self.schedule.turn - self.schedule.level
        levels = [self.level]
        for n in range(wait + 1):
            levels.append(delay(m, levels[-1], name=f"level_{n}"))
        tile = levels[wait]
        if self.schedule.groups == 2:
            first, second = levels[wait - 1], levels[wait - 1 - self.schedule.cycles]
            tile = delay(m, Mux(first < second, first, second).as_signed(), name="tile")

        full = Signal()
        reference, code, stays = self._decide(m, tile, full)
        shift = self._shift(m, levels[wait + 1], reference)
        self._add(m, shift, code)
        self._watch(m, full)

        m.d.comb += [
            self.scale.shift.eq(delay(m, shift, name="scale_shift")),
            self.scale["raise"].eq(delay(m, Mux(stays, 0, code), name="scale_raise")),
            self.scale.up.eq(delay(m, self._up(m, shift), name="scale_up")),
        ]
        return m

    def _up(self, m: Module, shift: Value) -> Value:
        """Return whether to round up halves, which every 2^n-th tile does not for n bits."""
        up = Signal()
        with m.Switch(self.zeros):
            for zeros in range(1 << ZEROS_BITS):
                last = HIDDEN_SHIFT if zeros == (1 << ZEROS_BITS) - 1 else GUARD + zeros
                with m.Case(zeros):
                    m.d.comb += up.eq((shift <= GUARD) | (shift > last))
        return up

    def _decide(self, m: Module, tile: Value, full: Value) -> tuple[Value, Value, Value]:
        """Take the turn of a group.

        Returns the reference a cycle after the turn, and at the scale time the code by which the
        total moves, and whether the sums of values stay as they are.
        """
        kept, other, new = (Signal(_kept_layout, name=name) for name in ("kept", "other", "new"))
        need = tile[_GRANULE_BITS:].as_signed()
        decide, seen, empty, lower, over = (
            Signal(name=name) for name in ("decides", "seen", "empty", "lower", "over"))
        m.d.comb += [
            decide.eq(self.decide.any()),
            seen.eq(decide & visible(tile)),
            empty.eq(decide & (kept.empty | self.begin)),
            lower.eq(empty | (need < kept.reference)),
            over.eq(full & ~kept.moved),
            new.eq(kept),
        ]
        with m.If(decide):
            m.d.comb += [new.empty.eq(empty & ~seen), new.moved.eq(seen & (lower | over))]
        with m.If(seen):
            m.d.comb += new.reference.eq(Mux(lower, need, kept.reference - over))
        with m.If(self.turn.any()):
            m.d.sync += [other.eq(new), kept.eq(other)]

        reference = delay(m, new.reference, name="reference")
        before = delay(m, kept.reference, name="before_turn")
        distance = delay(m, (before - reference)[:-1].as_unsigned(), name="distance")
        clear = delay(m, empty, 2, name="clear")
        code = delay(m, Mux(clear | (distance >= CLEAR), CLEAR, distance[:2]), name="code")
        return reference, code, delay(m, ~seen, 3, name="unseen")

    def _shift(self, m: Module, level: Value, reference: Value) -> Value:
        """Return how far a group is above the reference, two cycles later."""
        above = delay(m, (level[_GRANULE_BITS:].as_signed() - reference)[:-1], name="above")
        low = delay(m, level[:_GRANULE_BITS], name="low")
        hidden = delay(m, ~visible(level), name="hidden")
        far = Signal()
        m.d.comb += far.eq(hidden | above[2:].any())
        return delay(m, Mux(far, HIDDEN_SHIFT, Cat(low, above[:2])), name="shift")

    def _add(self, m: Module, shift: Value, code: Value) -> None:
        """Add the sum of a group to the total of its lane: within three cycles."""
        shifted = delay(m, (self.sum << 7) >> shift[:3], name="shifted")
        high = delay(m, shift[3:], name="high")
        code = delay(m, code, 2, name="add_code")
        # The sum as it is has GUARD bits after the point, SUM_FRACTION more are wanted.
        left = GUARD + SUM_FRACTION - 7
        half, carry = Signal(_SUM_BITS + GUARD + SUM_FRACTION, reset_less=True), Signal()
        with m.Switch(high):
            for n in range(4):
                with m.Case(n):
                    scaled = shifted << left + 1 >> GRANULE * n
                    m.d.sync += [half.eq(scaled >> 1), carry.eq(scaled[0])]

        total, other = (Signal(TOTAL_BITS, name=name, reset_less=True)
                        for name in ("total_kept", "total_other"))
        lowered = Signal.like(total)
        with m.Switch(code):
            for n in range(CLEAR):
                with m.Case(n):
                    m.d.comb += lowered.eq(total >> GRANULE * n)
        added = (Cat(1, lowered) + Cat(carry, half))[1:TOTAL_BITS + 1]
        with m.If(delay(m, self.turn, 5, name="add", reset_less=False).any()):
            m.d.sync += [other.eq(added), total.eq(other)]
        m.d.comb += self.total.eq(other)

    def _watch(self, m: Module, full: Value) -> None:
        """Find in each turn whether the total before the last tile had reached half its range."""
        added = delay(m, self.turn, 6, name="added", reset_less=False)
        before_add = delay(m, self.decide, 5, name="before_add", reset_less=False)
        flags = []
        for lane in range(2):
            latest, before = (Signal(name=f"{name}_{lane}", reset_less=True)
                              for name in ("latest", "before"))
            with m.If(added[lane]):
                m.d.sync += latest.eq(self.total[-1])
            with m.If(before_add[lane]):
                m.d.sync += before.eq(latest)
            flags.append(Mux(self.recent, latest, before))
        m.d.comb += full.eq(Mux(self.turn[1], flags[1], flags[0]))
