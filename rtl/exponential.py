"""The exponential: scores of a lane become probabilities relative to the level of their group."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .schedule import GROUP, Schedule

__all__ = ["ENERGY_BITS", "FRACTION", "OCTAVE_BITS", "PEAK", "POWERS", "SCORE_BITS",
           "Energy", "Exponential", "Power", "visible"]

FRACTION = 6
"""Fraction bits of an energy, which is ``-log2`` of a weight."""

PEAK = 127
"""The probability of a key whose energy is the level."""

POWERS = [round(16 * PEAK * 2 ** (-n / (1 << FRACTION))) for n in range(1 << FRACTION)]
"""``PEAK · 2^-n`` for all fractions ``n``, with four bits more than a probability."""

SCORE_BITS = 22
"""Width of a signed score: enough for 128 features."""

OCTAVE_BITS = 12
"""Width of the signed integer part of an energy. Visible keys use one bit less."""

ENERGY_BITS = OCTAVE_BITS - 1 + FRACTION
"""Width of a signed energy."""

_HIDDEN = (1 << OCTAVE_BITS - 1) - 1  # above all visible octaves


def visible(octave: Value) -> Value:
    """Return whether an octave, or the least of several, is that of a visible key."""
    return octave[-1] == octave[-2]


class Energy(wiring.Component):
    """Energy of a score: ``-score · multiplier / 2^shift``, rounded down, saturated to 17 bits.

    A score is accepted each cycle; its energy follows :attr:`LATENCY` cycles later. The
    multiplication takes one DSP with all its registers.

    Members
    -------
    score : :py:`In(signed(22))`
    multiplier : :py:`In(signed(18))`
        The negative of the multiplier, one cycle after the score.
    shift : :py:`In(2)`
        12, 16, 20 or 24 bits; :attr:`SHIFT_DELAY` cycles after the score.
    visible : :py:`In(1)`
        Whether the key takes part; :attr:`VISIBLE_DELAY` cycles after the score.
    fraction : :py:`Out(6)`
    octave : :py:`Out(signed(12))`
        Integer part, or the highest number if the key is hidden.
    """

    SHIFT_DELAY = 4
    VISIBLE_DELAY = 5
    LATENCY = 6

    def __init__(self) -> None:
        super().__init__({
            "score":      In(signed(SCORE_BITS)),
            "multiplier": In(signed(18)),
            "shift":      In(2),
            "visible":    In(1),
            "fraction":   Out(FRACTION),
            "octave":     Out(signed(OCTAVE_BITS)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        score = delay(m, self.score, 2, name="score")
        product = delay(m, score * delay(m, self.multiplier, name="multiplier"), 2, name="product")

        scaled = Signal(ENERGY_BITS, reset_less=True)
        over, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += negative.eq(product[-1])
        with m.Switch(self.shift):
            for n in range(4):
                with m.Case(n):
                    shifted = product >> 12 + 4 * n
                    upper = shifted[ENERGY_BITS - 1:]
                    m.d.sync += [scaled.eq(shifted), over.eq(upper.any() & ~upper.all())]

        energy = Mux(over, Cat((~negative).replicate(ENERGY_BITS - 1), negative), scaled)
        octave = energy[FRACTION:].as_signed()
        m.d.comb += [
            self.fraction.eq(delay(m, energy[:FRACTION], name="fraction")),
            self.octave.eq(delay(m, Mux(self.visible, octave, _HIDDEN).as_signed(),
                                 name="octave")),
        ]
        return m


class Power(wiring.Component):
    """Probability of an energy: ``127 · 2^(level - energy)``, rounded to nearest.

    It follows :attr:`LATENCY` cycles after the energy and the level.

    Members
    -------
    fraction : :py:`In(6)`
    octave, level : :py:`In(signed(12))`
        The level is the least octave of the group; the probability is 0 if it is that of a hidden
        key.
    p : :py:`Out(7)`
    """

    LATENCY = 3

    def __init__(self) -> None:
        super().__init__({
            "fraction": In(FRACTION),
            "octave":   In(signed(OCTAVE_BITS)),
            "level":    In(signed(OCTAVE_BITS)),
            "p":        Out(7),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.powers = powers = memory.Memory(
            shape=POWERS[0].bit_length(), depth=len(POWERS), init=POWERS)
        table = powers.read_port(domain="comb")
        m.d.comb += table.addr.eq(self.fraction)
        power = delay(m, table.data, name="power")
        below = delay(m, (self.octave - self.level)[:OCTAVE_BITS], name="below")
        hidden = delay(m, ~visible(self.level), name="hidden")

        halves = delay(m, (power >> 3 >> below[:3])[:8], name="halves")
        none = delay(m, hidden | below[3:].any(), name="none")
        p = Signal(7, reset_less=True)
        m.d.sync += p.eq(Mux(none, 0, halves[1:] + halves[0]))
        m.d.comb += self.p.eq(p)
        return m


class Exponential(wiring.Component):
    """A lane: scores become probabilities and their sum, group by group.

    Parameters
    ----------
    schedule : :class:`~heddle.rtl.schedule.Schedule`
        Gives the times below.

    Members
    -------
    scores : :py:`In(signed(22)).array(rows_per_cycle)`
        Rows, on consecutive cycles from 0 on.
    multiplier, shift : In
        As of :class:`Energy`.
    visible : :py:`In(rows_per_cycle)`
        As of :class:`Energy`, a bit a row.
    first, last : :py:`In(1)`
        In the first and the last of the ``cycles`` from ``least`` on.
    sum_first : :py:`In(1)`
        In the first of the ``cycles`` before ``sum``.
    level : :py:`Out(signed(12))`
        Least octave of the group: from ``level`` on, for ``cycles``.
    p : :py:`Out(7).array(rows_per_cycle)`
        Probabilities: from ``p`` on.
    sum : :py:`Out(10)`
        Sum of the probabilities: at ``sum`` only.
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        super().__init__({
            "scores":     In(signed(SCORE_BITS)).array(schedule.rows_per_cycle),
            "multiplier": In(signed(18)),
            "shift":      In(2),
            "visible":    In(schedule.rows_per_cycle),
            "first":      In(1),
            "last":       In(1),
            "sum_first":  In(1),
            "level":      Out(signed(OCTAVE_BITS)),
            "p":          Out(7).array(schedule.rows_per_cycle),
            "sum":        Out((GROUP * PEAK).bit_length()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        energies = [Energy() for _ in self.scores]
        for n, energy in enumerate(energies):
            m.submodules[f"energy_{n}"] = energy
            m.d.comb += [
                energy.score.eq(self.scores[n]),
                energy.multiplier.eq(self.multiplier),
                energy.shift.eq(self.shift),
                energy.visible.eq(self.visible[n]),
            ]

        octave = energies[0].octave
        if len(energies) == 2:
            octave = delay(m, _least(octave, energies[1].octave), name="octave")
        least = Signal.like(octave, reset_less=True)
        so_far = Signal.like(octave)
        level = Signal.like(octave, reset_less=True)
        m.d.comb += so_far.eq(Mux(self.first | (octave < least), octave, least))
        m.d.sync += least.eq(so_far)
        with m.If(self.last):
            m.d.sync += level.eq(so_far)
        m.d.comb += self.level.eq(level)

        wait = self.schedule.level - self.schedule.energy
        for n, energy in enumerate(energies):
            m.submodules[f"power_{n}"] = power = Power()
            m.d.comb += [
                power.fraction.eq(delay(m, energy.fraction, wait, name=f"fraction_{n}")),
                power.octave.eq(delay(m, energy.octave, wait, name=f"octave_{n}")),
                power.level.eq(level),
                self.p[n].eq(power.p),
            ]

        p = self.p[0]
        if len(energies) == 2:
            p = delay(m, p + self.p[1], name="p")
        total = Signal.like(self.sum, reset_less=True)
        m.d.sync += total.eq(Mux(self.sum_first, 0, total) + p)
        m.d.comb += self.sum.eq(total)
        return m


def _least(a: Value, b: Value) -> Value:
    return Mux(a < b, a, b).as_signed()
