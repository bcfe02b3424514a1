"""Train vision transformers on the digits, dense and pruned: ``python -m heddle.train.digits``."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ..models.digits import Digits, Part, weights_file
from ..rtl.geometry import PRESETS
from .finetune import finetune
from .masks import network_masks
from .vit import VisionTransformer

__all__ = ["main", "prune", "train"]

SIZES = {"layers": 4, "width": 64, "inner": 128}

GEOMETRY = PRESETS["zcu102"]
"""For whose blocks and banks is pruned."""

BATCH = 32

AVERAGE = 0.995
"""Share of the past in the average of the weights, each step."""

DENSE_EPOCHS, DENSE_RATE = 80, 2e-3

STAGES = {"80": ((0.5, 8), (0.65, 8), (0.8, 54)), "90": ((0.85, 10), (0.9, 50))}
"""Of each pruned model: sparsities and epochs of fine-tuning; each goes on from the one before."""

STAGE_RATE = 1e-3

TEMPERATURE = 2.0
"""With which the dense model teaches a pruned one (Hinton et al., 2015)."""

TILT, ZOOM, SHIFT = 0.15, 0.08, 0.125
"""Most by which an image is turned and sheared, scaled, and moved (in halves of its side)."""

Images = tuple[Tensor, Tensor]
"""Images ``[images, side, side]`` and labels."""


def distorted(images: Tensor, random: torch.Generator) -> Tensor:
    """Return images turned, sheared, scaled and moved a little, each in its own way."""
    def some(limit: float, *shape: int) -> Tensor:
        return (2 * torch.rand(len(images), *shape, generator=random) - 1) * limit

    angle, size, shear, shift = some(TILT), 1 + some(ZOOM), some(TILT), some(SHIFT, 2)
    cos, sin = angle.cos() * size, angle.sin() * size
    matrix = torch.stack([torch.stack([cos, shear - sin, shift[:, 0]], 1),
                          torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(matrix, [len(images), 1, *images.shape[1:]], align_corners=False)
    return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def batches(part: Part, random: torch.Generator) -> Iterator[Images]:
    """Yield batches of distorted images without end, an epoch after the other."""
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    while True:
        for some in torch.randperm(len(part), generator=random).split(BATCH)[:steps_of(part)]:
            yield distorted(images[some], random), labels[some]


def steps_of(part: Part, epochs: int = 1) -> int:
    """Return the steps of so many epochs: full batches only."""
    return epochs * (len(part) // BATCH)


def train(part: Part, random: torch.Generator) -> VisionTransformer:
    """Return a model that was trained from nothing."""
    model = VisionTransformer(pixels=part.images[0].size, classes=int(part.labels.max()) + 1,
                              **SIZES)

    def loss(model: torch.nn.Module, batch: Images) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    finetune(model, {}, batches(part, random), loss, steps=steps_of(part, DENSE_EPOCHS),
             rate=DENSE_RATE, warmup=100, average=AVERAGE)
    return model


def prune(model: VisionTransformer, dense: VisionTransformer, stages: tuple[tuple[float, int], ...],
          part: Part, random: torch.Generator) -> VisionTransformer:
    """Return a copy of a model that is pruned and fine-tuned in stages, taught by the dense one."""
    model = copy.deepcopy(model)

    def loss(model: torch.nn.Module, batch: Images) -> Tensor:
        images, labels = batch
        logits = model(images)
        with torch.no_grad():
            taught = functional.softmax(dense(images) / TEMPERATURE, 1)
        soft = functional.cross_entropy(logits / TEMPERATURE, taught) * TEMPERATURE ** 2
        return 0.5 * functional.cross_entropy(logits, labels) + 0.5 * soft

    for sparsity, epochs in stages:
        weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()
                   if name.startswith("layers.") and parameter.ndim == 2}
        masks = {name: torch.from_numpy(mask)
                 for name, mask in network_masks(weights, sparsity, GEOMETRY).items()}
        finetune(model, masks, batches(part, random), loss, steps=steps_of(part, epochs),
                 rate=STAGE_RATE, warmup=20, average=AVERAGE)
    return model


def accuracy(model: VisionTransformer, part: Part) -> str:
    """Return how many images a model names right, as text."""
    with torch.no_grad():
        named = model(torch.from_numpy(part.images)).argmax(1).numpy()
    return f"{int(np.sum(named == part.labels))} of {len(part)}"


def save(model: VisionTransformer, file: Path) -> None:
    """Write the weights as float16."""
    save_file({name: parameter.detach().half().contiguous()
               for name, parameter in model.state_dict().items()}, file)


@click.command()
@click.option("--validate", is_flag=True, help="Train without the validation part, print the "
              "accuracy on it, and write nothing.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path),
              default=weights_file("dense").parent, help="Folder for the weights.")
def main(validate: bool, output: Path) -> None:
    """Train the models of the digits, dense and pruned, and write their weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    digits = Digits()
    part = digits.train if validate else digits.train + digits.validation
    judged = digits.validation if validate else digits.test

    def finished(level: str, model: VisionTransformer, start: float) -> VisionTransformer:
        """Say how good a model is and what it took, write it, and return it."""
        click.echo(f"{level}: {accuracy(model, judged)} {'validation' if validate else 'test'} "
                   f"images named right, after {time.process_time() - start:.0f} s")
        if not validate:
            save(model, output / weights_file(level).name)
        return model

    start = time.process_time()
    model = dense = finished("dense", train(part, random), start)
    for level, stages in STAGES.items():
        start = time.process_time()
        model = finished(level, prune(model, dense, stages, part, random), start)


if __name__ == "__main__":
    main()
