"""The golden model against independent definitions, index by index."""

from fractions import Fraction

import numpy as np
import pytest

from heddle.sim import golden


def int8(rng, *shape):
    return rng.integers(-128, 128, shape, dtype=np.int8)


@pytest.mark.parametrize("k", [1, 7, 1023, 1024, 1025, 5000])
def test_matmul_is_exact(k):
    rng = np.random.default_rng(k)
    a, b = int8(rng, k, 5), int8(rng, k, 9)
    assert (golden.matmul(a, b) == a.T.astype(np.int64) @ b.astype(np.int64)).all()


def test_matmul_is_exact_at_the_extremes():
    low = np.full((4096, 2), -128, np.int8)
    assert (golden.matmul(low, low) == 4096 << 14).all()


def test_matmul_wraps_as_the_accumulators_do():
    low = np.full((1 << 17, 1), -128, np.int8)
    assert golden.matmul(low, low) == -1 << 31


def test_matmul_of_many():
    """Leading axes are broadcast, and single precision may hold the integers."""
    rng = np.random.default_rng(4)
    a, b = int8(rng, 3, 1, 1500, 4), int8(rng, 2, 1500, 8)
    wanted = np.einsum("bki,tkj->btij", a[:, 0].astype(int), b.astype(int))
    assert (golden.matmul(a, b) == wanted).all()
    assert (golden.matmul(a.astype(np.float32), b.astype(np.float32)) == wanted).all()


def rounded(acc, bias, multiplier, shift):
    """The definition, in rational numbers."""
    total = max(-2**26, min(2**26 - 1, acc + bias))
    exact = Fraction(total * multiplier, 2 ** (shift + 1))
    nearest = int(abs(exact) + Fraction(1, 2)) * (1 if exact > 0 else -1)
    return max(-127, min(127, nearest))


def test_requantise_rounds_half_away_from_zero():
    rng = np.random.default_rng(1)
    shift = rng.integers(0, 64, 2000)
    multiplier = rng.integers(0, 1 << 17, 2000)
    acc = rng.integers(-2**31, 2**31, (2000, 3)) >> rng.integers(0, 32, (2000, 3))
    bias = rng.integers(-2**31, 2**31, 2000) >> rng.integers(0, 32, 2000)
    got = golden.requantise(acc, bias, multiplier, shift)
    assert got.tolist() == [
        [rounded(int(value), int(bias[i]), int(multiplier[i]), int(shift[i])) for value in row]
        for i, row in enumerate(acc)]


def test_requantise_is_an_odd_function():
    acc = np.arange(-200, 201)[np.newaxis]
    for shift in range(4):  # multiplier 1: every other (fourth, ...) value is a tie
        got = golden.requantise(acc, [0], [1], [shift])
        assert (got == -got[:, ::-1]).all()
    assert golden.requantise([[1, -1, 3, -3]], [0], [1], [0]).tolist() == [[1, -1, 2, -2]]


def test_requantise_saturates():
    top = 2**31 - 1
    acc = [[top, -top - 1]]
    assert golden.requantise(acc, [0], [1], [18]).tolist() == [[127, -127]]
    assert golden.requantise(acc, [top], [1], [19]).tolist() == [[64, 0]]  # the 27-bit sum shows
    assert golden.requantise(acc, [-top - 1], [1], [19]).tolist() == [[0, -64]]


@pytest.mark.parametrize(("largest_sum", "smallest_scale"), [(2**26 - 1, 2.0**-48),
                                                             (2**31 - 1, 2.0**-19)])
def test_requantise_error_bound(largest_sum, smallest_scale):
    """The bound of docs/numerics.md, under each of its two conditions, and that it is reached."""
    rng = np.random.default_rng(2)
    scale = np.exp2(rng.uniform(np.log2(smallest_scale), 15.99, 50000))
    results = rng.uniform(-140, 140, scale.size)
    results[::2] = np.floor(results[::2]) + 0.5  # where rounding is decided
    results[::5] *= 1e9
    total = np.rint(np.clip(results / scale, -largest_sum, largest_sum)).astype(np.int64)
    bias = np.clip(rng.integers(-2**31, 2**31, scale.size) >> rng.integers(0, 32, scale.size),
                   total - 2**31 + 1, total + 2**31)
    multiplier, shift = golden.quantise_scale(scale)
    got = golden.requantise((total - bias)[:, np.newaxis], bias, multiplier, shift)[:, 0]
    error = abs(got - np.clip(total * scale, -127, 127))
    assert 0.5 < error.max() <= 0.5 + 2.0**-10


def test_quantise_scale_error_bounds():
    rng = np.random.default_rng(3)
    scale = np.exp2(rng.uniform(-48, 15.99, 10000))
    multiplier, shift = golden.quantise_scale(scale)
    assert (abs(np.ldexp(multiplier.astype(float), -shift - 1) / scale - 1) <= 2.0**-17).all()
    tiny = np.exp2(rng.uniform(-80, -48, 1000))
    multiplier, shift = golden.quantise_scale(tiny)
    assert (abs(np.ldexp(multiplier.astype(float), -shift - 1) - tiny) <= 2.0**-65).all()
    assert multiplier.max() < 1 << 17
    assert shift.max() == 63


@pytest.mark.parametrize(("scale", "multiplier", "shift"), [
    (0, 0, 16), (0.5, 1 << 16, 16), (1 - 2.0**-20, 1 << 16, 15), (65535.5, (1 << 17) - 1, 0),
])
def test_quantise_scale_corners(scale, multiplier, shift):
    assert golden.quantise_scale(scale) == (multiplier, shift)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), 65536.0])
def test_quantise_scale_refuses(scale):
    with pytest.raises(ValueError, match=r"Scale must be between 0 and 65535\.5, not "):
        golden.quantise_scale([1.0, scale])


@pytest.mark.parametrize("candidates", [1, 2, 4])
def test_each_weight_meets_what_it_visits(candidates):
    rng = np.random.default_rng(candidates)
    steps, depth, rows, lanes, tiles, limit = 9, 2, 4, 4, 3, 6
    a, b = int8(rng, steps, depth, rows), int8(rng, tiles, limit, candidates, depth, lanes)
    addresses = np.sort(rng.integers(0, limit, (steps, depth)), axis=0)
    selectors = rng.integers(0, candidates, (steps, depth, rows))
    wanted = np.zeros((rows, tiles, lanes), np.int64)
    for s, p, i in np.ndindex(steps, depth, rows):
        wanted[i] += int(a[s, p, i]) * b[:, addresses[s, p], selectors[s, p, i], p].astype(int)
    got = golden.matmul(*golden.visited(a, b, addresses, selectors))
    assert (got == wanted.reshape(rows, -1)).all()
