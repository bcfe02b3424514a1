"""A training loop that keeps masks: what is pruned stays zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["apply_masks", "finetune"]

_LARGEST_GRADIENT = 1.0  # norm of all of them together, to which larger ones are scaled

Batch = TypeVar("Batch")


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set to zero what masks hide of the parameters of a model.

    Parameters
    ----------
    model : :class:`torch.nn.Module`
    masks : mapping of str to tensor of bool
        Of each pruned parameter, by its name: True where it is kept.

    Raises
    ------
    ValueError
        If a mask belongs to no parameter, or has another shape or type than it.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise ValueError("A mask must belong to a parameter of the model, and none is named "
                             f"{name!r}")
        shape = parameters[name].shape
        if mask.dtype != torch.bool or mask.shape != shape:
            raise ValueError(f"Mask of {name} must be boolean of shape {list(shape)}, not "
                             f"{mask.dtype} of shape {list(mask.shape)}")
        with torch.no_grad():
            parameters[name].masked_fill_(~mask, 0)


def finetune(model: nn.Module, masks: Mapping[str, Tensor], batches: Iterable[Batch],
             loss: Callable[[nn.Module, Batch], Tensor], *, steps: int, rate: float,
             warmup: int = 0, decay: float = 0.05, average: float = 0.99) -> None:
    """Train what masks keep of a model, in place; without masks this is ordinary training.

    AdamW (Loshchilov and Hutter, ICLR 2019) with a rate that falls as a cosine to zero. What is
    masked is set to zero after every step, so that neither momentum nor anything else revives it.
    The model ends with the moving average of the weights of its last steps, which is steadier than
    the last step alone, and has the same zeros.

    Parameters
    ----------
    model : :class:`torch.nn.Module`
    masks : mapping of str to tensor of bool
        See :func:`apply_masks`.
    batches : iterable
        At least ``steps`` batches, each of what ``loss`` takes.
    loss : callable
        ``loss(model, batch)``, the value to make small.
    steps : :class:`int`
    rate : :class:`float`
        The highest learning rate.
    warmup : :class:`int`
        Steps in which the rate rises to the highest.
    decay : :class:`float`
        Weight decay of matrices; vectors have none.
    average : :class:`float`
        Share of the past in the moving average, each step.

    Raises
    ------
    ValueError
        If a mask does not fit, or there are fewer batches than steps.
    """
    apply_masks(model, masks)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": decay},
                                   {"params": vectors, "weight_decay": 0.0}], lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / (warmup + 1), 1) * _cosine(step / steps))
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(average))
    model.train()
    done = 0
    for batch in itertools.islice(batches, steps):
        optimiser.zero_grad()
        loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        apply_masks(model, masks)
        averaged.update_parameters(model)
        done += 1
    if done < steps:
        raise ValueError(f"There must be a batch for each of {steps} steps, not {done}")
    model.load_state_dict(averaged.module.state_dict())
    model.eval()


def _cosine(share: float) -> float:
    """Return what is left of the rate after a share of the steps."""
    return (1 + math.cos(math.pi * min(share, 1))) / 2
