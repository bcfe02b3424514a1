"""Programs with NORM on the whole machine: products around it, all flags, the golden image."""

import itertools

import numpy as np
import pytest

from heddle.assembler import assemble, encode
from heddle.cost import estimate
from heddle.hazards import synchronise
from heddle.rtl.geometry import PRESETS
from heddle.sim import layouts, norm
from heddle.sim.executor import execute
from heddle.sim.simulator import Simulator

TINY = PRESETS["tiny"]
ROWS, LANES, DEPTH, WORD = TINY.rows, TINY.lanes, TINY.depth, TINY.word_bytes
FLAGS = [flags for flags in itertools.product((0, 1), repeat=4) if flags[1] or flags[2]]


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY)


class Layer:
    """A projection, its residual sum, normalisation, and a projection of that, by hand.

    The first product gives ``o``, NORM the sum and what is normalised, and FILL reads one of them
    for the second product, in the same queue and without a token.
    """

    def __init__(self, features, tiles, residual, norms, sums, rms, *, in_place=False, seed=0):
        rng = np.random.default_rng(seed)
        g = TINY
        padded = -(-features // ROWS) * ROWS
        steps, blocks = padded // DEPTH, padded // ROWS
        words, block = padded // g.vectors_per_word, steps + g.channel_words
        data = [self._vectors(rng, features, padded, tiles)]
        data += [self._blocks(rng, features, padded) for _ in range(2)]
        scales = self._scales(rng, features).padded(padded)
        data.append(norm.pack_norm(scales, WORD, norm=norms))
        self.data = np.concatenate([part.reshape(-1, WORD) for part in data])
        starts = np.cumsum([0, *(part.size // WORD for part in data)])
        x, first, second, params, free = (int(start) for start in starts)
        o, s, c, y = (free + n * tiles * words for n in range(4))
        if in_place:
            c = x
        source = c if norms else s
        end = (y + tiles * words) * WORD  # the image of the pool, which is stored as it is
        strides = " ".join(f"{name}={start} {name}_stride={words}"
                           for name, start in zip("xosc", (x, o, s, c), strict=True))
        fields = " ".join(f"{name}={value}" for name, value in scales.fields.items())
        fill = f"FILL count={tiles} steps={steps} pool_stride={words} stride={steps}"
        product = (f"MATMUL blocks={blocks} tiles={tiles} steps={steps} a_stride={block} "
                   f"b_stride={steps} c_stride={g.tile_words} c_tile_stride={words} drain=1")
        stored = [(o, tiles * words), (y, tiles * words)]
        stored += [(place, tiles * words) for place, flag in ((s, sums), (c, norms)) if flag]
        self.program = assemble("\n".join([
            f"LOAD count=1 rows=1 words={len(self.data)}",
            f"{fill} pool={x}",
            f"{product} a={first} c={o}",
            (f"NORM {strides} params={params} count={tiles} words={words} {fields} "
             f"residual={residual} norm={norms} sum={sums} rms={rms}"),
            f"{fill} pool={source}",
            f"{product} a={second} c={y}",
            *(f"STORE count=1 rows=1 words={size} pool={place} dram={end + place * WORD}"
              for place, size in stored)]))
        synchronise(self.program, g)
        self.size = 2 * end + -2 * end % 64

    @staticmethod
    def _vectors(rng, features, padded, tiles):
        x = np.zeros((padded, tiles * LANES), np.int8)
        x[:features] = rng.integers(-128, 128, (features, tiles * LANES))
        return layouts.pack_vectors(x, ROWS, LANES, DEPTH)

    @staticmethod
    def _blocks(rng, features, padded):
        weight = np.zeros((padded, padded), np.int8)
        weight[:features, :features] = rng.integers(-127, 128, (features, features))
        channels = np.zeros((3, padded), np.int64)
        channels[1:, :features] = [[1 << 16], [23]]
        blocks = layouts.pack_blocks(weight, ROWS, DEPTH)
        packed = layouts.pack_channels(*channels).reshape(len(blocks), -1, WORD)
        return np.concatenate([blocks, packed], axis=1)

    @staticmethod
    def _scales(rng, features):
        x, o = rng.uniform(0.5, 2, (2, features))
        gamma, beta = rng.normal(1, 0.5, features), rng.normal(0, 0.5, features)
        step = norm.value_step(x, o)
        return norm.quantise_norm(
            x, o, sum=np.maximum((x + o) / 2, norm.least_sum(step)), gamma=gamma, beta=beta,
            output=np.maximum(3 * np.abs(gamma) / 127, norm.least_output(gamma, beta)),
            epsilon=0.1)

    def image(self):
        """Return the DRAM image before, with the program at its end."""
        image = np.zeros(self.size + 64 * len(self.program), np.uint8)
        image[:self.data.size] = self.data.ravel()
        image[self.size:] = np.frombuffer(b"".join(map(encode, self.program)), np.uint8)
        return image

    def golden(self, seed=None):
        """Return the image that the golden machine leaves."""
        image = self.image()
        execute(TINY, image, offset=self.size, instructions=len(self.program), seed=seed)
        return image

    def check(self, simulator, **settings):
        outcome = simulator.run(self.image(), program=self.size, length=len(self.program),
                                limit=50_000, **settings)
        assert outcome.finished
        assert outcome.registers["ERROR"] == 0
        assert outcome.registers["RETIRED_FILL"] == 3
        np.testing.assert_array_equal(outcome.image, self.golden())


@pytest.mark.parametrize(("residual", "norms", "sums", "rms"), FLAGS)
def test_all_flags(simulator, residual, norms, sums, rms):
    layer = Layer(22, 3, residual, norms, sums, rms)
    image = layer.golden()
    assert len(set(image[layer.data.size:layer.size])) > 100  # not saturated, not constant
    for seed in range(8):
        np.testing.assert_array_equal(layer.golden(seed), image)
    layer.check(simulator)


@pytest.mark.parametrize(("features", "tiles"), [(1, 1), (4, 5), (25, 2), (32, 2)])
def test_shapes(simulator, features, tiles):
    Layer(features, tiles, 1, 1, 1, 0, seed=features).check(simulator)


@pytest.mark.parametrize(("latency", "bandwidth"), [(0, 0), (300, 3), (37, 8)])
def test_in_place_whatever_the_memory_does(simulator, latency, bandwidth):
    layer = Layer(20, 3, 1, 1, 1, 0, in_place=True, seed=5)
    layer.check(simulator, latency=latency, bandwidth=bandwidth)


def test_estimate(simulator):
    """The model of the compiler knows the time of NORM, here as long as the pool is free."""
    program = assemble("""
        NORM x_stride=50 c=400 c_stride=50 params=800 count=8 words=50 features=100 norm=1
    """)
    image = np.frombuffer(encode(program[0]), np.uint8)
    outcome = simulator.run(image, program=0, length=1, limit=20_000)
    assert outcome.finished
    assert outcome.registers["CYCLES"] == pytest.approx(estimate(program, TINY).cycles, rel=0.05)
