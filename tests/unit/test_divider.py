"""The divider against the golden factor."""

import numpy as np
from amaranth.sim import Simulator

from heddle.rtl.divider import FACTOR_EXPONENT, TOTAL_BITS, Divider
from heddle.sim import attention

SHORTEST = 1 << 14


def divide(totals, gains, gain_shifts):
    """Return the factors for pairs of totals, each pair loaded as soon as allowed."""
    dut = Divider()
    jobs = len(totals)
    got = []

    async def bench(ctx):
        for cycle in range(dut.DISTANCE * (jobs - 1) + dut.LATENCY + 1):
            times = [(n, cycle - n * dut.DISTANCE) for n in range(jobs)]
            ctx.set(dut.load, any(time == 0 for _, time in times))
            ctx.set(dut.divide, any(time == dut.DIVIDE for _, time in times))
            ctx.set(dut.finish, any(time in dut.FINISH for _, time in times))
            ctx.set(dut.total, 0x1234567)
            for n, time in times:
                if time in (0, 1):
                    ctx.set(dut.total, int(totals[n][time]))
                if 0 <= time <= dut.HELD:
                    ctx.set(dut.gain, int(gains[n]))
                    ctx.set(dut.exponent, int(gain_shifts[n]) + FACTOR_EXPONENT)
                if time == dut.LATENCY:
                    got.append([(ctx.get(factor.multiplier), ctx.get(factor.shift))
                                for factor in dut.factors])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got


def factors(totals, gain, gain_shift):
    total = np.asarray(totals, np.int64)
    no = np.zeros(len(total), bool)
    state = attention.LaneState(total, total == 0, total, no, no)
    return [tuple(map(int, factor)) for factor in zip(*attention.factor(state, gain, gain_shift))]


def compare(totals, gains, gain_shifts):
    got = divide(totals, gains, gain_shifts)
    assert got == [factors(*job) for job in zip(totals, map(int, gains), map(int, gain_shifts))]


def test_random_totals():
    rng = np.random.default_rng(1)
    totals = np.exp2(rng.uniform(14, 28, (100, 2))).astype(np.int64)
    compare(totals, rng.integers(1 << 16, 1 << 17, 100), rng.integers(0, 64, 100))


def test_corners():
    totals = [0, SHORTEST, SHORTEST + 1, 1 << 20, (1 << 27) - 1, 1 << 27, (1 << TOTAL_BITS) - 1]
    cases = [((first, second), gain, shift)
             for first in totals for second in (totals[-1], 0)
             for gain in (1 << 16, (1 << 17) - 1) for shift in (0, 63)]
    compare(*zip(*cases))
