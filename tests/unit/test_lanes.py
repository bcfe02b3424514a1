# amaranth: UnusedElaboratable=no
"""The lanes against the golden requantisation."""

import itertools
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.rtl.activation import FRACTION_BITS, GATE_BITS, INDICES, GateTable, complements
from heddle.rtl.export import verilog
from heddle.rtl.isa import Activation
from heddle.rtl.lanes import Lanes
from heddle.rtl.requantiser import FACTOR_ROUND, FACTOR_SHIFT, Requantiser
from heddle.sim import golden


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def row(bias, multiplier, shift, gate_shift=0, activation=Activation.NONE):
    return {"channel": {"bias": int(bias), "multiplier": int(multiplier), "shift": int(shift),
                        "gate_shift": int(gate_shift), "unused": 0},
            "activation": int(activation), "factor": 0, "job": 0}


def factor_row(job):
    """Return a row of a job, with parameters of a channel that must not matter."""
    return row(-12345, 54321, 7, 9) | {"factor": 1, "job": job}


def stream_rows(acc, rows, factors=(), jobs=2):
    """Send rows through ``Lanes``, skewed, one a cycle; return the vectors that come out.

    ``factors`` has for each job the cycle in which they come to lane 0, multipliers and shifts.
    """
    count, lanes = acc.shape
    dut = Lanes(lanes, jobs)
    got = []
    arrivals = {(cycle + j // 2, j): {"multiplier": int(multiplier[j]), "shift": int(shift[j])}
                for cycle, multiplier, shift in factors for j in range(lanes)}

    async def bench(ctx):
        for cycle in range(count + dut.latency + 1):
            for j in range(lanes):
                r = cycle - j // 2
                ctx.set(dut.i[j], int(acc[r, j]) if 0 <= r < count else 0x5A5A5A5)
                ctx.set(dut.factors[j], arrivals.get((cycle, j), {"multiplier": 7, "shift": 1}))
            ctx.set(dut.row, rows[cycle] if cycle < count else row(-1, 99999, 3))
            ctx.set(dut.factor_valid, any(cycle == at for at, _, _ in factors))
            if cycle >= dut.latency:
                vector = ctx.get(dut.o).to_bytes(lanes, "little")
                got.append(np.frombuffer(vector, np.int8))
            await ctx.tick()

    run(dut, bench)
    return np.array(got[:count])


def scale_by_factor(acc, multiplier, shift):
    """Return rows of accumulators scaled by the factor of each lane."""
    product = (acc + FACTOR_ROUND >> FACTOR_SHIFT) * multiplier
    return np.clip(((product - (product < 0)) >> shift) + 1 >> 1, -127, 127)


def compare(acc, bias, multiplier, shift):
    got = stream_rows(acc, [*map(row, bias, multiplier, shift)])
    assert got.tolist() == golden.requantise(acc, bias, multiplier, shift).tolist()


def compare_activations(acc, channels, activations):
    """Rows with each its parameters and its activation, which change from row to row."""
    got = stream_rows(acc, [*map(row, *channels, activations)])
    wanted = np.zeros_like(got)
    for activation in Activation:
        mine = activations == activation
        wanted[mine] = golden.requantise(acc[mine], *(p[mine] for p in channels), activation)
    assert got.tolist() == wanted.tolist()


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


def test_every_gate():
    """Each index of the table, within it and beyond, for each activation."""
    dut = GateTable()
    inputs = list(itertools.product(Activation, range(-INDICES, INDICES), (0, 1)))

    async def bench(ctx):
        for n in range(len(inputs) + dut.LATENCY):
            activation, index, over = inputs[min(n, len(inputs) - 1)]
            ctx.set(dut.activation, int(activation))
            ctx.set(dut.index, index)
            ctx.set(dut.over, over)
            if n >= dut.LATENCY:
                activation, index, over = inputs[n - dut.LATENCY]
                assert ctx.get(dut.gate) == gate(activation, index, over)
            await ctx.tick()

    def gate(activation, index, over):
        if activation == Activation.NONE:
            return 1 << FRACTION_BITS + GATE_BITS - 1
        missing = 0 if over else complements(activation)[index if index >= 0 else ~index]
        return missing if index < 0 else (1 << GATE_BITS) - missing

    run(dut, bench)


def test_indices_of_gates_and_their_neighbours():
    """Values around changes of the index, for each activation and shift, and far beyond."""
    index = np.array([-(1 << 16), -(1 << 12), -130, -129, -128, -127, -97, -2, -1, 0, 1, 2, 33,
                      126, 127, 128, 129, (1 << 12) - 1, 1 << 16])
    activations, gate_shift = (part.ravel() for part in np.meshgrid(Activation, np.arange(16)))
    values = (index << gate_shift[:, None])[:, :, None] + [-1, 0, 1, 2]
    acc = np.clip(values, -2**26, 2**26 - 1).reshape(-1, 4)
    channels = np.zeros((4, len(acc)), int)
    channels[1] = 1
    channels[3] = gate_shift.repeat(index.size)
    compare_activations(acc, channels, activations.repeat(index.size))


def test_random_rows_with_activations():
    rng = np.random.default_rng(7)
    count, lanes = 1000, 4
    acc = rng.integers(-2**31, 2**31, (count, lanes)) >> rng.integers(0, 32, (count, lanes))
    channels = np.array([rng.integers(-2**31, 2**31, count) >> rng.integers(0, 32, count),
                         rng.integers(0, 2**17, count), rng.integers(0, 64, count),
                         rng.integers(0, 16, count)])
    compare_activations(acc, channels, rng.integers(0, len(Activation), count))


def test_latency():
    dut = Lanes(8, 2)
    assert dut.latency == Requantiser.LATENCY + 3
    assert (stream_rows(np.full((1, 8), 50), [row(0, 1, 0)]) == 25).all()


@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_factors_of_jobs(lanes, jobs):
    """Rows of jobs and of channels mix; the factors of a job come while others are in use."""
    rng = np.random.default_rng(lanes)
    each, ahead = 20, jobs - 1
    multiplier = rng.integers(0, 1 << 17, (3 * jobs, lanes))
    shift = rng.integers(20, 34, (3 * jobs, lanes))
    job = np.arange(3 * jobs * each) // each
    acc = rng.integers(-2**31, 2**31 - FACTOR_ROUND, (job.size, lanes)) >> rng.integers(
        0, 16, (job.size, lanes))
    want = scale_by_factor(acc, multiplier[job], shift[job])
    by_channel = rng.random(job.size) < 0.3
    rows = []
    for n, channel in enumerate(by_channel):
        if channel:
            parameters = (rng.integers(-9999, 9999), rng.integers(1 << 17), rng.integers(20, 40))
            want[n] = golden.requantise(acc[n:n + 1], *([p] for p in parameters))
        rows.append(row(*parameters) if channel else factor_row(job[n] % jobs))
    # As early as the place allows: in the cycle after the last row of the job that had it.
    rows = [row(0, 0, 0)] * jobs + rows
    acc = np.vstack([np.zeros((jobs, lanes), int), acc])
    factors = [(n if n < jobs else jobs + (n - ahead) * each, multiplier[n], shift[n])
               for n in range(3 * jobs)]
    assert stream_rows(acc, rows, factors, jobs)[jobs:].tolist() == want.tolist()


@pytest.mark.parametrize("shift", [0, 5, 16, 24, 40, 63])
def test_corner_values_of_factors(shift):
    acc = np.array([0, 15, 16, 17, -16, -17, -15, 47, 48, 2**20, -2**20, 2**31 - FACTOR_ROUND - 1,
                    -2**31, 1 << 24])[:, None].repeat(4, 1)
    multiplier = np.array([0, 1, 1 << 16, (1 << 17) - 1])
    shifts = np.full(4, shift)
    rows = [factor_row(0)] * len(acc)
    idle = np.zeros((1, 4), int)
    got = stream_rows(np.vstack([idle, acc]), [row(0, 0, 0), *rows], [(0, multiplier, shifts)])
    assert got[1:].tolist() == scale_by_factor(acc, multiplier, shifts).tolist()


@pytest.mark.parametrize("lanes", [0, 3, -2])
def test_lanes_refused(lanes):
    with pytest.raises(ValueError, match=f"Lanes must be a positive even number, not {lanes}"):
        Lanes(lanes, 2)


@pytest.mark.parametrize("jobs", [0, 3])
def test_jobs_refused(jobs):
    with pytest.raises(ValueError, match=f"Jobs must be a power of two, not {jobs}"):
        Lanes(4, jobs)


def test_pairs_are_written_once():
    text = verilog(Lanes(16, 2), "lanes", "generic")
    assert len(re.findall(r"^module heddle_lane_pair_j2\b", text, re.M)) == 1
    assert len(re.findall(r"^ +heddle_lane_pair_j2\b", text, re.M)) == 8
