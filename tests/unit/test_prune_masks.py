"""Masks of single weights: column-balanced, N:M and hierarchical."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.prune import inherit_nm, prune_balanced, prune_hierarchical, prune_nm
from heddle.rtl.geometry import PRESETS

TINY = PRESETS["tiny"]
geometries = st.sampled_from([TINY, TINY.replace(candidates=4), PRESETS["zcu102"]])
shares = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 0.5, 0.8, 0.999]))
ratios = st.integers(1, 8).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


@st.composite
def weights(draw, unit):
    """Return a weight whose inputs are a multiple of a unit, some with many equal elements."""
    shape = draw(st.integers(1, 40)), unit * draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    if draw(st.booleans()):
        return random.integers(-2, 3, shape).astype(np.float32)
    return random.standard_normal(shape, np.float32) * np.float32(draw(st.sampled_from(
        [1e-38, 1, 1e37])))


def nearest(total, sparsity):
    """Return the number of those kept by definition: the nearest, at least one."""
    return max(1, min(range(total + 1), key=lambda n: (abs(n - total * (1 - sparsity)), -n)))


@settings(deadline=None)
@given(st.data(), geometries, shares)
def test_balanced_keeps_as_many_in_every_bank_of_every_block(data, g, sparsity):
    weight = data.draw(weights(g.depth))
    mask = prune_balanced(weight, sparsity, g)
    assert mask.shape == weight.shape
    assert mask.dtype == bool
    for first in range(0, len(weight), g.rows):
        block, values = mask[first:first + g.rows], weight[first:first + g.rows].astype(np.float64)
        assert (block == block[0]).all()
        for bank in range(g.depth):
            kept = block[0, bank::g.depth]
            norms = (values[:, bank::g.depth] ** 2).sum(0)
            assert kept.sum() == nearest(kept.size, sparsity)
            assert norms[kept].min() >= norms[~kept].max(initial=0)
    np.testing.assert_array_equal(prune_balanced(weight * mask, sparsity, g), mask)


@settings(deadline=None)
@given(st.data(), st.sampled_from([1, 2, 8]), ratios)
def test_nm_keeps_n_of_each_group(data, stride, ratio):
    n, m = ratio
    weight = data.draw(weights(m * stride))
    mask = prune_nm(weight, n, m, TINY, stride=stride)
    for start in range(0, weight.shape[1], m * stride):
        for slot in range(stride):
            group = slice(start + slot, start + m * stride, stride)
            for kept, values in zip(mask[:, group], np.abs(weight[:, group])):
                assert kept.sum() == n
                assert values[kept].min() >= values[~kept].max(initial=0)
    np.testing.assert_array_equal(
        prune_nm(weight * mask, n, m, TINY, stride=stride), mask)


def test_nm_takes_the_depth_as_its_stride():
    weight = np.random.default_rng(1).standard_normal((16, 64))
    for g in (TINY, PRESETS["zcu102"]):
        np.testing.assert_array_equal(prune_nm(weight, 2, 4, g),
                                      prune_nm(weight, 2, 4, g.name, stride=g.depth))


@settings(deadline=None)
@given(st.data(), geometries, shares, ratios)
def test_hierarchical_is_nm_inside_balanced_groups(data, g, sparsity, ratio):
    n, m = ratio
    weight = data.draw(weights(m * g.depth))
    mask = prune_hierarchical(weight, sparsity, n, m, g)
    fine = prune_nm(weight, n, m, g)
    assert not (mask & ~fine).any()
    left = np.where(fine, weight, 0).astype(np.float64) ** 2
    for first in range(0, len(weight), g.rows):
        for bank in range(g.depth):
            # [rows, addresses, m]
            kept = mask[first:first + g.rows, bank::g.depth].reshape(
                -1, weight.shape[1] // (m * g.depth), m)
            norms = left[first:first + g.rows, bank::g.depth].reshape(kept.shape).sum((0, 2))
            visited = kept.any((0, 2))
            assert visited.sum() == nearest(visited.size, sparsity)
            assert (kept.sum(2) == np.where(visited, n, 0)).all()
            assert norms[visited].min() >= norms[~visited].max(initial=0)
    np.testing.assert_array_equal(prune_hierarchical(weight * mask, sparsity, n, m, g), mask)


def test_inherited_without_training_is_the_same_as_at_once():
    weight = np.random.default_rng(2).standard_normal((12, 64))
    for n, m in ((1, 4), (2, 8), (3, 4), (4, 4)):
        rounds = []

        def train(pruned, mask, rounds=rounds):
            assert (pruned[~mask] == 0).all()
            rounds.append(mask.mean())
            return pruned

        mask = inherit_nm(weight, n, m, "tiny", train)
        np.testing.assert_array_equal(mask, prune_nm(weight, n, m, "tiny"))
        assert rounds == [count / m for count in range(m - 1, n - 1, -1)]


def test_a_weight_lost_once_does_not_come_back_in_training():
    seen = []

    def train(pruned, mask):
        seen.append(mask)
        # The largest becomes the smallest, and what was pruned becomes huge.
        return np.where(mask, 1 / np.where(mask, pruned, 1), 1e6)

    weight = np.random.default_rng(3).standard_normal((8, 32))
    mask = inherit_nm(weight, 1, 4, "tiny", train)
    for wider, narrower in itertools.pairwise(seen):
        assert not (narrower & ~wider).any()
    np.testing.assert_array_equal(mask, seen[-1])
    # Of 3 the reciprocals keep the two smallest; of these the reciprocal of it, the larger.
    order = np.argsort(np.abs(weight.reshape(8, 4, 4, 2)), axis=2)
    np.testing.assert_array_equal(mask.reshape(8, 4, 4, 2).argmax(2), order[:, :, 2])


@pytest.mark.parametrize(("prune", "error", "message"), [
    (lambda w: prune_balanced(w, 1, "tiny"), ValueError,
     "Sparsity must be at least 0 and less than 1, not 1"),
    (lambda w: prune_balanced(w, -0.1, "tiny"), ValueError, "at least 0 and less than 1, not -0.1"),
    (lambda w: prune_balanced(w, np.nan, "tiny"), ValueError, "less than 1, not nan"),
    (lambda w: prune_balanced(w, "80 %", "tiny"), TypeError, "must be a number, not '80 %'"),
    (lambda w: prune_balanced(w[:, :9], 0.5, "tiny"), ValueError,
     "Inputs must be a multiple of 2, not 9: 2 groups of 1 lie side by side"),
    (lambda w: prune_balanced(w[0], 0.5, "tiny"), ValueError, "Weight must have 2 axes, not 1"),
    (lambda w: prune_balanced(w / 0, 0.5, "tiny"), ValueError, "Weight must be finite"),
    (lambda w: prune_balanced(w, 0.5, "huge"), ValueError, "Geometry must be one of"),
    (lambda w: prune_nm(w, 3, 2, "tiny"), ValueError, "N must be at most M = 2, not 3"),
    (lambda w: prune_nm(w, 0, 2, "tiny"), ValueError, "N must be at least 1, not 0"),
    (lambda w: prune_nm(w, 1.0, 2, "tiny"), TypeError, "N must be an integer, not 1.0"),
    (lambda w: prune_nm(w, 1, True, "tiny"), TypeError, "M must be an integer, not True"),
    (lambda w: prune_nm(w, 1, 4, "tiny", stride=8), ValueError,
     "Inputs must be a multiple of 32, not 16: 8 groups of 4 lie side by side"),
    (lambda w: prune_nm(w, 1, 4, "tiny", stride=0), ValueError, "Stride must be at least 1, not 0"),
    (lambda w: prune_nm(w, 1, 4, "tiny", within=w), TypeError, "Mask must be boolean"),
    (lambda w: prune_nm(w, 1, 4, "tiny", within=w[1:] > 0), ValueError,
     r"Mask must be of the shape \(8, 16\) of the weight, not \(7, 16\)"),
    (lambda w: prune_nm(w, 1, 4, "tiny", within=w > 9), ValueError,
     "Mask must have at least 1 weights in each group of 4, but one has 0"),
    (lambda w: inherit_nm(w, 5, 4, "tiny", None), ValueError, "N must be at most M = 4, not 5"),
    (lambda w: prune_hierarchical(w, 1.5, 1, 4, "tiny"), ValueError, "less than 1, not 1.5"),
    (lambda w: prune_hierarchical(w, 0.5, 5, 4, "tiny"), ValueError, "N must be at most M = 4"),
    (lambda w: prune_hierarchical(w, 0.5, 1, 4, "zcu102"), ValueError,
     "Inputs must be a multiple of 32, not 16"),
])
def test_refusals(prune, error, message):
    weight = np.ones((8, 16))
    with pytest.raises(error, match=message), np.errstate(divide="ignore"):
        prune(weight)
