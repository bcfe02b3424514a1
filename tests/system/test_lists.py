"""Products with lists on the whole machine: RTL against the golden machine, and without a pause."""

import itertools

import numpy as np
import pytest

import heddle
from heddle.assembler import Instruction, encode
from heddle.cost import estimate
from heddle.hazards import synchronise
from heddle.rtl.geometry import PRESETS
from heddle.rtl.isa import Layout, Opcode
from heddle.sim import layouts
from heddle.sim.executor import execute
from heddle.sim.simulator import Simulator

GEOMETRIES = [PRESETS["tiny"], PRESETS["tiny-nm"]]


@pytest.fixture(scope="module", params=GEOMETRIES, ids=lambda g: g.name)
def simulator(request):
    return Simulator(request.param)


def random_block(rng, g, steps, wide, tile_steps):
    """Return the words of a block with a list, of which some slots run out or never start."""
    limit = tile_steps // g.candidates
    last = np.minimum(rng.integers(0, limit, g.depth), (255 if wide else 15) * steps)
    addresses = np.sort(rng.integers(0, last + 1, (steps, g.depth)), axis=0)
    if not wide:
        gaps = np.minimum(np.diff(addresses, axis=0, prepend=0), 15)
        addresses = np.cumsum(gaps, axis=0)
    weights = rng.integers(-127, 128, (steps, g.depth, g.rows))
    weights[rng.integers(0, steps + 1, g.depth)[None] <= np.arange(steps)[:, None]] = 0
    selectors = rng.integers(0, g.candidates, weights.shape)
    return np.concatenate([
        weights.astype(np.int8).view(np.uint8).reshape(steps, -1), random_channels(rng, g),
        layouts.pack_list(addresses, selectors, g.selector_bits, word_bytes=g.word_bytes,
                          wide=wide)])


def random_channels(rng, g):
    return layouts.pack_channels(rng.integers(-99, 99, g.rows), rng.integers(9, 99, g.rows),
                                 [13] * g.rows).reshape(-1, g.word_bytes)


def random_weights(rng, g, steps):
    return np.concatenate([layouts.pack_blocks(rng.integers(-127, 128, (steps * g.depth, g.rows)),
                                               g.rows, g.depth)[0], random_channels(rng, g)])


