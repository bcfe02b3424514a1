"""Words byte by byte: channel parameters, operands, lists, and the tiles of results."""

import numpy as np
import pytest

from heddle.rtl.isa import Layout
from heddle.sim import layouts

SIZES = [(4, 4, 2), (4, 8, 4), (8, 16, 8)]


def int8(rng, *shape, low=-128):
    return rng.integers(low, 128, shape, dtype=np.int8)


# -- channel parameters ----------------------------------------------------------------------------

def test_channels_return():
    rng = np.random.default_rng(4)
    channels = (rng.integers(-2**31, 2**31, 50), rng.integers(0, 1 << 17, 50),
                rng.integers(0, 64, 50), rng.integers(0, 16, 50))
    packed = layouts.pack_channels(*channels)
    assert packed.shape == (50, 8)
    assert packed[7].tobytes() == (int(channels[0][7]) % 2**32 | int(channels[1][7]) << 32
                                   | int(channels[2][7]) << 49
                                   | int(channels[3][7]) << 55).to_bytes(8, "little")
    for sent, got in zip(channels, layouts.unpack_channels(packed), strict=True):
        assert (sent == got).all()


@pytest.mark.parametrize(("channel", "message"), [
    ((2**31, 0, 0), "Channel bias must be between -2147483648 and 2147483647, not 2147483648"),
    ((0, 1 << 17, 0), "Channel multiplier must be between 0 and 131071, not 131072"),
    ((0, 0, -1), "Channel shift must be between 0 and 63, not -1"),
    ((0, 0, 0, 16), "Channel gate_shift must be between 0 and 15, not 16"),
])
def test_channels_refused(channel, message):
    with pytest.raises(ValueError, match=message):
        layouts.pack_channels(*channel)


# -- operands --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_blocks(rows, lanes, depth):
    a = int8(np.random.default_rng(5), 2 * depth + 1, 2 * rows + 1)
    words = layouts.pack_blocks(a, rows, depth)
    assert words.shape == (3, 3, depth * rows)
    padded = np.zeros((3 * depth, 3 * rows), np.int8)
    padded[:a.shape[0], :a.shape[1]] = a
    for s, k, i in np.ndindex(3, depth, rows):
        assert (words.view(np.int8)[:, s, k * rows + i] == padded[s * depth + k, i::rows]).all()


@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_vectors(rows, lanes, depth):
    b = int8(np.random.default_rng(6), 3 * depth - 1, lanes + 1)
    words = layouts.pack_vectors(b, rows, lanes, depth)
    per_word = depth * rows // lanes
    padded = np.zeros((3 * depth, 2 * lanes), np.int8)
    padded[:b.shape[0], :b.shape[1]] = b
    for tile, k, j in np.ndindex(2, 3 * depth, lanes):
        byte = words.view(np.int8)[tile, k // per_word, k % per_word * lanes + j]
        assert byte == padded[k, tile * lanes + j]
    assert (layouts.unpack_vectors(words, lanes) == padded).all()


# -- lists of sparse blocks ------------------------------------------------------------------------

@pytest.mark.parametrize(("candidates", "bits"), [(1, 0), (2, 1), (4, 2), (8, 4)])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("steps", [1, 7, 8, 9, 40])
def test_lists_lie_in_words_as_the_isa_says(steps, wide, candidates, bits):
    rng = np.random.default_rng(steps)
    rows, depth, gap_bits = 4, 2, 8 if wide else 4
    addresses = np.sort(rng.integers(0, 16, (steps, depth)), axis=0)  # never goes back
    selectors = rng.integers(0, candidates, (steps, depth, rows))
    words = layouts.pack_list(addresses, selectors, bits, word_bytes=rows * depth, wide=wide)
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
    got = layouts.unpack_list(words, steps, rows, depth, bits, wide=wide)
    assert (got[0] == addresses).all()
    assert (got[1] == selectors).all()


@pytest.mark.parametrize(("addresses", "selector", "message"), [
    ([[0], [16]], 0, "List gap must be between 0 and 15, not 16"),
    ([[3], [2]], 0, "List gap must be between 0 and 15, not -1"),
    ([[3], [3]], 4, "List selector must be between 0 and 3, not 4"),
])
def test_lists_without_a_packing_are_refused(addresses, selector, message):
    with pytest.raises(ValueError, match=message):
        layouts.pack_list(addresses, [[[selector] * 4]] * 2, 2, word_bytes=8)


# -- drained tiles ---------------------------------------------------------------------------------

@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_drained_tiles(rows, lanes, depth):
    t = int8(np.random.default_rng(7), rows, lanes, low=-127)
    per_word = depth * rows // lanes
    words = {layout: layouts.lay_tile(t, layout, depth).view(np.int8) for layout in Layout}
    for w, v, j in np.ndindex(lanes // depth, per_word, lanes):
        assert words[Layout.VECTORS][w, v * lanes + j] == t[w * per_word + v, j]
    for h, s, k, i in np.ndindex(lanes // rows, rows // depth, depth, rows):
        word = words[Layout.BLOCKS][h * (rows // depth) + s]
        assert word[k * rows + i] == t[s * depth + k, h * rows + i]
    for w, k, i in np.ndindex(lanes // depth, depth, rows):
        assert words[Layout.TRANSPOSED][w, k * rows + i] == t[i, w * depth + k]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("rows", "lanes", "depth"), SIZES)
def test_drained_tiles_of_many(rows, lanes, depth, layout):
    tiles = int8(np.random.default_rng(8), 2, 3, rows, lanes)
    words = layouts.lay_tile(tiles, layout, depth)
    assert words.shape == (2, 3, lanes // depth, depth * rows)
    for place in np.ndindex(2, 3):
        assert (words[place] == layouts.lay_tile(tiles[place], layout, depth)).all()


def test_drained_tiles_are_operands():
    """A drained tile is B of the next product, A with tokens as outputs, or A with tokens as k."""
    rows, lanes, depth = 4, 8, 4
    t = int8(np.random.default_rng(9), rows, lanes, low=-127)
    vectors = layouts.lay_tile(t, Layout.VECTORS, depth)
    assert (vectors == layouts.pack_vectors(t, rows, lanes, depth)[0]).all()
    blocks = layouts.lay_tile(t, Layout.BLOCKS, depth)
    assert (blocks == layouts.pack_blocks(t, rows, depth).reshape(-1, depth * rows)).all()
    transposed = layouts.lay_tile(t, Layout.TRANSPOSED, depth)
    assert (transposed == layouts.pack_blocks(t.T, rows, depth)[0]).all()


def test_tile_addresses():
    assert layouts.tile_addresses(100, 7, Layout.VECTORS, 4, 8, 2).tolist() == [100, 101, 102, 103]
    assert layouts.tile_addresses(100, 7, Layout.BLOCKS, 4, 8, 2).tolist() == [100, 101, 107, 108]
