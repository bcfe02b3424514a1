"""The lanes: bias, requantisation and saturation of the rows that leave the array."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .target import place

__all__ = ["SUM_BITS", "LanePair", "Lanes", "Requantiser", "channel_layout"]

SUM_BITS = 27
"""Width of the signed sum of accumulator and bias, to which it saturates: a DSP's A operand."""

channel_layout = data.StructLayout({
    "bias":       signed(32),
    "multiplier": unsigned(17),
    "shift":      unsigned(6),
    "unused":     unsigned(9),
})
"""The 8 bytes of requantisation parameters of an output channel, as they lie in the scratchpad.

``bias``
    Added to the accumulator.
``multiplier``, ``shift``
    The scale is ``multiplier / 2^(shift + 1)``.
"""


class Requantiser(wiring.Component):
    """One lane: ``(i + bias)·multiplier / 2^(shift+1)``, ties away from zero, within ±127.

    The sum saturates to :data:`SUM_BITS` bits first. A value is accepted each cycle; its result
    follows :attr:`LATENCY` cycles later. The multiplication takes one DSP with all its registers:
    subtracting 1 from a negative product (port C) makes rounding half up one half away from zero.
    The shift drops to the 9 bits that decide the result in three steps of 4:1 multiplexers.

    Members
    -------
    i, bias : :py:`In(signed(32))`
    multiplier : :py:`In(17)`
        :attr:`MULTIPLIER_DELAY` cycles after ``i``.
    shift : :py:`In(2).array(3)`
        Bits 5:4, 3:2 and 1:0 of the shift; item ``n`` is :attr:`SHIFT_DELAY` + ``n`` cycles after
        ``i``.
    o : :py:`Out(signed(8))`
    """

    MULTIPLIER_DELAY = 2
    SHIFT_DELAY = 5
    LATENCY = 10

    def __init__(self) -> None:
        super().__init__({
            "i":          In(signed(32)),
            "bias":       In(signed(32)),
            "multiplier": In(channel_layout["multiplier"].shape),
            "shift":      In(2).array(3),
            "o":          Out(signed(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        value, over = self._shift(m, self._product(m))
        rounded = Signal(signed(9), reset_less=True)
        lost, negative = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            rounded.eq((value >> 1) + value[0]),
            lost.eq(over),
            negative.eq(value[-1]),
        ]
        o = Signal.like(self.o, reset_less=True)
        m.d.sync += o.eq(rounded)
        with m.If(lost | (rounded == 128) | (rounded == -128)):
            m.d.sync += o.eq(Mux(negative, -127, 127))
        m.d.comb += self.o.eq(o)
        return m

    def _product(self, m: Module) -> Signal:
        """Return the product, less 1 if it is negative: five cycles."""
        total, checked = (Signal(signed(33), name=name, reset_less=True)
                          for name in ("total", "checked"))
        fits = Signal(reset_less=True)
        a = Signal(signed(SUM_BITS), reset_less=True)
        b = Signal.like(self.multiplier, reset_less=True)
        less = Signal(signed(1), reset_less=True)
        product, p = (Signal(signed(SUM_BITS + 18), name=name, reset_less=True)
                      for name in ("product", "p"))
        largest = (1 << (SUM_BITS - 1)) - 1
        m.d.sync += [
            total.eq(self.i + self.bias),
            checked.eq(total),
            fits.eq(_fits(total, SUM_BITS)),
            a.eq(Mux(fits, checked, Mux(checked[-1], ~largest, largest))),
            b.eq(self.multiplier),
            product.eq(a * b),
            less.eq(a[-1]),
            p.eq(product + less),
        ]
        return p

    def _shift(self, m: Module, value: Value) -> tuple[Value, Value]:
        """Return the shifted value in 9 bits, and whether it needs more: three cycles.

        The sign bit is right in any case.
        """
        over: Value = Const(0)
        for select, unit in zip(self.shift, (16, 4, 1), strict=True):
            sign, bits = value[-1], 9 + (unit - 1)  # what later steps shift out stays, too
            value, before = Signal(signed(bits), name=f"shifted_{unit}", reset_less=True), value
            over, lost = Signal(name=f"over_{unit}", reset_less=True), over
            with m.Switch(select):
                for n in range(4):
                    shifted = before >> n * unit
                    with m.Case(n):
                        m.d.sync += [value.eq(Cat(shifted[:bits - 1], sign)),
                                     over.eq(lost | ~_fits(shifted, bits))]
        return value, over


def _fits(value: Value, width: int) -> Value:
    """Return whether ``width`` bits hold a signed value."""
    upper = value[width - 1:]
    return upper.all() | ~upper.any()


class LanePair(wiring.Component):
    """The two lanes that leave one column of the array together.

    Members
    -------
    i : :py:`In(signed(32)).array(2)`
    channel : :py:`In(channel_layout)`
        Of the row at ``i``.
    channel_next : :py:`Out(channel_layout)`
        ``channel`` one cycle later, for the next pair.
    o : :py:`Out(16)`
        The two results, :attr:`Requantiser.LATENCY` cycles after ``i``.
    """

    module_name = "heddle_lane_pair"

    def __init__(self) -> None:
        super().__init__({
            "i":            In(signed(32)).array(2),
            "channel":      In(channel_layout),
            "channel_next": Out(channel_layout),
            "o":            Out(16),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.channel_next.eq(delay(m, self.channel, name="channel"))
        multiplier = delay(m, self.channel.multiplier, Requantiser.MULTIPLIER_DELAY,
                           name="multiplier")
        shifts = [delay(m, self.channel.shift[low:low + 2], Requantiser.SHIFT_DELAY + n,
                        name=f"shift_{low}") for n, low in enumerate((4, 2, 0))]
        for n in range(2):
            m.submodules[f"lane_{n}"] = lane = Requantiser()
            m.d.comb += [
                lane.i.eq(self.i[n]),
                lane.bias.eq(self.channel.bias),
                lane.multiplier.eq(multiplier),
                *(port.eq(shift) for port, shift in zip(lane.shift, shifts, strict=True)),
                self.o.word_select(n, 8).eq(lane.o),
            ]
        return m


class Lanes(wiring.Component):
    """All lanes: rows come in skewed, a lane pair a cycle, and leave as vectors.

    The parameters of a row walk from pair to pair along with the skew.

    Parameters
    ----------
    lanes : :class:`int`
        Lanes; even.

    Members
    -------
    i : :py:`In(signed(32)).array(lanes)`
        Rows of the array; lanes ``2p`` and ``2p + 1`` are ``p`` cycles later than lane 0.
    channel : :py:`In(channel_layout)`
        Parameters of the row at lane 0.
    o : :py:`Out(8 * lanes)`
        Vector of the row that was at lane 0 :attr:`latency` cycles ago; byte ``j`` is lane ``j``.

    Raises
    ------
    ValueError
        If the number of lanes is odd.
    """

    def __init__(self, lanes: int):
        if lanes <= 0 or lanes % 2:
            raise ValueError(f"Lanes must be a positive even number, not {lanes}")
        self.lanes = lanes
        super().__init__({
            "i":       In(signed(32)).array(lanes),
            "channel": In(channel_layout),
            "o":       Out(8 * lanes),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row at lane 0 to its vector."""
        return Requantiser.LATENCY + self.lanes // 2 - 1

    def elaborate(self, platform) -> Module:
        m = Module()
        channel = self.channel
        for p in range(self.lanes // 2):
            pair = LanePair()
            m.submodules[f"pair_{p}"] = place(pair, platform)
            m.d.comb += [
                pair.channel.eq(channel),
                pair.i[0].eq(self.i[2 * p]),
                pair.i[1].eq(self.i[2 * p + 1]),
                self.o.word_select(p, 16).eq(
                    delay(m, pair.o, self.lanes // 2 - 1 - p, name=f"deskew_{p}")),
            ]
            channel = pair.channel_next
        return m
