"""An asynchronous serial port: 8 data bits, no parity, one stop bit, least bit first."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "byte_layout"]

byte_layout = data.StructLayout({"value": 8, "broken": 1})
"""A byte that came in; ``broken`` if its stop bit was low, so that the byte means nothing."""


def _check(divisor: int) -> None:
    if divisor < 4:
        raise ValueError(f"Divisor must be at least 4 cycles a bit, not {divisor}: a bit is "
                         "sampled in its middle")


class UartReceiver(wiring.Component):
    """Bits become bytes. A byte is offered for one cycle, and lost if it is not taken.

    A bit is sampled once, in its middle as counted from the edge of the start bit, so the clocks of
    both ends may differ by 4 %.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles a bit.

    Members
    -------
    rx : :py:`In(1)`
        The line, from outside the clock domain; high if idle.
    o : :py:`Out(stream.Signature(byte_layout, always_ready=True))`
    """

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({
            "rx": In(1, init=1),
            "o":  Out(stream.Signature(byte_layout, always_ready=True)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.line = FFSynchronizer(self.rx, line, init=1)
        timer = Signal(range(self.divisor))
        left = Signal(range(10))  # bits to sample, the stop bit among them
        bits = Signal(8, reset_less=True)
        m.d.comb += [self.o.p.value.eq(bits), self.o.p.broken.eq(~line)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self.divisor // 2 - 1), left.eq(9)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(line):  # a glitch
                    m.next = "IDLE"
                with m.Elif(timer == 0):
                    m.d.sync += timer.eq(self.divisor - 1)
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1)]
                    with m.If(left != 1):
                        m.d.sync += bits.eq(Cat(bits[1:], line))
                    with m.Else():
                        m.d.comb += self.o.valid.eq(1)
                        m.next = "STOP"
            with m.State("STOP"):  # after a broken byte the line may stay low for long
                with m.If(line):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes become bits.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles a bit. A byte takes ten bits, and one cycle more.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    tx : :py:`Out(1)`
        The line; high if idle.
    """

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        left = Signal(range(11))
        bits = Signal(10, init=1)
        m.d.comb += self.i.ready.eq(left == 0)
        m.d.sync += self.tx.eq(bits[0])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [timer.eq(self.divisor - 1), left.eq(10), bits.eq(Cat(0, self.i.p, 1))]
        with m.Elif(left != 0):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1),
                             bits.eq(Cat(bits[1:], 1))]
        return m
