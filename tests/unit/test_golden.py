"""The golden model against independent definitions, index by index."""

from fractions import Fraction

import numpy as np
import pytest

from heddle.rtl.isa import Layout
from heddle.sim import golden

SIZES = [(4, 4, 2), (4, 8, 4), (8, 16, 8)]


def int8(rng, *shape, low=-128):
    return rng.integers(low, 128, shape, dtype=np.int8)


# -- arithmetic ------------------------------------------------------------------------------------

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


# -- channel parameters ----------------------------------------------------------------------------

def test_channels_return():
    rng = np.random.default_rng(4)
    channels = (rng.integers(-2**31, 2**31, 50), rng.integers(0, 1 << 17, 50),
                rng.integers(0, 64, 50), rng.integers(0, 16, 50))
    packed = golden.pack_channels(*channels)
    assert packed.shape == (50, 8)
    assert packed[7].tobytes() == (int(channels[0][7]) % 2**32 | int(channels[1][7]) << 32
                                   | int(channels[2][7]) << 49
                                   | int(channels[3][7]) << 55).to_bytes(8, "little")
    for sent, got in zip(channels, golden.unpack_channels(packed), strict=True):
        assert (sent == got).all()


@pytest.mark.parametrize(("channel", "message"), [
    ((2**31, 0, 0), "Channel bias must be between -2147483648 and 2147483647, not 2147483648"),
    ((0, 1 << 17, 0), "Channel multiplier must be between 0 and 131071, not 131072"),
    ((0, 0, -1), "Channel shift must be between 0 and 63, not -1"),
    ((0, 0, 0, 16), "Channel gate_shift must be between 0 and 15, not 16"),
])
def test_channels_refused(channel, message):
    with pytest.raises(ValueError, match=message):
        golden.pack_channels(*channel)


# -- lists of sparse blocks ------------------------------------------------------------------------

def random_list(rng, steps, depth, rows, candidates, limit):
    """Addresses below a limit that never go back, and any selectors."""
    addresses = np.sort(rng.integers(0, limit, (steps, depth)), axis=0)
    return addresses, rng.integers(0, candidates, (steps, depth, rows))


