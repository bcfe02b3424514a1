# amaranth: UnusedElaboratable=no
"""The lanes against the golden requantisation."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.rtl.export import verilog
from heddle.rtl.lanes import Lanes, Requantiser
from heddle.sim import golden


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def channel(bias, multiplier, shift):
    return {"bias": int(bias), "multiplier": int(multiplier), "shift": int(shift), "unused": 0}


def stream_rows(acc, bias, multiplier, shift):
    """Send rows through ``Lanes``, skewed, one a cycle; return the vectors that come out."""
    count, lanes = acc.shape
    dut = Lanes(lanes)
    got = []

    async def bench(ctx):
        for cycle in range(count + dut.latency + 1):
            for j in range(lanes):
                row = cycle - j // 2
                ctx.set(dut.i[j], int(acc[row, j]) if 0 <= row < count else 0x5A5A5A5)
            if cycle < count:
                ctx.set(dut.channel, channel(bias[cycle], multiplier[cycle], shift[cycle]))
            else:
                ctx.set(dut.channel, channel(-1, 99999, 3))
            if cycle >= dut.latency:
                vector = ctx.get(dut.o).to_bytes(lanes, "little")
                got.append(np.frombuffer(vector, np.int8))
            await ctx.tick()

    run(dut, bench)
    return np.array(got[:count])


def compare(acc, bias, multiplier, shift):
    got = stream_rows(acc, bias, multiplier, shift)
    assert got.tolist() == golden.requantise(acc, bias, multiplier, shift).tolist()


CORNERS_ACC = [0, 1, -1, 2, -2, 127, -128, 2**26 - 1, 2**26, -2**26, -2**26 - 1, 2**31 - 1, -2**31]
CORNERS = [(bias, multiplier, shift)
           for bias in (0, -1, 2**26, -2**31, 2**31 - 1)
           for multiplier in (0, 1, 2**16, 2**17 - 1)
           for shift in (0, 1, 7, 15, 16, 31, 32, 42, 43, 47, 48, 63)]


def test_corner_values():
    acc = np.resize(CORNERS_ACC, (len(CORNERS), 14))
    compare(acc, *np.array(CORNERS).T)


def test_every_tie_and_its_neighbours():
    """Sums around each multiple of half an output step, for each shift."""
    half = np.arange(-260, 260)
    for low in (0, 6, 12):
        shifts = np.arange(low, low + 6)
        acc = (half << shifts[:, None])[:, :, None] + [-1, 0, 1]
        shift = np.repeat(shifts, half.size // 2)
        compare(acc.reshape(-1, 6), np.zeros_like(shift), np.ones_like(shift), shift)


@pytest.mark.parametrize("lanes", [2, 4, 16])
def test_random_rows(lanes):
    rng = np.random.default_rng(lanes)
    count = 4000 // lanes
    acc = rng.integers(-2**31, 2**31, (count, lanes)) >> rng.integers(0, 32, (count, lanes))
    bias = rng.integers(-2**31, 2**31, count) >> rng.integers(0, 32, count)
    compare(acc, bias, rng.integers(0, 2**17, count), rng.integers(0, 64, count))


def test_scales_of_a_layer():
    """Parameters as the compiler makes them: most results are inside the range."""
    rng = np.random.default_rng(5)
    multiplier, shift = golden.quantise_scale(np.exp2(rng.uniform(-16, -4, 400)))
    acc = np.rint(rng.normal(0, 60, (400, 8)) / np.ldexp(multiplier, -shift - 1)[:, None])
    compare(acc.astype(np.int64), rng.integers(-500, 500, 400), multiplier, shift)


def test_latency():
    dut = Lanes(8)
    assert dut.latency == Requantiser.LATENCY + 3
    assert (stream_rows(np.full((1, 8), 50), [0], [1], [0]) == 25).all()


@pytest.mark.parametrize("lanes", [0, 3, -2])
def test_lanes_refused(lanes):
    with pytest.raises(ValueError, match=f"Lanes must be a positive even number, not {lanes}"):
        Lanes(lanes)


def test_pairs_are_written_once():
    text = verilog(Lanes(16), "lanes", "generic")
    assert len(re.findall(r"^module heddle_lane_pair\b", text, re.M)) == 1
    assert len(re.findall(r"^ +heddle_lane_pair\b", text, re.M)) == 8
