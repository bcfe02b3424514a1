"""The decoder of characters. Needs the extra ``train``; ``make train`` runs it."""

import numpy as np
import pytest
import torch

from heddle.models import load_model
from heddle.models.characters import WINDOW, Characters
from heddle.train import characters
from heddle.train.gpt import Decoder

SIZES = {"vocabulary": 11, "tokens": 9, "layers": 2, "heads": 2, "width": 8, "inner": 24}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Decoder(**SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model.eval()


def test_checkpoint_is_the_network_in_numpy(model, tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.checkpoint().items()}, file)
    loaded = load_model(file, n_head=2, activation_function="gelu")
    sequences = [[3, 1, 4, 1, 5, 9, 2, 6, 10], [0, 8, 7, 7, 2, 0, 1, 10, 3]]
    with torch.no_grad():
        wanted = model(torch.tensor(sequences)).flatten(0, 1).numpy()
    np.testing.assert_allclose(loaded.logits(sequences), wanted, atol=1e-5)


def test_nothing_later_is_seen(model):
    with torch.no_grad():
        one, other = model(torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9]]))
    torch.testing.assert_close(one[:3], other[:3])
    assert not torch.allclose(one[3:], other[3:])


def test_training_learns_and_is_saved(tmp_path):
    text, alphabet = "warp and weft, " * 60, "".join(sorted(set("warp and weft, ")))
    torch.manual_seed(0)
    characters.save(characters.train(text, alphabet, steps=60), alphabet, tmp_path)
    model = Characters(tmp_path)
    assert model.alphabet == alphabet
    assert model.nats(text[:WINDOW]) < 0.5


def test_missing_program_says_how_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install bible-kjv"):
        characters.read_books()
