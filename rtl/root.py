"""The reciprocal square root of all lanes: sums of rows become what the second pass needs."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .isa import Opcode, instruction_layout
from .norm_format import (
    FIRST_BITS,
    MEAN_BITS,
    MEAN_FRACTION,
    RECIPROCAL_BITS,
    SECOND_BITS,
    TOTAL_BITS,
)

__all__ = ["INDEX_BITS", "INTERVAL_BITS", "MANTISSA_BITS", "POINT_GUARD", "ROOTS", "ROOT_SHIFT",
           "Root", "root_layout", "sums_layout"]

MANTISSA_BITS = 17
"""Width of the mantissa of a root, whose highest bit is set."""

INDEX_BITS = 7
"""Bits behind the highest one that choose an interval of the table."""

INTERVAL_BITS = 12
"""Bits behind those, by which a number lies in its interval."""

POINT_GUARD = 4
"""Bits by which the numbers of the table are finer than a mantissa."""

ROOT_SHIFT = 6
"""Right shift that belongs to the root of a number in [1, 4): from a mean with its fraction bits
times a mantissa to the fraction bits of a normalised value."""


def _interval(odd: int, index: int) -> tuple[int, int]:
    """Return the reciprocal root at the begin of an interval, and by how much it falls in it."""
    left, middle, right = ((2 ** odd * (1 + (index + part) / 2 ** INDEX_BITS)) ** -0.5
                           for part in (0, 0.5, 1))
    unit = 2 ** (MANTISSA_BITS + POINT_GUARD)
    # The chord lies above the curve by most in the middle; half of that is taken off. The root
    # of 1 itself must not round to one bit more than a mantissa has.
    start = min(round((left - ((left + right) / 2 - middle) / 2) * unit),
                unit - (1 << POINT_GUARD - 1) - 1)
    return start, round((left - right) * unit)


ROOTS = [_interval(odd, index) for odd in range(2) for index in range(1 << INDEX_BITS)]
"""Start and fall of ``1 / √w`` for the intervals of ``w`` in [1, 2), then for those in [2, 4)."""

sums_layout = data.StructLayout({"first": signed(FIRST_BITS), "second": SECOND_BITS})
"""Sums over the rows of a lane: of the values, and of their squares."""

root_layout = data.StructLayout({
    "mean":     signed(MEAN_BITS),
    "mantissa": MANTISSA_BITS,
    "shift":    5,
})
"""What a lane needs for its second pass: a normalised value is the value less ``mean``, times
``mantissa``, to the right by ``shift``."""

_START_BITS = max(start for start, _ in ROOTS).bit_length()
_FALL_BITS = max(fall for _, fall in ROOTS).bit_length()


class Root(wiring.Component):
    """Mean and reciprocal root for the sums of a lane, every cycle those of another one.

    The result follows the sums by :attr:`LATENCY` cycles. The total of squares is that of the
    distances from the rounded mean, which is exact. Multiplied with the reciprocal of the number
    of features it is a mean, whose upper bits look up a root; those behind interpolate. That takes
    seven multipliers of a DSP's size.

    Members
    -------
    job : :py:`In(instruction_layout(Opcode.NORM))`
        Stable while sums are under way.
    sums : :py:`In(sums_layout)`
    root : :py:`Out(root_layout)`
        Of no meaning but for the mean, if the total of squares is 0.
    """

    _MEAN = 6
    _TOTAL = 13
    _HIGHEST = _TOTAL + 6
    _LOOKED_UP = _HIGHEST + 6
    LATENCY = _LOOKED_UP + 3

    def __init__(self) -> None:
        super().__init__({
            "job":  In(instruction_layout(Opcode.NORM)),
            "sums": In(sums_layout),
            "root": Out(root_layout),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        mean = self._mean(m)
        divisor, exponent = self._normalise(m, self._total(m, mean))
        mantissa, shift = self._look_up(m, divisor, exponent)
        m.d.comb += [
            self.root.mean.eq(delay(m, mean, self.LATENCY - self._MEAN, name="mean")),
            self.root.mantissa.eq(mantissa),
            self.root.shift.eq(shift),
        ]
        return m

    def _mean(self, m: Module) -> Signal:
        """Return the rounded mean, at :attr:`_MEAN`."""
        product = _multiply(m, self.sums.first, self.job.reciprocal, name="quotient")
        below = product >> RECIPROCAL_BITS - 2 - MEAN_FRACTION
        places = self.job.reciprocal_shift
        below = delay(m, (below >> (places[2:] << 2)).as_signed(), name="below_4")
        below = delay(m, (below >> places[:2])[:MEAN_BITS + 1].as_signed(), name="below_1")
        mean = Signal(signed(MEAN_BITS), reset_less=True)
        m.d.sync += mean.eq(Mux(self.job.rms, 0, (below >> 1) + below[0]))
        return mean

    def _total(self, m: Module, mean: Signal) -> Signal:
        """Return the sum of squared distances, with epsilon, at :attr:`_TOTAL`."""
        scaled = delay(m, mean * self.job.features, 2, name="scaled")
        first = delay(m, self.sums.first, self._MEAN + 2, name="first") << MEAN_FRACTION + 1
        distance = Signal(signed(FIRST_BITS + MEAN_FRACTION + 1), reset_less=True)
        total, known = (Signal(TOTAL_BITS, name=name, reset_less=True)
                        for name in ("total", "known"))
        m.d.sync += [
            distance.eq(first - scaled),
            known.eq((self.sums.second << 2 * MEAN_FRACTION) + self.job.epsilon),
        ]
        away = _multiply(m, distance, delay(m, mean, 3, name="factor"), name="away")
        m.d.sync += total.eq(delay(m, known, self._TOTAL - 2, name="known") - away)
        return total

    def _normalise(self, m: Module, total: Value) -> tuple[Value, Value]:
        """Return the upper bits of a total and the place of the highest, at :attr:`_HIGHEST`."""
        exponent: Value = Const(TOTAL_BITS - 1)
        for step in (32, 16, 8, 4, 2, 1):
            # What later steps may still shift up, stays.
            width = min(TOTAL_BITS, MANTISSA_BITS + step - 1)
            none = ~total[-step:].any()
            shifted = Mux(none, total << step, total)[:len(total)]
            total, exponent = (delay(m, value, name=f"{name}_{step}") for name, value in (
                ("total", shifted[-width:]),
                ("highest", (exponent - Mux(none, step, 0))[:7].as_signed())))
        return total, exponent

    def _look_up(self, m: Module, divisor: Value, exponent: Value) -> tuple[Value, Value]:
        """Return mantissa and shift of the root of ``features / divisor``."""
        fraction_bits = INDEX_BITS + INTERVAL_BITS
        number = self.job.reciprocal
        product = delay(m, delay(m, divisor, name="divisor") * number, name="product")
        mean = delay(m, (product + (number >> 1))[:MANTISSA_BITS + RECIPROCAL_BITS], name="mean_2")
        carry = mean[-1]
        fraction = delay(m, Mux(carry, mean[:-1], mean[:-2] << 1)[-fraction_bits:], name="fraction")
        exponent = delay(m, exponent, 3, name="exponent") - self.job.reciprocal_shift + carry
        exponent = delay(m, exponent[:7].as_signed(), name="exponent_4")

        m.submodules.roots = roots = memory.Memory(
            shape=_START_BITS + _FALL_BITS, depth=len(ROOTS),
            init=[start | fall << _START_BITS for start, fall in ROOTS])
        table = roots.read_port(domain="comb")
        m.d.comb += table.addr.eq(Cat(fraction[INTERVAL_BITS:], exponent[0]))
        # The second register gives the table the time that a block RAM takes.
        entry = delay(m, table.data, 2, name="entry")
        inside = delay(m, fraction[:INTERVAL_BITS], 2, name="inside")
        start = delay(m, entry[:_START_BITS], name="start")
        fallen = delay(m, entry[_START_BITS:] * inside, name="fallen") >> INTERVAL_BITS
        point = delay(m, (start - fallen)[:_START_BITS], name="point")
        mantissa = delay(m, (point + (1 << POINT_GUARD - 1))[POINT_GUARD:][:MANTISSA_BITS],
                         name="mantissa")
        shift = delay(m, (exponent + 2 * ROOT_SHIFT)[1:6], 5, name="shift")
        return mantissa, shift


def _multiply(m: Module, a: Value, b: Value, *, name: str) -> Signal:
    """Return the product of a wide and a narrower number, three cycles later, from two DSPs."""
    low_bits = 17
    a, b = delay(m, a, name=f"{name}_a"), delay(m, b, name=f"{name}_b")
    low = delay(m, a[:low_bits] * b, name=f"{name}_low")
    high = delay(m, (a >> low_bits) * b, name=f"{name}_high")
    return delay(m, (high << low_bits) + low, name=f"{name}")
