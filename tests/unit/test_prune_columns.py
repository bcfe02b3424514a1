"""Column pruning in two stages, and what rectangles cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.prune import Columns, Footprint, first_order, footprint, magnitude, prune_columns
from heddle.rtl.geometry import PRESETS
from heddle.sim import layouts

shares = st.integers(0, 70).map(lambda percent: percent / 100)


@st.composite
def sets(draw):
    """Return the columns of some weights of two groups, some with many equal scores."""
    random = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    columns = []
    for n in range(draw(st.integers(1, 6))):
        heads = draw(st.integers(1, 4))
        shape = heads * draw(st.integers(4, 40))
        scores = random.integers(0, 4, shape) if draw(st.booleans()) else random.random(shape)
        columns.append(Columns.of(f"weight {n}", draw(st.sampled_from("ab")), scores, heads))
    return columns


def heads_of(columns, masks):
    """Yield the group, scores and mask of each head."""
    for each, mask in zip(columns, masks):
        yield from ((each.group, scores, kept) for scores, kept in zip(
            each.scores.reshape(each.heads, -1), mask.reshape(each.heads, -1)))


@settings(deadline=None)
@given(sets(), shares, shares, st.sampled_from([1, 4, 16]))
def test_stages_keep_their_shares(columns, sparsity, coarse, grain):
    kept = prune_columns(columns, sparsity, coarse=coarse, grain=grain)
    assert kept.sparsity == sparsity
    assert kept.coarse == min(coarse, sparsity)
    for group in {each.group for each in columns}:
        members = [(each, m) for each, m in zip(columns, kept.masks) if each.group == group]
        total = sum(mask.size for _, mask in members)
        left = sum(min(np.count_nonzero(each.live), int(mask.size * (1 - kept.coarse) + 0.5))
                   for each, mask in members)
        if sparsity > kept.coarse:
            wanted = min(int(total * (1 - sparsity) + 0.5), left)
            assert sum(mask.sum() for _, mask in members) == wanted
    for each, mask in zip(columns, kept.masks):
        assert mask.shape == each.scores.shape
        assert mask.sum() <= each.scores.size * (1 - kept.coarse) + 0.5
    for _, scores, mask in heads_of(columns, kept.masks):
        assert mask.any()
        assert scores[mask].min() >= scores[~mask].max(initial=0)


@settings(deadline=None)
@given(sets(), shares.filter(bool), st.sampled_from([1, 4, 16]))
def test_fine_stage_fills_the_fewest_blocks(columns, sparsity, grain):
    kept = prune_columns(columns, sparsity, coarse=0, fine_step=0.99, grain=grain)
    for group in {each.group for each in columns}:
        widths = [(max(1, np.count_nonzero(scores)), mask.sum())
                  for g, scores, mask in heads_of(columns, kept.masks) if g == group]
        # Room of one block in each head, then of further blocks, the full ones first.
        room = sum(min(grain, size) for size, _ in widths)
        more = sorted((min(grain, size - first) for size, _ in widths
                       for first in range(grain, size, grain)), reverse=True)
        blocks = len(widths)
        while room < sum(width for _, width in widths):
            room += more[blocks - len(widths)]
            blocks += 1
        assert sum(-(-width // grain) for _, width in widths) <= blocks


@settings(deadline=None)
@given(sets(), shares.filter(bool))
def test_grain_of_one_is_the_ranking(columns, sparsity):
    kept = prune_columns(columns, sparsity, coarse=0, fine_step=0.99)
    for group in {each.group for each in columns}:
        heads = [(s, m) for g, s, m in heads_of(columns, kept.masks) if g == group]
        # Beside the best column of each head, which stays in any case.
        least = min((np.sort(s[m])[:-1].min(initial=np.inf) for s, m in heads))
        assert max(s[~m].max(initial=0) for s, m in heads) <= least


@settings(deadline=None)
@given(sets(), shares, st.sampled_from([1, 4, 16]))
def test_pruning_again_changes_nothing(columns, sparsity, grain):
    kept = prune_columns(columns, sparsity, grain=grain)
    left = [Columns.of(c.name, c.group, np.where(mask, c.scores, 0), c.heads)
            for c, mask in zip(columns, kept.masks)]
    again = prune_columns(left, sparsity, grain=grain)
    for before, after in zip(kept.masks, again.masks):
        np.testing.assert_array_equal(before, after)


def test_acceptance_ends_each_stage():
    random = np.random.default_rng(0)
    columns = [Columns.of(str(n), "all", random.random(100) * (n + 1)) for n in range(4)]
    tried = []

    def accept(candidate):
        tried.append((candidate.coarse, candidate.sparsity))
        for now, before in zip(candidate.masks, best[-1].masks if best else ()):
            assert not (now & ~before).any(), "a pruned column is back"
        # The largest weight of 100 columns may go to 60, all together to 170.
        fine = sum(mask.sum() for mask in candidate.masks)
        if candidate.coarse > 0.41 or fine < 170:
            return False
        best.append(candidate)
        return True

    best = []
    kept = prune_columns(columns, 0.9, coarse=0.8, accept=accept)
    np.testing.assert_allclose(tried, [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5),
                                       (0.4, 0.45), (0.4, 0.5), (0.4, 0.55), (0.4, 0.6)])
    assert kept is best[-1]
    assert sum(mask.sum() for mask in kept.masks) == 180
    # Weights are of unlike importance, and none is larger than the coarse stage has left it.
    assert [int(mask.sum()) for mask in kept.masks] == sorted(int(m.sum()) for m in kept.masks)
    assert kept.masks[-1].sum() == 60


def test_nothing_accepted_is_nothing_pruned():
    kept = prune_columns([Columns.of("w", "w", np.arange(1, 10))], 0.5, accept=lambda kept: False)
    assert (kept.coarse, kept.sparsity) == (0, 0)
    assert kept.masks[0].all()


def test_a_head_is_not_left_above_a_block():
    # By rank alone, 17 of the first head and 15 of the second.
    scores = np.concatenate([np.arange(32) + 17.5, np.arange(32) + 19])
    columns = [Columns.of("q", "q", scores, heads=2)]
    assert [prune_columns(columns, 0.5, grain=grain).masks[0].reshape(2, -1).sum(1).tolist()
            for grain in (1, 16)] == [[15, 17], [16, 16]]


def test_scores():
    weight, gradient = np.array([[3.0, -4], [1, 0]]), np.array([[1.0, 1], [5, 7]])
    np.testing.assert_array_equal(magnitude(weight), [5, 1])
    np.testing.assert_array_equal(first_order(weight, gradient), [1, 5])
    np.testing.assert_array_equal(Columns.of("w", "w", [-2, 1]).scores, [2, 1])


@settings(deadline=None)
@given(st.sampled_from(["tiny", "zcu102"]), st.integers(1, 50), st.integers(1, 50))
def test_footprint_is_what_is_packed(name, outputs, inputs):
    g = PRESETS[name]
    cost = footprint(outputs, inputs, g)
    packed = layouts.pack_blocks(np.zeros((inputs, outputs), np.int8), g.rows, g.depth)
    blocks, steps = packed.shape[:2]
    assert cost == Footprint(
        weights=outputs * inputs, blocks=blocks, steps=blocks * steps,
        words=blocks * (steps + g.channel_words),
        bytes=packed.nbytes + blocks * g.channel_words * g.word_bytes, vectors=steps * g.depth)


def test_footprint_pads_heads_and_banks():
    g = PRESETS["zcu102"].replace(candidates=4)
    assert footprint((12, 17), 40, g) == Footprint(29 * 40, 3, 15, 18, 18 * 128, 64)
    assert footprint(40, (12, 17), g) == Footprint(29 * 40, 3, 18, 21, 21 * 128, 64)
    assert footprint(1, 1, g) + footprint(16, 8, g) == Footprint(129, 2, 2, 4, 512, 64)


@pytest.mark.parametrize(("act", "error", "message"), [
    (lambda c: prune_columns(c, 1.0), ValueError, "Sparsity must be at least 0 and less than 1"),
    (lambda c: prune_columns(c, 0.5, coarse=-1), ValueError,
     "Coarse sparsity must be at least 0 and less than 1, not -1"),
    (lambda c: prune_columns(c, 0.5, coarse_step=0), ValueError, "Coarse step must be more than 0"),
    (lambda c: prune_columns(c, 0.5, fine_step=2), ValueError, "Fine step must be .* not 2"),
    (lambda c: prune_columns(c, True), TypeError, "Sparsity must be a number, not True"),
    (lambda c: prune_columns(c, 0.5, grain=0), ValueError, "Grain must be at least 1, not 0"),
    (lambda c: prune_columns(c, 0.9), ValueError,
     "sparsity of 0.9 leaves 1 of the 8 columns of w, but each of the 2 heads must keep one"),
    (lambda c: Columns.of("w", "w", [1, np.nan]), ValueError, "finite, but that of column 1 is"),
    (lambda c: Columns.of("w", "w", [[1, 2]]), ValueError, r"vector .* not of shape \(1, 2\)"),
    (lambda c: Columns.of("w", "w", [1, 2, 3], 2), ValueError, "of 2 equal heads, not of shape"),
    (lambda c: Columns.of("w", "w", [1, 2], 0), ValueError, "Heads of w must be at least 1"),
    (lambda c: Columns.of("w", "w", ["a"]), TypeError, "Scores of w must be real numbers"),
    (lambda c: first_order(np.ones((2, 2)), np.ones((2, 3))), ValueError,
     "Gradient must have 2 along axis 1, not 3"),
    (lambda c: magnitude(np.ones(3)), ValueError, "Weight must have 2 axes"),
    (lambda c: footprint(0, 8, PRESETS["tiny"]), ValueError, "Outputs must be at least 1, not 0"),
    (lambda c: footprint(8, (4, 0), PRESETS["tiny"]), ValueError, "Inputs must be at least 1"),
    (lambda c: footprint(1.5, 8, PRESETS["tiny"]), TypeError, "Outputs must be an integer"),
])
def test_refusals(act, error, message):
    with pytest.raises(error, match=message):
        act([Columns.of("w", "w", np.arange(8), heads=2)])
