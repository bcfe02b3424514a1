"""Sapiens, which names residues of antibodies that were masked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..deploy import Deployment
from ..models import Sapiens
from ..models.sapiens import antibodies, masked, matches
from ..rtl.geometry import Geometry
from .evaluation import Evaluation, Figure, Trial

__all__ = ["calibration", "evaluate_sapiens"]

_MASKED = 8  # of every so many residues one is masked in the second copy of a calibration chain


def calibration(model: Sapiens, chains: list[str]) -> list[list[int]]:
    """Return the tokens from which the scales are found: chains, whole and with masks."""
    partly = ["".join("X" if n % _MASKED == 0 else letter for n, letter in enumerate(chain))
              for chain in chains]
    return model.tokens(chains + partly)


def evaluate_sapiens(*, geometry: Geometry, device: str, first: int | None = None,
                     progress: Callable[[int], None] | None = None) -> Evaluation:
    """Mask each residue of well-known antibodies by itself, and count those that are named.

    The chains are in two halves, and the scales for each are found from the other one.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"`` or ``"golden"``
    first : :class:`int`
        Only the first chains; by default all 10.
    progress : callable
        Called with the number of masked chains so far.

    Raises
    ------
    DeviceError
        If a run fails, or a result of the RTL differs from the golden model's.
    ModuleNotFoundError
        If the weights are not installed.
    ValueError
        If the geometry cannot hold the network.
    """
    model, chains = Sapiens(), list(antibodies().values())
    trial = Trial(geometry, device, progress)
    deployments = [Deployment(model.model, calibration(model, chains[1 - half::2]), trial.device)
                   for half in range(2)]
    wanted, got = "", ""
    for number, chain in enumerate(chains[:first]):
        inputs = masked(chain)
        outputs = trial.run(deployments[number % 2], model.tokens(inputs))
        wanted += model.guessed(model.scores(inputs))
        got += model.guessed(model.read(model.model.read(np.concatenate(outputs)), inputs))
    residues = "".join(chains[:first])
    return trial.evaluation(
        "sapiens", len(residues),
        Figure("residues named right", matches(wanted, residues), matches(got, residues), 1,
               ",.0f"),
        Figure("residues named alike", len(residues), matches(got, wanted), form=",.0f"))