@pytest.mark.parametrize(("candidates", "bits"), [(1, 0), (2, 1), (4, 2), (8, 4)])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("steps", [1, 7, 8, 9, 40])
def test_lists_lie_in_words_as_the_isa_says(steps, wide, candidates, bits):
    rng = np.random.default_rng(steps)
    rows, depth, gap_bits = 4, 2, 8 if wide else 4
    addresses, selectors = random_list(rng, steps, depth, rows, candidates, 16)
    words = golden.pack_list(addresses, selectors, bits, word_bytes=rows * depth, wide=wide)
    text = int.from_bytes(words.tobytes(), "little")
    behind = -(-steps * depth * gap_bits // 64) * 64
    reached = [0] * depth
    for s in range(steps):
        for p in range(depth):
            reached[p] += text >> (s * depth + p) * gap_bits & (1 << gap_bits) - 1
            assert reached[p] == addresses[s, p]
            for i in range(rows):
                field = (s * depth + p) * rows + i
                assert text >> behind + field * bits & (1 << bits) - 1 == selectors[s, p, i]
    assert len(words) == behind // 64 + -(-steps * depth * rows * bits // 64)
    got = golden.unpack_list(words, steps, rows, depth, bits, wide=wide)
    assert (got[0] == addresses).all()
    assert (got[1] == selectors).all()


@pytest.mark.parametrize(("addresses", "selector", "message"), [
    ([[0], [16]], 0, "List gap must be between 0 and 15, not 16"),
    ([[3], [2]], 0, "List gap must be between 0 and 15, not -1"),
    ([[3], [3]], 4, "List selector must be between 0 and 3, not 4"),
])
def test_lists_without_a_packing_are_refused(addresses, selector, message):
    with pytest.raises(ValueError, match=message):
        golden.pack_list(addresses, [[[selector] * 4]] * 2, 2, word_bytes=8)


@pytest.mark.parametrize("candidates", [1, 2, 4])
def test_each_weight_meets_what_it_visits(candidates):
    rng = np.random.default_rng(candidates)
    steps, depth, rows, lanes, tiles, limit = 9, 2, 4, 4, 3, 6
    a, b = int8(rng, steps, depth, rows), int8(rng, tiles, limit, candidates, depth, lanes)
    addresses, selectors = random_list(rng, steps, depth, rows, candidates, limit)
    wanted = np.zeros((rows, tiles, lanes), np.int64)
    for s, p, i in np.ndindex(steps, depth, rows):
        wanted[i] += int(a[s, p, i]) * b[:, addresses[s, p], selectors[s, p, i], p].astype(int)
    got = golden.matmul(*golden.visited(a, b, addresses, selectors))
    assert (got == wanted.reshape(rows, -1)).all()


# -- layouts ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_blocks(rows, lanes, depth):
    a = int8(np.random.default_rng(5), 2 * depth + 1, 2 * rows + 1)
    words = golden.pack_blocks(a, rows, depth)
    assert words.shape == (3, 3, depth * rows)
    padded = np.zeros((3 * depth, 3 * rows), np.int8)
    padded[:a.shape[0], :a.shape[1]] = a
    for s, k, i in np.ndindex(3, depth, rows):
        assert (words.view(np.int8)[:, s, k * rows + i] == padded[s * depth + k, i::rows]).all()
    assert (golden.unpack_blocks(words, rows, depth) == padded).all()


@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_vectors(rows, lanes, depth):
    b = int8(np.random.default_rng(6), 3 * depth - 1, lanes + 1)
    words = golden.pack_vectors(b, rows, lanes, depth)
    per_word = depth * rows // lanes
    padded = np.zeros((3 * depth, 2 * lanes), np.int8)
    padded[:b.shape[0], :b.shape[1]] = b
    for tile, k, j in np.ndindex(2, 3 * depth, lanes):
        byte = words.view(np.int8)[tile, k // per_word, k % per_word * lanes + j]
        assert byte == padded[k, tile * lanes + j]
    assert (golden.unpack_vectors(words, lanes) == padded).all()


@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_drained_tiles(rows, lanes, depth):
    t = int8(np.random.default_rng(7), rows, lanes, low=-127)
    per_word = depth * rows // lanes
    words = {layout: golden.lay_tile(t, layout, depth).view(np.int8) for layout in Layout}
    for w, v, j in np.ndindex(lanes // depth, per_word, lanes):
        assert words[Layout.VECTORS][w, v * lanes + j] == t[w * per_word + v, j]
    for h, s, k, i in np.ndindex(lanes // rows, rows // depth, depth, rows):
        word = words[Layout.BLOCKS][h * (rows // depth) + s]
        assert word[k * rows + i] == t[s * depth + k, h * rows + i]
    for w, k, i in np.ndindex(lanes // depth, depth, rows):
        assert words[Layout.TRANSPOSED][w, k * rows + i] == t[i, w * depth + k]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_tiles_return(rows, lanes, depth, layout):
    tiles = int8(np.random.default_rng(8), 2, 3, rows, lanes)
    words = golden.lay_tile(tiles, layout, depth)
    assert words.shape == (2, 3, lanes // depth, depth * rows)
    assert (golden.pick_tile(words, layout, rows, lanes) == tiles).all()


def test_drained_tiles_are_operands():
    """A drained tile is B of the next product, A with tokens as outputs, or A with tokens as k."""
    rows, lanes, depth = 4, 8, 4
    t = int8(np.random.default_rng(9), rows, lanes, low=-127)
    vectors = golden.lay_tile(t, Layout.VECTORS, depth)
    assert (vectors == golden.pack_vectors(t, rows, lanes, depth)[0]).all()
    blocks = golden.lay_tile(t, Layout.BLOCKS, depth)
    assert (blocks == golden.pack_blocks(t, rows, depth).reshape(-1, depth * rows)).all()
    transposed = golden.lay_tile(t, Layout.TRANSPOSED, depth)
    assert (transposed == golden.pack_blocks(t.T, rows, depth)[0]).all()


def test_tile_addresses():
    assert golden.tile_addresses(100, 7, Layout.VECTORS, 4, 8, 2).tolist() == [100, 101, 102, 103]
    assert golden.tile_addresses(100, 7, Layout.BLOCKS, 4, 8, 2).tolist() == [100, 101, 107, 108]
