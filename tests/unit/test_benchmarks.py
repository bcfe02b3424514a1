"""What benchmarks read: patterns, the way the command line takes them, and text for the encoder."""

import numpy as np
import pytest

from heddle.benchmarks import minilm, pattern_arguments, text
from heddle.embedding import SENTENCES
from heddle.models import MiniLM


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


@pytest.fixture(scope="module")
def model():
    return MiniLM(layers=1)


@pytest.mark.parametrize(("tokens", "lengths"), [
    (3, [3]), (128, [128]), (256, [256]), (257, [128, 129]), (1000, [250] * 4),
])
def test_text_has_exactly_so_many_tokens(model, tokens, lengths):
    sequences = text(model, tokens)
    assert [len(sequence) for sequence in sequences] == lengths
    first = model.tokens(SENTENCES[:1])[0]
    assert {(sequence[0], sequence[-1]) for sequence in sequences} == {(first[0], first[-1])}
    read = [token for sequence in sequences for token in sequence[1:-1]]
    assert read[:len(first) - 2] == first[1:-1][:len(read)]
    again = 128 - 2 * len(SENTENCES)
    assert read[again:] == read[:len(read) - again] or len(read) < again


def test_text_must_have_room_for_a_word(model):
    with pytest.raises(ValueError, match="must have at least 3 tokens, two of which are marks"):
        text(model, 2)


def test_speed_of_the_golden_device():
    """Five sentences a second is the aim; of a layer this is the sixth of that, times six."""
    report = minilm(128, device="golden", layers=1)
    assert 0 < report["cpu_next_run"] < 0.2
    assert report["cpu_first_run"] > 0
    assert report["cpu_compile"] > 0
    assert report["matches_golden"] is True
