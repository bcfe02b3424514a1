"""The language model of characters: what is committed holds what is claimed of it."""

import numpy as np
import pytest

from heddle.models.characters import BOOKS, FOLDER, WINDOW, Characters, book


@pytest.fixture(scope="module")
def model():
    return Characters()


def test_files_are_small():
    assert (FOLDER / "model.safetensors").stat().st_size <= 1_700_000
    assert sum((FOLDER / f"{name}.txt").stat().st_size for name in BOOKS) <= 20_000


def test_sizes(model):
    layers = model.model.layers
    assert len(layers) == 4
    assert {(layer.heads, layer.causal, layer.norm_first) for layer in layers} == {(4, True, True)}
    assert layers[0].expand.weight.shape == (512, 128)
    parts = [*model.model.projections.values()]
    assert sum(part.weight.size for part in parts) == 786_432


def test_texts_that_were_not_learnt_are_guessed_well(model):
    assert model.nats(book("ruth")[:4 * WINDOW]) < 1.7
    assert model.nats("zqxj" * 20) > 4


def test_windows(model):
    text = book("ruth")[:2 * WINDOW + 5]
    windows = model.tokens(text)
    assert [len(window) for window in windows] == [WINDOW, WINDOW, 5]
    assert "".join(model.alphabet[n] for window in windows for n in window) == text
    assert len(model.tokens(text[:WINDOW + 1])) == 1


def test_loss_is_of_the_next_character(model):
    windows = [[3, 1, 2], [0, 4]]
    logits = np.random.default_rng(0).normal(size=(5, 6))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wanted = -np.log([p[0, 1], p[1, 2], p[3, 4]]).mean()
    assert model.loss(logits, windows) == pytest.approx(wanted)


def test_other_texts_are_refused(model):
    with pytest.raises(ValueError, match="at least 2 characters, not 1"):
        model.tokens("a")
    with pytest.raises(ValueError, match="not 'é'"):
        model.tokens("café")
    with pytest.raises(ValueError, match="Book must be one of ruth, jonah, not 'job'"):
        book("job")
