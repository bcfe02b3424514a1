# amaranth: UnusedElaboratable=no
"""The softmax of all lanes against the golden one."""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.rtl.export import verilog
from heddle.rtl.softmax import Softmax
from heddle.sim import attention

# Rows, lanes, depth and rows a cycle.
SIZES = [(4, 4, 2, 1), (4, 8, 4, 1), (8, 8, 8, 1), (8, 16, 8, 2), (16, 4, 8, 1), (16, 2, 8, 2),
         (16, 2, 2, 1)]
SMALL = [(4, 4, 2, 1), (8, 4, 4, 2), (16, 2, 8, 1), (16, 2, 8, 2)]


@dataclass
class Tile:
    """Scores of a tile and what the softmax is told of it."""

    scores: np.ndarray
    mask: np.ndarray
    begin: bool
    end: bool
    scale: attention.Scale
    gain: tuple[int, int]
    gap: int = 0
    start: int = field(default=0, init=False)

    def told(self):
        return {"begin": self.begin, "end": self.end, "masked": not self.mask.all(),
                "multiplier": self.scale.multiplier,
                "multiplier_shift": (self.scale.shift - 12) // 4,
                "gain": self.gain[0], "gain_shift": self.gain[1]}


def job(rng, scores, *, visible=0.8, gaps=(0,), scale=None):
    """Return the tiles of a job for scores of shape ``[tiles, rows, lanes]``."""
    scale = scale or attention.Scale(int(rng.integers(1 << 17)), int(rng.choice((12, 16, 20, 24))))
    gain = int(rng.integers(1 << 16, 1 << 17)), int(rng.integers(64))
    last = len(scores) - 1
    return [Tile(tile, rng.random(tile.shape) < visible, n == 0, n == last, scale, gain,
                 int(rng.choice(gaps))) for n, tile in enumerate(scores)]


def schedule(dut, tiles):
    """Set the start of each tile: as early as allowed, or later by its gap."""
    cycle, end = 3, -dut.END_DISTANCE
    for tile in tiles:
        cycle += tile.gap
        if tile.end:
            cycle = end = max(cycle, end + dut.END_DISTANCE)
        tile.start = cycle
        cycle += dut.rows // dut.rows_per_cycle


