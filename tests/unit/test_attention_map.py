"""Attention maps: weights add up to 1, and the accelerator's are close to the exact ones."""

import numpy as np
import pytest

from heddle.attention_map import draw, float_map, integer_map
from heddle.patterns import Pattern
from heddle.rtl.geometry import preset
from heddle.sim.attention import score_scale

TINY = preset("tiny")


@pytest.fixture(params=[{}, {"causal": True}, {"window": 4, "dilation": 2, "global_tokens": 2},
                        {"lengths": 21}], ids=["dense", "causal", "window", "length"])
def case(request):
    """A pattern, and queries and keys in integers."""
    random = np.random.default_rng(5)
    q, k = random.integers(-127, 128, (2, 30, 12)).astype(np.int8)
    return Pattern(30, 30, **request.param), q, k


def test_maps_agree(case):
    pattern, q, k = case
    scale = 1.5 / np.std(q.astype(int) @ k.T.astype(int))
    visible = pattern.visible(0, range(30), range(30))
    exact = float_map(q, k, visible, scale)
    ours = integer_map(q, k, pattern, TINY, score_scale(scale))
    for weights in exact, ours:
        assert not weights[~visible].any()
        np.testing.assert_allclose(weights.sum(1), visible.any(1), atol=0.005)
    assert np.abs(ours - exact).sum(1).mean() < 0.03
    assert np.abs(ours - exact).max() > 0


def test_float_map_is_a_softmax():
    weights = float_map([[1.0, 0.0]], [[2.0, 5.0], [0.0, 7.0]], np.array([[True, True]]), 0.5)
    np.testing.assert_allclose(weights, [[np.e / (np.e + 1), 1 / (np.e + 1)]])


def test_picture_frames_the_visited_tiles(case, tmp_path):
    pattern, q, k = case
    visits = pattern.runs(TINY.rows, TINY.lanes)
    weights = integer_map(q, k, pattern, TINY, score_scale(1e-4))
    draw(tmp_path / "map.png", [("one", weights), ("other", weights)], visits, TINY, "title",
         marks=(0, 15))
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
