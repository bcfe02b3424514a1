"""Patterns as text, the way the command line takes them."""

import numpy as np
import pytest

from heddle.benchmarks import pattern_arguments


@pytest.mark.parametrize(("text", "given"), [
    ("dense", {}),
    ("causal", {"causal": True}),
    ("window:7+causal", {"window": 7, "causal": True}),
    ("dilated:7:2", {"window": 7, "dilation": 2}),
    ("global:3+window:5", {"global_tokens": 3, "window": 5}),
    ("length:9", {"lengths": 9}),
])
def test_text(text, given):
    assert pattern_arguments(text, 20, 30) == given


def test_text_of_blocks():
    bitmap, size = pattern_arguments("block:8:0.25", 60, 100)["blocks"]
    assert size == 8
    assert bitmap.shape == (8, 13)
    assert bitmap[np.arange(8), np.arange(8)].all()
    assert 0.1 < bitmap.mean() < 0.6
    again, other = (pattern_arguments("block:8:0.25", 60, 100, seed)["blocks"][0]
                    for seed in (0, 1))
    np.testing.assert_array_equal(bitmap, again)
    assert (bitmap != other).any()


@pytest.mark.parametrize("text", ["", "sparse", "window", "window:x", "window:1:2", "block:8",
                                  "causal:1", "dense+"])
def test_text_refusals(text):
    with pytest.raises(ValueError, match=r"Pattern must be dense, causal, .* not"):
        pattern_arguments(text, 20, 20)


def test_text_says_nothing_twice():
    with pytest.raises(ValueError, match="says twice what window is"):
        pattern_arguments("window:3+dilated:2:2", 20, 20)
    with pytest.raises(ValueError, match="Density must be between 0 and 1, not 2"):
        pattern_arguments("block:4:2", 20, 20)


