"""Sparse weights in words: nothing is lost, steps and words are the fewest, and what is refused."""

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heddle.formats import Encoding, pack, unpack
from heddle.prune import prune_balanced, prune_hierarchical, prune_nm
from heddle.rtl.geometry import PRESETS, preset
from heddle.sim import layouts
from heddle.storage import Storage

TINY, NM = preset("tiny"), preset("tiny-nm")


def sparse(rng, outputs, inputs, density):
    weight = rng.integers(-127, 128, (outputs, inputs), np.int8)
    weight[rng.random(weight.shape) >= density] = 0
    return weight


def shared(rng, outputs, inputs, density, rows):
    """Weights whose blocks of outputs use the same inputs."""
    weight = sparse(rng, outputs, inputs, 1)
    used = rng.random((-(-outputs // rows), inputs)) < density
    weight[~used.repeat(rows, axis=0)[:outputs]] = 0
    return weight


# -- what is packed is unpacked --------------------------------------------------------------------

@settings(max_examples=200, deadline=None)
@given(geometry=st.sampled_from(list(PRESETS)), candidates=st.sampled_from([None, 2, 8]),
       outputs=st.integers(1, 40), inputs=st.integers(1, 700), seed=st.integers(0, 999),
       density=st.sampled_from([0, 0.002, 0.03, 0.2, 0.5, 1]), alike=st.booleans(),
       format=st.sampled_from([None, "dense", "narrow", "wide"]))
@example("zcu102", None, 1, 1, 0, 0, False, None)
@example("tiny-nm", None, 40, 256, 0, 1, False, "narrow")
def test_nothing_is_lost(geometry, candidates, outputs, inputs, seed, density, alike, format):
    g = preset(geometry)
    g = g.replace(operand_steps=16384, candidates=candidates or g.candidates)
    rng = np.random.default_rng(seed)
    weight = (shared(rng, outputs, inputs, density, g.rows) if alike
              else sparse(rng, outputs, inputs, density))
    packed = pack(weight, g, format)
    np.testing.assert_array_equal(unpack(packed), weight)
    dense = -(-inputs // g.depth)
    assert len(packed.encodings) == -(-outputs // g.rows)
    for encoding, data, index in zip(packed.encodings, packed.data, packed.index):
        assert encoding.steps >= 1
        assert format is not None or encoding.steps <= dense
        assert data.shape == (encoding.steps, g.word_bytes)
        assert encoding.words(g) == len(data) + g.channel_words + len(index)
        assert format in (None, encoding.format)


@given(seed=st.integers(0, 999), density=st.floats(0, 1))
def test_default_is_never_worse_than_any_one_format(seed, density):
    rng = np.random.default_rng(seed)
    weight = shared(rng, 16, 90, density, 4)
    best = pack(weight, TINY)
    for format in ("dense", "narrow", "wide"):
        other = pack(weight, TINY, format)
        assert all(one.steps <= two.steps for one, two in zip(best.encodings, other.encodings))


@pytest.mark.parametrize("geometry", [TINY, NM], ids=lambda g: g.name)
def test_words_of_a_block_are_weights_then_parameters_then_list(geometry):
    g, rng = geometry, np.random.default_rng(0)
    weight = shared(rng, 2 * g.rows, 60, 0.3, g.rows)
    packed = pack(weight, g)
    channels = rng.integers(0, 256, (2 * g.rows, 8)).astype(np.uint8)
    words, place = packed.words(channels), 0
    for n, encoding in enumerate(packed.encodings):
        block = words[place:place + encoding.words(g)]
        steps = encoding.steps
        np.testing.assert_array_equal(block[:steps], packed.data[n])
        np.testing.assert_array_equal(block[steps:][:g.channel_words].ravel(),
                                      channels[n * g.rows:][:g.rows].ravel())
        np.testing.assert_array_equal(block[steps + g.channel_words:], packed.index[n])
        place += len(block)
    assert place == len(words)
    assert packed.size == words.size - channels.size


# -- lists -----------------------------------------------------------------------------------------

def addresses(packed, block=0):
    g, encoding = packed.geometry, packed.encodings[block]
    return layouts.unpack_list(packed.index[block], encoding.steps, g.rows, g.depth,
                               g.selector_bits, wide=encoding.wide)


def test_a_list_visits_what_its_block_needs_and_no_more():
    weight = np.zeros((4, 40), np.int8)
    weight[0, [2, 3, 11]] = weight[3, [3, 38]] = 1
    packed = pack(weight, TINY)
    assert packed.encodings == (Encoding(2, True, True),)  # 38 is too far from 2 for 4 bits
    visited, _ = addresses(packed)
    assert visited.T.tolist() == [[1, 19], [1, 5]]


def test_long_gaps_are_bridged():
    weight = np.zeros((4, 120), np.int8)
    weight[:, [1, 4, 119]] = 1
    packed = pack(weight, TINY, "narrow")
    visited, _ = addresses(packed)
    assert visited.T.tolist() == [[2, 2, 2, 2, 2], [0, 15, 30, 45, 59]]
    assert pack(weight, TINY).encodings == (Encoding(2, True, True),)


def test_gaps_longer_than_wide_ones_are_bridged():
    g = TINY.replace(operand_steps=1024)
    weight = np.zeros((4, 2000), np.int8)
    weight[2, 1999] = 5
    packed = pack(weight, g)
    assert packed.encodings == (Encoding(4, True, True),)
    np.testing.assert_array_equal(unpack(packed), weight)


@pytest.mark.parametrize(("used", "steps"), [
    ([], 1), ([7], 1), ([0, 2, 4, 6], 4), ([0, 1, 2, 3], 2), (range(40), 20),
], ids=["empty", "one entry", "one bank", "two banks", "full"])
def test_steps_are_those_of_the_slot_with_most_visits(used, steps):
    weight = np.zeros((4, 40), np.int8)
    weight[1, list(used)] = 1
    [encoding] = pack(weight, TINY).encodings
    assert (encoding.steps, encoding.listed) == (steps, steps < 20)


def test_each_block_has_its_own_encoding():
    rng = np.random.default_rng(0)
    weight = sparse(rng, 16, 40, 1)
    weight[4:8] = 0
    weight[8:12, 8:] = 0
    packed = pack(weight, TINY)
    assert [(e.steps, e.format) for e in packed.encodings] == [
        (20, "dense"), (1, "narrow"), (4, "narrow"), (20, "dense")]


def test_lists_are_wide_if_more_blocks_are_alike_then():
    """A gap of more than 15 in every second block: narrow ones would need a word less each."""
    g, rng = preset("zcu102"), np.random.default_rng(0)
    near, far = np.arange(8 * 20), np.append(np.arange(8 * 19), np.arange(8 * 60, 8 * 61))
    weight = np.zeros((64, 512), np.int8)
    for block, used in enumerate((near, far, near, far)):
        weight[16 * block:16 * block + 16, used] = sparse(rng, 16, 160, 1)
    assert set(pack(weight, g).encodings) == {Encoding(20, True, True)}
    assert g.list_words(20, True) > g.list_words(20)
    alone = pack(weight[:16], g)
    assert alone.encodings == (Encoding(20, True),)


@pytest.mark.parametrize(("n", "m", "steps"), [(1, 4, 16), (2, 4, 32), (3, 4, 48), (1, 2, 32)])
def test_repeats_are_those_of_the_candidates(n, m, steps):
    g = NM.replace(candidates=m, operand_steps=256)
    mask = prune_nm(np.random.default_rng(0).normal(size=(8, 128)), n, m, g)
    assert pack(mask.astype(np.int8), g).encodings == (Encoding(steps, True),) * 2


def test_consecutive_groups_cost_what_their_union_does():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 128))
    apart, together = (pack(prune_nm(weight, 2, 4, NM, stride=stride).astype(np.int8), NM)
                       for stride in (NM.depth, 1))
    assert all(one.steps < two.steps for one, two in zip(apart.encodings, together.encodings))
    np.testing.assert_array_equal(unpack(together) != 0, prune_nm(weight, 2, 4, NM, stride=1))


def test_weights_that_are_rounded_to_zero_can_be_kept():
    weight = np.zeros((4, 40), np.int8)
    used = np.zeros((4, 40), bool)
    used[:, :6] = True
    assert pack(weight, TINY, used=used).encodings == (Encoding(3, True),)
    assert pack(weight, TINY, used=np.ones((4, 40))).encodings == (Encoding(20),)


# -- sizes -----------------------------------------------------------------------------------------

def test_bytes_at_80_percent():
    weight = np.random.default_rng(0).integers(1, 128, (1024, 1024)).astype(np.int8)
    weight *= prune_balanced(np.abs(weight), 0.8, "zcu102")
    packed = pack(weight, preset("zcu102"))
    some = 64 * 16 * 26 * 8
    storage = Storage.of(packed, some)
    assert storage.total == packed.size <= 0.22 * storage.dense
    assert storage.data == 64 * 26 * 128
    assert storage.lists == 64 * 2 * 128
    assert (storage.selectors, storage.parameters, storage.dense) == (0, 8192, 1 << 20)
    assert storage.bitmap == some + (1 << 17)
    assert storage.csr == -(-(some * 18 + 1025 * 18) // 8)
    assert storage.total < storage.bitmap < storage.csr


def test_bytes_of_selectors():
    weight = np.random.default_rng(0).integers(1, 128, (32, 1024)).astype(np.int8)
    weight *= prune_hierarchical(np.abs(weight), 0.5, 2, 4, "zcu102-nm")
    storage = Storage.of(pack(weight, preset("zcu102-nm")), int(np.count_nonzero(weight)))
    assert storage.data == 2 * 32 * 128
    assert storage.selectors == storage.data // 4
    assert storage.lists == 2 * 128


def test_bytes_of_nothing():
    storage = Storage.of(pack(np.zeros((5, 9), np.int8), TINY), 0)
    assert storage == Storage(data=16, lists=16, selectors=0, parameters=64, dense=45, csr=0,
                              bitmap=6)


@pytest.mark.parametrize("shape", [(1024, 1024), (512, 2048)])
def test_packing_takes_milliseconds(shape):
    weight = shared(np.random.default_rng(0), *shape, 0.2, 16)
    start = time.process_time()
    packed = pack(weight, preset("zcu102"))
    assert time.process_time() - start < 0.5
    np.testing.assert_array_equal(unpack(packed), weight)


# -- refusals --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("weight", "options", "error", "message"), [
    (np.ones((2, 2)), {}, TypeError, "Weight must have elements of int8, not float64"),
    (np.ones(2, np.int8), {}, ValueError, "Weight must have 2 axes with at least one element each"),
    (np.ones((0, 2), np.int8), {}, ValueError, "not the shape (0, 2)"),
    (np.full((1, 1), -128, np.int8), {}, ValueError, "Weight must be within ±127, and it has"),
    (np.ones((1, 1), np.int8), {"format": "csr"}, ValueError,
     "Format must be dense, narrow or wide, not 'csr'"),
    (np.ones((1, 2), np.int8), {"used": [[True, False]]}, ValueError,
     "Weights that are not used must be 0, and the one of output 0 and input 1 is 1"),
    (np.ones((1, 2), np.int8), {"used": [True]}, ValueError,
     "Used weights must be given in the shape (1, 2) of the weight, not (1,)"),
    (np.eye(1, 129, dtype=np.int8), {"format": "wide"}, ValueError,
     "must fit into tiny: it can reach 128 inputs in the operand buffer, and there are 129"),
    (np.eye(5, 129, dtype=np.int8), {"strict": True}, ValueError,
     "The list of block 0 must fit into tiny: it can reach 128 inputs"),
])
def test_refusals(weight, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        pack(weight, TINY, **options)


def test_lists_of_more_steps_than_there_is_room_for_are_refused():
    weight = prune_nm(np.random.default_rng(0).normal(size=(4, 256)), 2, 4, NM).astype(np.int8)
    message = "The list of block 0 must fit into tiny-nm: it can have 32 steps, and it needs 64"
    for options in ({"strict": True}, {"format": "wide"}):
        with pytest.raises(ValueError, match=message):
            pack(weight, NM, **options)
    assert pack(weight, NM).encodings == (Encoding(128),)  # nothing is claimed


def test_lists_out_of_range_are_refused():
    packed = pack(np.eye(4, 40, k=36, dtype=np.int8), TINY)
    with pytest.raises(ValueError, match="The list of block 0 must stay below address 18, and it "
                                         "reaches 19"):
        unpack(replace(packed, inputs=36))


# -- the examples of docs/formats.md ---------------------------------------------------------------

@pytest.mark.parametrize(("geometry", "weights", "data", "index"), [
    (TINY, {(0, 0): 1, (0, 2): 2, (1, 2): 3, (1, 7): 4, (3, 3): 5, (3, 38): 6},
     "01 00 00 00 00 00 00 05 02 03 00 00 00 04 00 00 00 00 00 06 00 00 00 00",
     "00 01 01 02 12 00 00 00"),
    (NM, {(0, 2): 1, (0, 6): 2, (1, 4): 3, (2, 33): 4},
     "01 03 00 00 00 00 04 00 02 00 00 00 00 00 00 00",
     "40 00 00 00 00 00 00 00 09 00 03 00 00 00 00 00"),
], ids=["list", "list and selectors"])
def test_examples(geometry, weights, data, index):
    weight = np.zeros((4, 40), np.int8)
    for place, value in weights.items():
        weight[place] = value
    packed = pack(weight, geometry)
    assert packed.data[0].tobytes().hex(" ") == data
    assert packed.index[0].tobytes().hex(" ") == index
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    for text in (data, index):
        for word in range(0, len(text), 24):
            assert text[word:word + 23] in page
