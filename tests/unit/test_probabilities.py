# amaranth: UnusedElaboratable=no
"""The probability buffer: what is written pair by pair is read at once."""

import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.rtl.export import verilog
from heddle.rtl.probabilities import Probabilities

SIZES = [
    {"rows": 4, "lanes": 4, "depth": 2, "groups": 1, "rows_per_cycle": 1, "slots": 4},
    {"rows": 4, "lanes": 2, "depth": 1, "groups": 1, "rows_per_cycle": 1, "slots": 2},
    {"rows": 8, "lanes": 6, "depth": 8, "groups": 1, "rows_per_cycle": 2, "slots": 4},
    {"rows": 16, "lanes": 4, "depth": 8, "groups": 2, "rows_per_cycle": 2, "slots": 2},
    {"rows": 16, "lanes": 4, "depth": 4, "groups": 2, "rows_per_cycle": 1, "slots": 2},
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_slots(size):
    """Fill the slots twice, with gaps; read each step of a tile once it is ready, in any order."""
    rng = np.random.default_rng(1)
    dut = Probabilities(**size)
    rows, lanes, per_cycle = size["rows"], size["lanes"], size["rows_per_cycle"]
    slots, groups, steps = size["slots"], size["groups"], rows // size["depth"]
    tiles = 2 * slots
    p = rng.integers(0, 128, (tiles, rows, lanes))
    scales = rng.integers(0, 256, (tiles, groups, lanes))
    length, start = rows // per_cycle, 0
    row_at, scale_at = {}, {}
    for tile in range(tiles):
        for n in range(length):
            row_at[start + n] = tile, n * per_cycle
        # The scales of the last group come after all rows, possibly while the next tile comes.
        for group in range(groups):
            scale_at[start + length + 3 - (groups - 1 - group) * (length // 2)] = tile, group
        # A tile comes when the one that had its slot was read.
        start += length + int(rng.integers(2)) + steps + lanes
    reads, expected, got = [], [], []

    async def bench(ctx):
        asked = {}
        done = 0
        for cycle in range(start + 40):
            ctx.set(dut.p_valid, cycle in row_at)
            ctx.set(dut.scale_valid, cycle in scale_at)
            for pair in range(lanes // 2):
                tile, row = row_at.get(cycle - pair, (0, 0))
                for h in range(per_cycle):
                    low, high = p[tile, row + h, 2 * pair:2 * pair + 2]
                    ctx.set(dut.p[h][pair], int(low | high << 7))
                tile, group = scale_at.get(cycle - pair, (0, 0))
                for lane in (2 * pair, 2 * pair + 1):
                    value = int(scales[tile, group, lane])
                    ctx.set(dut.scale[lane],
                            {"shift": value & 31, "raise": value >> 5 & 3, "up": value >> 7})
            if ctx.get(dut.ready):
                reads.extend((done, int(step)) for step in rng.permutation(steps))
                done += 1
            if reads:
                tile, step = reads.pop(0)
                ctx.set(dut.read_addr, tile % slots * steps + step)
                asked[cycle + dut.READ_LATENCY] = tile, step
            if cycle in asked:
                tile, step = asked[cycle]
                data = ctx.get(dut.read_data).to_bytes(size["depth"] * lanes, "little")
                got.append((list(data), [ctx.get(scale.as_value()) for scale in dut.scales]))
                part = p[tile, step * size["depth"]:(step + 1) * size["depth"]]
                expected.append((part.reshape(-1).tolist(),
                                 scales[tile, step * groups // steps].tolist()))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(got) == tiles * steps
    assert got == expected


def test_refused():
    with pytest.raises(ValueError, match="Depth must be at least the 2 rows of a cycle, not 1"):
        Probabilities(rows=8, lanes=2, depth=1, groups=1, rows_per_cycle=2, slots=2)


def test_pairs_are_written_once():
    text = verilog(Probabilities(**SIZES[2]), "probabilities", "generic")
    assert len(re.findall(r"^module heddle_probability_pair\w+", text, re.M)) == 1
    assert len(re.findall(r"^ +heddle_probability_pair\w+ ", text, re.M)) == 3