def play(dut, tiles, slots):
    """Return probabilities, scales and factors that come, each slot read as soon as it is ready."""
    starts = {tile.start: tile for tile in tiles}
    rows, lanes, per_cycle = dut.rows, dut.lanes, dut.rows_per_cycle
    pairs, steps = lanes // 2, len(dut.read_data) // 8 // lanes
    steps = rows // steps
    junk = np.random.default_rng(0).integers(-2**31, 2**31, 64)
    got, factors = [], []

    async def bench(ctx):
        reads, asked, due, ready = {}, 0, [], 0
        length = tiles[-1].start + 160 + 4 * rows
        for cycle in range(length):
            tile = starts.get(cycle)
            ctx.set(dut.start, tile is not None)
            if tile:
                ctx.set(dut.tile, tile.told())
                bits = "".join(str(int(b)) for b in tile.mask.reshape(-1)[::-1])
                ctx.set(dut.mask, int(bits, 2))
            else:
                ctx.set(dut.mask, int(junk[cycle % 64]) & (1 << rows * lanes) - 1)
            for pair in range(pairs):
                since = [s for s in range(cycle - pair - rows // per_cycle + 1, cycle - pair + 1)
                         if s in starts]
                for h in range(per_cycle):
                    for lane in (2 * pair, 2 * pair + 1):
                        value = junk[(cycle + lane) % 64]
                        if since:
                            row = per_cycle * (cycle - pair - since[-1]) + h
                            value = starts[since[-1]].scores[row, lane]
                        ctx.set(dut.scores[h][lane], int(value))
            ready += ctx.get(dut.ready)
            if asked < ready * steps:
                ctx.set(dut.read_addr, asked % (slots * steps))
                reads[cycle + dut.READ_LATENCY] = asked
                asked += 1
            if cycle in reads:
                data = ctx.get(dut.read_data).to_bytes(len(dut.read_data) // 8, "little")
                scales = [(s["shift"], s["raise"], s["up"]) for s in map(ctx.get, dut.scales)]
                got.append((np.frombuffer(data, np.int8).reshape(-1, lanes), np.array(scales)))
            if ctx.get(dut.factor_valid):
                due.append(cycle)
                factors.append(np.zeros((lanes, 2), int))
            for n, valid in enumerate(due):
                pair = cycle - valid
                for lane in (2 * pair, 2 * pair + 1):
                    if lane < lanes:
                        value = ctx.get(dut.factors[lane])
                        factors[n][lane] = value["multiplier"], value["shift"]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got, factors


def expected(tiles, depth):
    """Return the same from the golden model."""
    steps, factors = [], []
    for tile in tiles:
        if tile.begin:
            state = attention.LaneState.start(tile.scores.shape[1])
        energy = attention.energies(tile.scores, tile.scale)
        p, levels, seen = attention.tile_probabilities(energy, tile.mask)
        shift, code, up = state.add(p, levels, seen)
        keys = len(p) // len(shift)
        for step in range(0, len(p), depth):
            n = step // keys
            raises = code if n == 0 else np.zeros_like(code)
            steps.append((p[step:step + depth], np.stack((shift[n], raises, up[n]), axis=1)))
        if tile.end:
            factors.append(np.stack(attention.factor(state, *tile.gain), axis=1))
    return steps, factors


def compare(size, tiles, slots=4):
    dut = Softmax(*size, slots)
    schedule(dut, tiles)
    got, factors = play(dut, tiles, slots)
    wanted, wanted_factors = expected(tiles, size[2])
    for n, (mine, golden) in enumerate(zip(got, wanted, strict=True)):
        assert mine[0].tolist() == golden[0].tolist(), f"probabilities of step {n}"
        assert mine[1].tolist() == golden[1].tolist(), f"scales of step {n}"
    assert [f.tolist() for f in factors] == [f.tolist() for f in wanted_factors]


def spread(rng, tiles, rows, lanes, octaves, scale):
    """Return random scores that spread over some octaves, the lanes differently."""
    step = octaves * 64 * 2**scale.shift / max(scale.multiplier, 1)
    scores = rng.normal(0, 1, (tiles, rows, lanes)) * step * rng.random(lanes)
    return np.clip(np.rint(scores), -2**21 + 1, 2**21 - 1).astype(np.int64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gaps", [(0,), (0, 0, 1, 2, 3, 5, 17)])
def test_random_jobs(size, gaps):
    rng = np.random.default_rng(size)
    rows, lanes = size[:2]
    tiles = []
    for octaves in (2, 8, 40, 400):
        scale = attention.Scale(int(rng.integers(1 << 13, 1 << 17)), int(rng.choice((16, 20))))
        scores = spread(rng, int(rng.integers(1, 9)), rows, lanes, octaves, scale)
        tiles += job(rng, scores, gaps=gaps, scale=scale, visible=rng.choice((0.2, 0.9, 1)))
    compare(size, tiles)


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("gaps", [(0,), (0, 1, 2, 3, 4)])
def test_totals_that_fill_up(size, gaps):
    """The same scores in all tiles, so that the totals move the reference, early and late."""
    rng = np.random.default_rng(size)
    rows, lanes = size[:2]
    scale = attention.Scale(1 << 16, 16)
    scores = np.broadcast_to(-64 * (np.arange(lanes) % 4), (200 // rows, rows, lanes))
    tiles = job(rng, scores, visible=0.97, gaps=gaps, scale=scale)
    state = attention.LaneState.start(lanes)
    codes = []
    for tile in tiles:
        energy = attention.energies(tile.scores, tile.scale)
        codes.append(state.add(*attention.tile_probabilities(energy, tile.mask))[1])
    assert np.any(np.array(codes) == 1)
    compare(size, tiles)


@pytest.mark.parametrize("size", SMALL)
def test_hidden_tiles(size):
    """Jobs with lanes that see nothing at first, at last, in between, or at all."""
    rng = np.random.default_rng(size)
    rows, lanes = size[:2]
    tiles = []
    for _ in range(4):
        scores = rng.integers(-4000, 4000, (4, rows, lanes))
        tiles += job(rng, scores, scale=attention.Scale(1 << 15, 16), gaps=(0, 0, 1))
        for tile in tiles[-4:]:
            tile.mask &= rng.random(lanes) < 0.4
    tiles += job(rng, scores, visible=0)
    single = job(rng, scores[:1], visible=0)
    single[0].mask[rows - 1] = True
    compare(size, tiles + single)


@pytest.mark.parametrize("size", SMALL)
def test_extreme_scores(size):
    """Scores that saturate, rise and fall by more than any raise code says."""
    rng = np.random.default_rng(size)
    rows, lanes = size[:2]
    ends = rng.choice((-2**21 + 1, -40_000, -300, 0, 300, 40_000, 2**21 - 1), (24, rows, lanes))
    steep = np.sort(rng.integers(-2**21 + 1, 2**21, (8, rows, lanes)), axis=0)
    tiles = []
    for shift in (12, 16, 20, 24):
        scale = attention.Scale((1 << 17) - 1, shift)
        for scores in ends[:6], steep, steep[::-1]:
            tiles += job(rng, scores, scale=scale, visible=1)
        ends = ends[6:]
    compare(size, tiles)


@pytest.mark.parametrize("size", SMALL)
def test_short_jobs(size):
    """Jobs of one or two tiles, ending as often as allowed."""
    rng = np.random.default_rng(size)
    rows, lanes = size[:2]
    tiles = []
    for _ in range(8):
        scores = rng.integers(-1000, 1000, (int(rng.integers(1, 3)), rows, lanes))
        tiles += job(rng, scores, scale=attention.Scale(1 << 15, 16))
    compare(size, tiles)


@pytest.mark.parametrize(("size", "ready", "factor"), [
    ((16, 4, 8, 1), 37, 90), ((16, 4, 8, 2), 26, 79), ((8, 4, 8, 1), 28, 81),
    ((8, 4, 8, 2), 22, 75)])
def test_latency(size, ready, factor):
    """Cycles from the first row of a tile to its results, with two lane pairs."""
    dut = Softmax(*size, 4)
    times = {}

    async def bench(ctx):
        ctx.set(dut.tile, {"begin": 1, "end": 1})
        ctx.set(dut.start, 1)
        for cycle in range(100):
            for name in ("ready", "factor_valid"):
                if ctx.get(getattr(dut, name)):
                    times.setdefault(name, cycle)
            await ctx.tick()
            ctx.set(dut.start, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert times == {"ready": ready, "factor_valid": factor}


@pytest.mark.parametrize(("size", "message"), [
    ((32, 2, 8, 1), "Rows must be 4, 8 or 16 and at least 4 for each of the 1 of a cycle, not 32"),
    ((4, 2, 2, 2), "Rows must be 4, 8 or 16 and at least 4 for each of the 2 of a cycle, not 4"),
    ((8, 3, 2, 1), "Lanes must be a positive even number, not 3")])
def test_refused(size, message):
    with pytest.raises(ValueError, match=message):
        Softmax(*size)


def test_pairs_are_written_once():
    text = verilog(Softmax(8, 8, 8, 1, 4), "softmax", "generic")
    for name in ("softmax_pair", "probability_pair"):
        assert len(re.findall(rf"^module heddle_{name}\w+", text, re.M)) == 1
        assert len(re.findall(rf"^ +heddle_{name}\w+ ", text, re.M)) == 4
