"""The reciprocal square root: its error over the whole range, and the hardware against it."""

from fractions import Fraction

import numpy as np
import pytest

from heddle.rtl.norm_format import TOTAL_BITS, VALUE_BITS
from heddle.rtl.root import MANTISSA_BITS, ROOTS, Root
from heddle.sim import norm
from heddle.sim.streams import run_streams

LARGEST = 127 * 65535 * 2 + 64 >> 7
"""Largest value ``y``, from two inputs of 127 with the largest scales."""


def totals(features, rng):
    """Return sums of squares over the whole range, with all powers of two and their neighbours."""
    most = min(1 << TOTAL_BITS, features << 49) - 1
    powers = 1 << np.arange(most.bit_length())
    some = np.exp2(rng.uniform(0, np.log2(most), 100_000)).astype(np.int64)
    every = np.concatenate([powers - 1, powers, powers + 1, some, np.arange(1, 3000), [most]])
    return every[(every > 0) & (every <= most)]


@pytest.mark.parametrize("features", [1, 2, 3, 5, 127, 128, 129, 384, 768, 1023, 4095, 4096])
def test_relative_error_of_the_root(features):
    total = totals(features, np.random.default_rng(features))
    mantissa, shift = norm.reciprocal_root(total, features)
    assert ((1 << MANTISSA_BITS - 1 <= mantissa) & (mantissa < 1 << MANTISSA_BITS)).all()
    assert ((shift >= 0) & (shift < 32)).all()
    root = np.ldexp(mantissa.astype(float), -shift - 11)
    error = np.abs(root / np.sqrt(features / total) - 1)
    assert 2 ** -18 < error.max() <= 2 ** -16


def test_every_interval_of_the_table():
    """Points of all intervals, with an error that leaves room for what is rounded outside."""
    for odd in range(2):
        for index, (start, fall) in enumerate(ROOTS[odd << 7:][:128]):
            inside = np.arange(0, 1 << 12, 37)
            got = (start - (fall * inside >> 12) + 8 >> 4) / 2 ** MANTISSA_BITS
            want = (2 ** odd * (1 + (index + inside / 4096) / 128)) ** -0.5
            assert np.abs(got / want - 1).max() < 1.5 * 2 ** -17


@pytest.mark.parametrize("features", [*range(1, 70), 384, 1000, 4095, 4096])
def test_reciprocal(features):
    number, shift = norm.reciprocal(features)
    assert 2 ** 23 <= number < 2 ** 24
    assert abs(Fraction(number, 2 ** (23 + shift)) * features - 1) <= Fraction(1, 2 ** 24)


@pytest.mark.parametrize("features", [0, 4097])
def test_reciprocal_refused(features):
    with pytest.raises(ValueError, match=f"Features must be between 1 and 4096, not {features}"):
        norm.reciprocal(features)


def sums_of_rows(features, rng):
    """Return sums of values and of squares as rows of a few kinds have them."""
    kinds = [
        rng.integers(-LARGEST, LARGEST + 1, (8, features)),
        np.rint(rng.normal(0, 1, (8, features)) * np.exp2(rng.uniform(0, 14, (8, 1)))),
        rng.integers(-LARGEST, LARGEST + 1, (4, 1)) + rng.integers(0, 2, (4, features)),
        np.full((2, features), LARGEST) * [[1], [-1]],
        np.where(np.arange(features) == 0, LARGEST, 0)[np.newaxis],
        np.where(np.arange(features) % 2, LARGEST, -LARGEST)[np.newaxis],
    ]
    y = np.clip(np.concatenate(kinds), -LARGEST, LARGEST).astype(np.int64)
    return y.sum(1), (y * y).sum(1)


@pytest.mark.parametrize("rms", [0, 1])
@pytest.mark.parametrize(("features", "epsilon"), [
    (1, 0), (1, 12345), (2, 0), (3, 7), (100, 1 << 40), (384, 0), (768, 99999),
    (4096, 0), (4096, (1 << 48) - 1)])
def test_hardware(features, epsilon, rms):
    """A lane each cycle, and LATENCY cycles later what the golden model says."""
    assert LARGEST < 1 << VALUE_BITS - 1
    first, second = sums_of_rows(features, np.random.default_rng(features))
    number, shift = norm.reciprocal(features)
    distance = second - np.array([0 if rms else int(s) ** 2 // features for s in first])
    flat = (distance == 0) & (epsilon == 0)  # all equal: only the mean counts
    dut = Root()
    got = []

    async def bench(ctx):
        ctx.set(dut.job, {"features": features, "epsilon": epsilon, "rms": rms,
                          "reciprocal": number, "reciprocal_shift": shift})
        for cycle in range(len(first) + dut.LATENCY):
            n = min(cycle, len(first) - 1)
            ctx.set(dut.sums, {"first": int(first[n]), "second": int(second[n])})
            if cycle >= dut.LATENCY:
                root = ctx.get(dut.root)
                got.append((root.mean, root.mantissa, root.shift))
            await ctx.tick()

    run_streams(dut, also=[bench])
    want = list(zip(*norm.lane_root(first, second, features, epsilon, rms=rms)))
    for one, other, equal in zip(got, want, flat, strict=True):
        assert one[0] == other[0]
        assert equal or one == other
