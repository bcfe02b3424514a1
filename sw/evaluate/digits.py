"""Vision transformers, dense and pruned, that read handwritten digits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..deploy import Deployment
from ..models.digits import Digits, load
from ..models.transformer import PatchEmbedding
from ..rtl.geometry import Geometry
from .evaluation import Evaluation, Figure, Trial

__all__ = ["CALIBRATION", "evaluate_digits"]

CALIBRATION = 32
"""Training images from which the scales are found."""

_LIMIT = 24  # images whose tokens go through a program together


def evaluate_digits(level: str, *, geometry: Geometry, device: str, first: int | None = None,
                    progress: Callable[[int], None] | None = None) -> Evaluation:
    """Read test digits with a trained model.

    Parameters
    ----------
    level : :class:`str`
        ``dense``, ``80`` or ``90``, see :data:`~heddle.models.digits.LEVELS`.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"`` or ``"golden"``
    first : :class:`int`
        Only the first test images; by default all 360.
    progress : callable
        Called with the number of images so far.

    Raises
    ------
    DeviceError
        If a run fails, or a result of the RTL differs from the golden model's.
    ModuleNotFoundError
        If scikit-learn, which has the images, is not installed.
    ValueError
        If there is no such model, or the geometry cannot hold it.
    """
    digits, model = Digits(), load(level)
    test, known = digits.test.first(first), digits.train.first(CALIBRATION)
    trial = Trial(geometry, device, progress)
    assert isinstance(model.embedding, PatchEmbedding)
    deployment = Deployment(model, known.images[:, np.newaxis], trial.device,
                            limit=_LIMIT * len(model.embedding.positions))
    images = test.images[:, np.newaxis]
    wanted = model.logits(images).argmax(1)
    got = model.read(np.concatenate(trial.run(deployment, list(images)))).argmax(1)
    weights = [linear.weight for linear in model.projections.values()]
    kept = sum(map(np.count_nonzero, weights)) / sum(weight.size for weight in weights)
    return trial.evaluation(
        f"digits {level}", len(test),
        Figure("named right", float((wanted == test.labels).mean()),
               float((got == test.labels).mean()), 0.005, ".2%"),
        Figure("named alike", 1.0, float((got == wanted).mean()), form=".2%"),
        Figure("weights kept", None, kept, form=".1%"))
