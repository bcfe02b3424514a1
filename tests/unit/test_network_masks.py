"""Masks that share a budget of weights between matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.rtl.geometry import PRESETS
from heddle.train.masks import network_masks

TINY = PRESETS["tiny"]  # blocks of 4 outputs, 2 banks


def kept(masks):
    return sum(int(mask.sum()) for mask in masks.values())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_budget_and_balance(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2 ** 32)))
    weights = {str(n): random.standard_normal((
        TINY.rows * data.draw(st.integers(1, 4)), TINY.depth * data.draw(st.integers(1, 9))))
        for n in range(data.draw(st.integers(1, 4)))}
    sparsity = data.draw(st.floats(0, 0.95))
    masks = network_masks(weights, sparsity, TINY)
    total = sum(weight.size for weight in weights.values())
    step = max(TINY.depth * len(weight) for weight in weights.values())
    budget = (1 - sparsity) * total
    assert budget - step < kept(masks) <= budget + 1e-6
    for name, mask in masks.items():
        blocks = mask.reshape(-1, TINY.rows, mask.shape[1])
        assert (blocks == blocks[:, :1]).all(), name


def test_steps_go_where_the_weights_are_uneven():
    random = np.random.default_rng(0)
    even = np.sign(random.standard_normal((8, 16)))
    uneven = random.standard_normal((8, 16))
    uneven[:, 4:] *= 0.01  # all that matters is in two of eight steps
    masks = network_masks({"even": even, "uneven": uneven}, 0.5, TINY)
    assert masks["uneven"].sum() == 2 * 2 * 8
    assert masks["even"].sum() == 6 * 2 * 8
    assert masks["uneven"][:, :4].all()


def test_the_scale_of_a_matrix_does_not_matter():
    random = np.random.default_rng(1)
    weights = {name: random.standard_normal((8, 12)) for name in "ab"}
    wanted = network_masks(weights, 0.6, TINY)
    got = network_masks({"a": weights["a"] * 100, "b": weights["b"]}, 0.6, TINY)
    assert all((got[name] == wanted[name]).all() for name in "ab")


def test_least_groups_go_if_a_step_each_is_too_many():
    weight = np.arange(1.0, 33).reshape(4, 8)
    masks = network_masks({"w": weight}, 0.85, TINY)
    assert masks["w"].sum(0).tolist() == [0] * 7 + [4]


def test_sparsity_out_of_range_is_refused():
    with pytest.raises(ValueError, match="Sparsity must be at least 0 and less than 1, not 1"):
        network_masks({"w": np.ones((4, 4))}, 1.0, TINY)


def test_outputs_that_are_no_blocks_are_refused():
    with pytest.raises(ValueError, match="Outputs of w must be a multiple of 4, not 6"):
        network_masks({"w": np.ones((6, 4))}, 0.5, TINY)
