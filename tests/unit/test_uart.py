# amaranth: UnusedElaboratable=no
"""The serial port, bit by bit."""

import random
from itertools import pairwise

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

from heddle.rtl.uart import UartReceiver, UartTransmitter


class _Loop(wiring.Component):
    """A transmitter whose line leads to a receiver."""

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({})
        self.transmitter = UartTransmitter(divisor)
        self.receiver = UartReceiver(divisor)

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter = self.transmitter
        m.submodules.receiver = self.receiver
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx)
        return m


def _simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


async def _listen(ctx, receiver, count, limit=10_000):
    """Return ``count`` bytes, and of each whether it was broken."""
    found = []
    for _ in range(limit):
        _, _, valid, value, broken = await ctx.tick().sample(
            receiver.o.valid, receiver.o.p.value, receiver.o.p.broken)
        if valid:
            found.append((value, broken))
            if len(found) == count:
                return found
    raise AssertionError(f"{count} bytes must come within {limit} cycles, not {found}")


async def _line(ctx, receiver, levels, cycles):
    for level in levels:
        ctx.set(receiver.rx, level)
        await ctx.tick().repeat(cycles)


def _bits(value, stop=1):
    return [0, *(value >> n & 1 for n in range(8)), stop]


@pytest.mark.parametrize("divisor", [4, 5, 25])
def test_bytes_pass_without_a_pause(divisor):
    dut = _Loop(divisor)
    values = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x48]
    cycles = []

    async def talk(ctx):
        cycle = 0
        for value in values:
            ctx.set(dut.transmitter.i.payload, value)
            ctx.set(dut.transmitter.i.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.transmitter.i.ready)
                cycle += 1
            cycles.append(cycle)
        ctx.set(dut.transmitter.i.valid, 0)

    async def check(ctx):
        assert await _listen(ctx, dut.receiver, len(values)) == [(value, 0) for value in values]

    _simulate(dut, talk, check)
    assert {after - before for before, after in pairwise(cycles)} == {10 * divisor + 1}


@pytest.mark.parametrize("percent", [-4, 4])
def test_the_clock_of_the_other_end_may_differ(percent):
    dut = UartReceiver(100)
    values = random.Random(0).sample(range(256), 5)

    async def talk(ctx):
        for value in values:
            await _line(ctx, dut, _bits(value), 100 + percent)

    async def check(ctx):
        assert await _listen(ctx, dut, 5) == [(value, 0) for value in values]

    _simulate(dut, talk, check)


def test_a_low_stop_bit_breaks_the_byte_and_not_the_next():
    dut = UartReceiver(8)

    async def talk(ctx):
        await _line(ctx, dut, [1, *_bits(0x12, stop=0), 0, 0, 0, 1, *_bits(0x34), 1], 8)

    async def check(ctx):
        assert await _listen(ctx, dut, 2) == [(0x12, 1), (0x34, 0)]

    _simulate(dut, talk, check)


def test_a_glitch_is_no_start_bit():
    dut = UartReceiver(16)

    async def talk(ctx):
        await _line(ctx, dut, [0], 5)
        await _line(ctx, dut, [1, *_bits(0x5A), 1], 16)

    async def check(ctx):
        assert await _listen(ctx, dut, 1) == [(0x5A, 0)]

    _simulate(dut, talk, check)


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
def test_the_divisor_has_a_least_value(component):
    with pytest.raises(ValueError, match="Divisor must be at least 4 cycles a bit, not 3"):
        component(3)
