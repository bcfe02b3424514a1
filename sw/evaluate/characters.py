"""The language model of characters, which says how probable a text is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..deploy import Deployment
from ..models.characters import WINDOW, Characters, book
from ..rtl.geometry import Geometry
from .evaluation import Evaluation, Figure, Trial

__all__ = ["CALIBRATION", "evaluate_characters"]

CALIBRATION = 12
"""Windows from which the scales are found, of another text than the one that is evaluated."""


def evaluate_characters(*, geometry: Geometry, device: str, first: int | None = None,
                        progress: Callable[[int], None] | None = None) -> Evaluation:
    """Guess each character of a text that was not learnt from those before it in its window.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"`` or ``"golden"``
    first : :class:`int`
        Only the first windows; by default all of the book of Ruth.
    progress : callable
        Called with the number of windows so far.

    Raises
    ------
    DeviceError
        If a run fails, or a result of the RTL differs from the golden model's.
    ValueError
        If the geometry cannot hold the network.
    """
    model = Characters()
    trial = Trial(geometry, device, progress)
    deployment = Deployment(model.model, model.tokens(book("jonah"))[:CALIBRATION], trial.device,
                            limit=WINDOW)
    windows = model.tokens(book("ruth"))[:first]
    got = model.model.read(np.concatenate(trial.run(deployment, windows)))
    return trial.evaluation(
        "characters", sum(map(len, windows)),
        Figure("nats a character", model.loss(model.model.logits(windows), windows),
               model.loss(got, windows), 0.01))