class Writer:
    """Lays out an image word by word, and the program that works on it."""

    def __init__(self, geometry, rng, tiles, tile_steps):
        self.geometry, self.rng, self.tiles, self.tile_steps = geometry, rng, tiles, tile_steps
        self.words, self.program, self.pool = [], [], 0
        x = rng.integers(0, 256, (tiles * tile_steps * geometry.step_words, geometry.word_bytes))
        start = self.load(x.astype(np.uint8))
        self.program.append(Instruction(Opcode.FILL, {
            "pool": start, "pool_stride": tile_steps * geometry.step_words, "count": tiles,
            "stride": tile_steps, "steps": tile_steps}))

    def load(self, words, count=1):
        """Append data to the image and load it in so many iterations; return its pool address."""
        g, size = self.geometry, len(words)
        dram = sum(map(len, self.words))
        self.words.append(words)
        if self.pool + size > g.scratchpad_words - 256:
            self.pool = 0
        start, self.pool = self.pool, self.pool + size
        self.program.append(Instruction(Opcode.LOAD, {
            "dram": dram * g.word_bytes, "dram_stride": size // count * g.word_bytes,
            "pool": start, "pool_stride": size // count, "count": count, "rows": 1,
            "words": size // count}))
        return start

    def product(self, words, count, **fields):
        """Multiply blocks, given word by word, with all tiles and store what comes out."""
        g, size = self.geometry, count * self.tiles * self.geometry.tile_words
        a, c = self.load(words, count), g.scratchpad_words - 256
        self.program.append(Instruction(Opcode.MATMUL, {
            "a": a, "a_stride": len(words) // count, "b_stride": self.tile_steps,
            "blocks": count, "tiles": self.tiles, "c": c, "c_tile_stride": g.tile_words,
            "c_stride": self.tiles * g.tile_words, "drain": 1, "layout": Layout.VECTORS, **fields}))
        if self.program[-1]["drain"]:
            self.program.append(Instruction(Opcode.STORE, {
                "dram": sum(map(len, self.words)) * g.word_bytes, "pool": c, "count": 1,
                "rows": 1, "words": size}))
            self.words.append(np.zeros((size, g.word_bytes), np.uint8))

    def image(self):
        """Return the image and where the program, with its tokens, lies in it."""
        synchronise(self.program, self.geometry)
        data = np.concatenate(self.words).ravel()
        data = np.pad(data, (0, -data.size % 64))
        code = np.frombuffer(b"".join(map(encode, self.program)), np.uint8)
        image = np.concatenate([data, code])
        return np.pad(image, (0, -image.size % self.geometry.word_bytes)), data.size


def check(simulator, writer, **settings):
    """Run a program on the RTL and on the golden machine; return the counters of the RTL."""
    image, offset = writer.image()
    wanted = image.copy()
    totals = execute(simulator.geometry, wanted, offset=offset, instructions=len(writer.program))
    run = simulator.run(image, program=offset, length=len(writer.program), limit=200_000,
                        **settings)
    assert run.finished
    np.testing.assert_array_equal(run.image, wanted)
    assert run.registers["ARRAY_BUSY"] == totals.array_cycles
    assert estimate(writer.program, simulator.geometry).array_cycles == totals.array_cycles
    return run.registers


@pytest.mark.parametrize("latency", [3, 100])
@pytest.mark.parametrize("seed", range(6))
def test_random_lists(simulator, seed, latency):
    """Lists of all lengths, from one step to a whole tile and more, between dense products."""
    g, rng = simulator.geometry, np.random.default_rng(seed)
    tiles = 1 + seed % 4
    tile_steps = g.operand_steps // max(tiles, 2) // g.candidates * g.candidates
    writer = Writer(g, rng, tiles, tile_steps)
    for steps, wide in itertools.product((1, 2, 5, 9, g.list_steps // 2 - seed, g.list_steps),
                                         (0, 1)):
        blocks = min(int(rng.integers(1, 9)), 300 // (2 * steps), 16 // tiles)
        words = [random_block(rng, g, steps, wide, tile_steps) for _ in range(max(blocks, 1))]
        writer.product(np.concatenate(words), len(words), steps=steps, listed=1, wide=wide)
        if rng.random() < 0.3:
            dense = int(rng.integers(1, tile_steps + 1))
            writer.product(random_weights(rng, g, dense), 1, steps=dense)
    check(simulator, writer, latency=latency)


def test_empty_blocks(simulator):
    """A block in which nothing is kept has one step of zeros: its outputs are the biases."""
    g, rng = simulator.geometry, np.random.default_rng(0)
    writer = Writer(g, rng, 2, 2 * g.candidates)
    blocks = [random_block(rng, g, 1, False, g.candidates) for _ in range(6)]
    for block in blocks[::2]:
        block[0] = 0
    writer.product(np.concatenate(blocks), 6, steps=1, listed=1)
    check(simulator, writer)


def test_a_list_visits_an_address_again(simulator):
    """N of M candidates: the same address N times."""
    g, rng = simulator.geometry, np.random.default_rng(0)
    writer = Writer(g, rng, 2, 4 * g.candidates)
    addresses = np.repeat(np.arange(4), 2)[:, np.newaxis].repeat(g.depth, axis=1)
    selectors = rng.integers(0, g.candidates, (8, g.depth, g.rows))
    writer.product(np.concatenate([
        random_weights(rng, g, 8), layouts.pack_list(addresses, selectors, g.selector_bits,
                                                     word_bytes=g.word_bytes)]),
        1, steps=8, listed=1)
    check(simulator, writer)


def test_totals_of_lists_wait_in_contexts(simulator):
    """Lists may add to what other products left."""
    g, rng = simulator.geometry, np.random.default_rng(0)
    writer = Writer(g, rng, 2, 8 * g.candidates)
    block = np.concatenate([random_block(rng, g, 5, False, writer.tile_steps) for _ in range(2)])
    dense = np.concatenate([random_weights(rng, g, 7) for _ in range(2)])
    writer.product(block, 2, steps=5, listed=1, drain=0)
    writer.product(dense, 2, steps=7, drain=0, accumulate=1)
    writer.product(block, 2, steps=5, listed=1, accumulate=1)
    check(simulator, writer)


@pytest.mark.parametrize(("tokens", "inputs", "outputs"), [(3, 9, 5), (21, 50, 30), (9, 300, 10)])
def test_dense_layers_with_candidates(tokens, inputs, outputs):
    rng = np.random.default_rng(tokens)
    report = heddle.linear(rng.normal(size=(tokens, inputs)), rng.normal(size=(outputs, inputs)),
                           geometry="tiny-nm", device="rtl").report
    assert report["matches_golden"]


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 3, "dilation": 4}], ids=str)
def test_attention_with_candidates(options):
    """Probabilities are the first candidate, queries any of them."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 21, 7))
    report = heddle.attention(q, k, v, geometry="tiny-nm", device="rtl", **options).report
    assert report["matches_golden"]


@pytest.mark.parametrize(("tiles", "steps", "wide"), [
    (1, 12, 0), (1, 16, 0), (1, 30, 1), (3, 8, 0), (3, 9, 1), (3, 30, 0)])
def test_no_pause_between_tiles_and_blocks(simulator, tiles, steps, wide):
    """What further blocks cost is their steps: lists come as fast as the array uses them.

    Shorter lists would be held up: the scratchpad has one port for lists, parameters and results,
    and on these geometries the last two take six words a tile.
    """
    g = simulator.geometry
    cycles = []
    for blocks in (10, 50):
        rng = np.random.default_rng(steps)
        writer = Writer(g, rng, tiles, 16 // tiles * g.candidates)
        words = random_block(rng, g, steps, wide, writer.tile_steps)
        writer.product(words, 1, steps=steps, listed=1, wide=wide, blocks=blocks, a_stride=0,
                       c_stride=0)
        cycles.append(check(simulator, writer)["CYCLES"])
    assert cycles[1] - cycles[0] == 40 * tiles * steps
