"""The loop that keeps masks. Needs the extra ``train``; ``make train`` runs it."""

import itertools

import pytest
import torch
from torch import nn

from heddle.train.finetune import apply_masks, finetune


@pytest.fixture
def task():
    """A model of two layers, a mask of its first weight, and batches that a linear map explains."""
    random = torch.Generator().manual_seed(1)
    wanted = torch.randn(3, 8, generator=random)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3))
    mask = torch.rand(16, 8, generator=random) < 0.3

    def batches():
        while True:
            x = torch.randn(32, 8, generator=random)
            yield x, x @ wanted.T

    return model, {"0.weight": mask}, batches()


def loss(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def test_masked_weights_stay_zero_while_the_rest_learns(task):
    model, masks, batches = task
    apply_masks(model, masks)
    before = loss(model, next(batches)).item()

    def watched(model, batch):
        assert not model[0].weight[~masks["0.weight"]].any()
        return loss(model, batch)

    finetune(model, masks, batches, watched, steps=200, rate=1e-2, warmup=5, average=0.9)
    assert not model[0].weight[~masks["0.weight"]].any()
    assert model[0].weight[masks["0.weight"]].all()
    assert loss(model, next(batches)).item() < 0.5 * before


def test_without_masks_it_is_ordinary_training(task):
    model, _, batches = task
    finetune(model, {}, batches, loss, steps=300, rate=3e-2, average=0.9)
    assert loss(model, next(batches)).item() < 0.05


def test_the_average_is_of_the_steps(task):
    model, masks, batches = task
    seen = []

    def watched(model, batch):
        seen.append(model[1].bias.detach().clone())
        return loss(model, batch)

    finetune(model, masks, batches, watched, steps=10, rate=1e-2, average=0.5)
    low, high = torch.stack(seen[1:]).min(0).values, torch.stack(seen[1:]).max(0).values
    assert ((low - 1e-3 <= model[1].bias) & (model[1].bias <= high + 1e-2)).all()


@pytest.mark.parametrize(("masks", "message"), [
    ({"2.weight": torch.ones(3, 3, dtype=torch.bool)}, "none is named '2.weight'"),
    ({"0.weight": torch.ones(8, 16, dtype=torch.bool)}, r"boolean of shape \[16, 8\]"),
    ({"0.weight": torch.ones(16, 8)}, "not torch.float32 of shape"),
])
def test_masks_that_do_not_fit_are_refused(task, masks, message):
    model, _, batches = task
    with pytest.raises(ValueError, match=message):
        finetune(model, masks, batches, loss, steps=1, rate=1e-3)


def test_too_few_batches_are_refused(task):
    model, masks, batches = task
    with pytest.raises(ValueError, match="a batch for each of 3 steps, not 2"):
        finetune(model, masks, itertools.islice(batches, 2), loss, steps=3, rate=1e-3)
