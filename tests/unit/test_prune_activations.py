"""Pruning that knows the inputs: what is salient, and what makes up for what is gone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.prune import compensate, prune_nm, saliency
from heddle.rtl.geometry import PRESETS


def layer(seed, outputs=12, features=16, tokens=200):
    """Return a weight and inputs that depend on each other and differ in size."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(tokens, features // 2)) @ random.normal(
        size=(features // 2, features)) + 0.1 * random.normal(size=(tokens, features))
    return random.normal(size=(outputs, features)), inputs * random.uniform(0.1, 5, features)


def error(pruned, weight, inputs):
    return np.square(inputs @ (pruned - weight).T).mean()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.floats(0.1, 0.9))
def test_compensation_brings_the_layer_nearer(seed, share):
    weight, inputs = layer(seed)
    mask = np.random.default_rng(seed).random(weight.shape) < share
    result = compensate(weight, mask, inputs, damping=1e-6)
    assert not result[~mask].any()
    assert error(result, weight, inputs) <= error(np.where(mask, weight, 0), weight, inputs) + 1e-6
    # Nothing near does better: the gradient of the error vanishes where weights are kept.
    gradient = (result - weight) @ (inputs.T @ inputs) / len(inputs)
    assert np.abs(gradient[mask]).max(initial=0) < 1e-3 * np.abs(inputs).max() ** 2


def test_nothing_changes_where_nothing_is_pruned():
    weight, inputs = layer(1)
    np.testing.assert_allclose(compensate(weight, np.ones(weight.shape, bool), inputs), weight,
                               rtol=1e-6)


def test_a_dead_sample_is_no_problem():
    weight, inputs = layer(2)
    mask = np.arange(16) % 2 == np.zeros((12, 1))
    np.testing.assert_allclose(compensate(weight, mask, 0 * inputs), np.where(mask, weight, 0),
                               rtol=1e-6)


def test_saliency_keeps_small_weights_of_large_inputs():
    weight = np.array([[1.0, 0.1, 0.5, 0.2]])
    inputs = np.array([[0.1, 100, 0.1, 0.1], [-0.1, 100, 0.1, 0.1]])
    np.testing.assert_allclose(saliency(weight, inputs), [[0.1, 10, 0.05, 0.02]], rtol=1e-6)
    mask = prune_nm(saliency(weight, inputs), 1, 4, PRESETS["tiny-nm"], stride=1)
    assert mask.tolist() == [[False, True, False, False]]


def test_refusals():
    weight, inputs = layer(3)
    with pytest.raises(ValueError, match="Inputs must have 16 along axis 1, not 15"):
        saliency(weight, inputs[:, 1:])
    with pytest.raises(ValueError, match=r"Mask must be of bool and shape \(12, 16\), not of"):
        compensate(weight, np.ones((12, 16)), inputs)
    with pytest.raises(ValueError, match="Damping must be positive and finite, not 0"):
        compensate(weight, np.ones((12, 16), bool), inputs, damping=0)
