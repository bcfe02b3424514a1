"""Patterns against a matrix that is computed pair by pair."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.patterns import Pattern, Run, polarised

sizes = st.integers(1, 40)


@st.composite
def patterns(draw):
    """Return the arguments of a pattern, more often few than many of them."""
    queries = draw(sizes)
    keys = draw(st.one_of(st.just(queries), sizes))
    heads, batch = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))

    def boolean(*shape):
        cell = draw(st.integers(1, 12))
        coarse = random.random((*shape[:-2], *(-(-n // cell) for n in shape[-2:])))
        fine = coarse.repeat(cell, -2).repeat(cell, -1) < draw(st.floats(0, 1))
        return fine[..., :shape[-2], :shape[-1]]

    chance = st.sampled_from([False, False, False, True])
    given = {"causal": draw(chance), "dilation": draw(st.sampled_from([1, 1, 1, 2, 3])),
             "global_tokens": draw(st.just(0) | st.integers(0, max(queries, keys)))}
    if draw(st.booleans()):
        given["window"] = draw(st.integers(1, 20))
    if draw(chance):
        given["lengths"] = draw(st.one_of(
            st.integers(0, keys), st.lists(st.integers(0, keys), min_size=batch, max_size=batch)))
    if draw(chance):
        lead = draw(st.sampled_from([(), (heads,), (1,), (batch, heads), (batch, 1), (1, heads)]))
        given["mask"] = boolean(*lead, queries, keys)
    if draw(chance):
        size = draw(st.integers(1, 16))
        given["blocks"] = boolean(*draw(st.sampled_from([(), (heads,)])), -(-queries // size),
                                  -(-keys // size)), size
    return queries, keys, given, heads, batch


def matrix(queries, keys, given, heads, batch):
    """Return ``[batch, heads, queries, keys]``, by the definitions and nothing else."""
    seen = np.zeros((batch, heads, queries, keys), bool)
    lengths = np.broadcast_to(given.get("lengths", keys), batch)
    mask = np.broadcast_to(given.get("mask", True), seen.shape)
    bitmap, size = given.get("blocks", (np.ones((queries, keys), bool), 1))
    bitmap = np.broadcast_to(bitmap, (heads, *bitmap.shape[-2:]))
    window, dilation = given.get("window", queries + keys), given.get("dilation", 1)
    first = given.get("global_tokens", 0)
    for item, head, q, k in np.ndindex(seen.shape):
        near = abs(q - k) < window * dilation and (q - k) % dilation == 0
        seen[item, head, q, k] = (
            (near or q < first or k < first)
            and (k <= q or not given.get("causal", False))
            and k < lengths[item]
            and ("lengths" not in given or queries != keys or q < lengths[item])
            and mask[item, head, q, k] and bitmap[head, q // size, k // size])
    return seen


def drawn(visits, shape, rows, lanes):
    """Return what some visits let through as ``[batch, heads, queries, keys]``."""
    batch, heads, queries, keys = shape
    tiles = -(-queries // lanes), -(-keys // rows)
    seen = np.zeros((batch, heads, tiles[0] * lanes, tiles[1] * rows), bool)
    visited = 0
    for item, head, tile in np.ndindex(batch, heads, tiles[0]):
        end = 0
        for run in visits.of(item, head, tile):
            assert run.count >= 1
            assert run.first >= end, "runs must follow the order of the keys"
            end = run.first + run.count
            visited += run.count
            for n in range(run.count):
                mask = True if run.mask is None else visits.masks[run.mask[0] + n * run.mask[1]].T
                place = seen[item, head, tile * lanes:][:lanes, (run.first + n) * rows:][:, :rows]
                assert np.any(mask), "a tile without a visible pair is visited"
                place |= mask
    assert visited == visits.tiles_visited
    assert not seen[..., :queries, keys:].any(), "padding is visible"
    return seen[..., :queries, :keys]


@settings(deadline=None, max_examples=400)
@given(patterns(), st.sampled_from([(2, 2), (4, 8), (8, 8), (16, 32)]))
def test_visits_are_the_visible_pairs(pattern, tile):
    queries, keys, given, heads, batch = pattern
    wanted = matrix(*pattern)
    built = Pattern(queries, keys, heads=heads, batch=batch, **given)
    visits = built.runs(*tile)
    np.testing.assert_array_equal(drawn(visits, wanted.shape, *tile), wanted)
    assert visits.pairs == wanted.sum()
    assert visits.tiles_total == batch * heads * -(-queries // tile[1]) * -(-keys // tile[0])
    for item, head in np.ndindex(batch, heads):
        seen = built.visible(head, range(queries), range(keys), item)
        np.testing.assert_array_equal(seen, wanted[item, head])
        middle = built.visible(head, range(queries // 2, queries), range(keys // 3, keys), item)
        np.testing.assert_array_equal(middle, seen[queries // 2:, keys // 3:])


@pytest.mark.parametrize("window", [None, 1, 2, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_all_small_rules(window, dilation):
    for causal, tokens, length, (queries, keys) in itertools.product(
            (False, True), (0, 1, 3, 9), (None, 0, 6, 8), ((13, 13), (9, 14), (14, 9))):
        given = {"causal": causal, "global_tokens": tokens, "dilation": dilation}
        given |= {} if window is None else {"window": window}
        given |= {} if length is None else {"lengths": length}
        wanted = matrix(queries, keys, given, 1, 1)
        visits = Pattern(queries, keys, **given).runs(2, 4)
        np.testing.assert_array_equal(drawn(visits, wanted.shape, 2, 4), wanted, str(given))
        assert visits.pairs == wanted.sum()


def test_dense_is_one_run():
    visits = Pattern(64, 100, heads=4).runs(4, 8)
    assert visits.shared
    assert visits.runs == (((((Run(0, 25, None),),) * 8),),)
    ragged = Pattern(60, 102).runs(4, 8)
    assert set(ragged.runs[0][0]) == {(Run(0, 25, None), Run(25, 1, (0, 0)))}
    assert len(ragged.masks) == 1


def test_causal_is_a_run_and_a_diagonal():
    visits = Pattern(64, 64, causal=True).runs(4, 8)
    assert visits.runs[0][0][0] == (Run(0, 2, (0, 1)),)
    assert visits.runs[0][0][5] == (Run(0, 10, None), Run(10, 2, (0, 1)))
    assert len(visits.masks) == 2
    assert visits.tiles_visited == sum(2 * n for n in range(1, 9))


def test_window_has_the_same_masks_everywhere():
    visits = Pattern(4096, 4096, window=128).runs(16, 32)
    assert len(visits.masks) == 4
    assert max(len(runs) for runs in visits.runs[0][0]) == 3


def test_lengths_leave_no_work():
    visits = Pattern(64, 64, lengths=[0, 16, 64], batch=3, heads=2).runs(4, 8)
    assert visits.runs[0] == (((),) * 8,)
    assert visits.runs[1] == (((Run(0, 4, None),),) * 2 + ((),) * 6,)
    assert visits.tiles_visited == 2 * (2 * 4 + 8 * 16)


def test_queries_beyond_the_length_share_a_mask():
    visits = Pattern(64, 64, lengths=59).runs(4, 8)
    assert visits.runs[0][0][7] == (Run(0, 14, (1, 0)), Run(14, 1, (2, 0)))


def test_equal_heads_share_their_runs():
    mask = np.random.default_rng(0).random((1, 20, 20)) < 0.5
    assert Pattern(20, 20, mask=mask.repeat(3, 0), heads=3).runs(4, 8).shared
    apart = np.concatenate([mask, mask, ~mask])
    assert not Pattern(20, 20, mask=apart, heads=3).runs(4, 8).shared


def test_nothing_visible_is_not_visited():
    visits = Pattern(20, 20, mask=np.zeros((20, 20), bool)).runs(4, 8)
    assert visits.runs == ((((),) * 3,),)
    assert visits.masks.shape == (0, 4, 8)


@pytest.mark.parametrize(("pattern", "tiles"), [
    ({"queries": 4096, "keys": 4096, "window": 128, "global_tokens": 4}, 128 * 20),
    ({"queries": 4096, "keys": 4096, "causal": True}, 128 * 256 // 2),
    ({"queries": 32, "keys": 65536}, 4096),
    ({"queries": 65536, "keys": 65536}, 2048 * 4096),
], ids=["window", "causal", "one tile", "dense"])
def test_large_patterns_are_quick(pattern, tiles):
    start = time.perf_counter()
    visits = Pattern(**pattern).runs(16, 32)
    assert time.perf_counter() - start < 5  # a fraction of a second, on a machine at rest
    assert visits.tiles_visited == pytest.approx(tiles, rel=0.2)


def test_polarised_masks_are_dense_in_front():
    random = np.random.default_rng(1)
    popular = random.permutation(128)[:16]
    mask = np.abs(np.subtract.outer(np.arange(128), np.arange(128))) < 8
    mask[:, popular] = True
    order, dense, reordered = polarised(mask)
    assert sorted(order) == list(range(128))
    assert sorted(order[:dense]) == sorted(popular)
    np.testing.assert_array_equal(reordered, mask[:, order])
    assert reordered[:, :dense].all()
    before, after = (Pattern(128, 128, mask=each).runs(16, 32) for each in (mask, reordered))
    assert after.pairs == before.pairs
    assert after.tiles_visited < 0.7 * before.tiles_visited


@pytest.mark.parametrize(("given", "error", "message"), [
    ({"queries": 0}, ValueError, "Queries must be at least 1, not 0"),
    ({"heads": 1.5}, TypeError, "Heads must be an integer, not 1.5"),
    ({"window": 0}, ValueError, "Window must be at least 1, not 0"),
    ({"window": True}, TypeError, "Window must be an integer, not True"),
    ({"dilation": 0}, ValueError, "Dilation must be at least 1, not 0"),
    ({"global_tokens": -1}, ValueError, "Global tokens must be between 0 and 12, not -1"),
    ({"global_tokens": 13}, ValueError, "Global tokens must be between 0 and 12, not 13"),
    ({"lengths": [3, 13]}, ValueError, "Length of item 1 must be .* its 12 keys, not 13"),
    ({"lengths": [-1, 2]}, ValueError, "Length of item 0 must be .* not -1"),
    ({"lengths": [1, 2, 3]}, ValueError, r"one for each of 2 items, not of shape \(3,\)"),
    ({"lengths": 2.0}, TypeError, "Lengths must be integers, not float64"),
    ({"mask": np.ones((10, 12))}, TypeError, "Mask must be boolean .* not float64"),
    ({"mask": np.ones((12, 10), bool)}, ValueError, r"\[queries, keys\] = \(10, 12\)"),
    ({"mask": np.ones((2, 10, 12), bool)}, ValueError, r"= \(3, 10, 12\) .* not \(2, 10, 12\)"),
    ({"mask": np.ones((3, 3, 10, 12), bool)}, ValueError, r"= \(2, 3, 10, 12\), not \(3, 3"),
    ({"mask": np.ones(12, bool)}, ValueError, r"not \(12,\)"),
    ({"blocks": (np.ones((2, 2)), 8)}, TypeError, "Bitmap must be boolean .* not float64"),
    ({"blocks": (np.ones((2, 3), bool), 8)}, ValueError, r"= \(2, 2\) or .* not \(2, 3\)"),
    ({"blocks": (np.ones((2, 2, 2), bool), 8)}, ValueError, r"= \(3, 2, 2\), not \(2, 2, 2\)"),
    ({"blocks": (np.ones((2, 2), bool), 0)}, ValueError, "Block size must be at least 1, not 0"),
])
def test_refusals(given, error, message):
    with pytest.raises(error, match=message):
        Pattern(**{"queries": 10, "keys": 12, "heads": 3, "batch": 2} | given)


@pytest.mark.parametrize(("given", "error", "message"), [
    ({"mask": np.ones((2, 2))}, TypeError, "Mask must be boolean"),
    ({"mask": np.ones((2, 2, 2), bool)}, ValueError, r"not of shape \(2, 2, 2\)"),
    ({"mask": np.ones((2, 2), bool), "share": 2}, ValueError, "Share must be between 0 and 1"),
])
def test_polarised_refusals(given, error, message):
    with pytest.raises(error, match=message):
        polarised(**given)
