"""Sentences as vectors: MiniLM with every operation of its layers on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import Result
from .deploy import Deployment
from .device import Device, DeviceError
from .models import MiniLM, calibration_sentences
from .models.modules import Array
from .program import Program

__all__ = ["SENTENCES", "Embedder", "Embeddings"]

SENTENCES = (
    "The cat slept on the warm windowsill all day.",
    "All day long the cat dozed in the sunshine by the window.",
    "How long does the train from Zurich to Milan take?",
    "What is the travel time by rail between Milan and Zurich?",
    "The weaver throws the shuttle through the open shed and beats the weft into place.",
    "Punched cards told the Jacquard loom which threads to raise in every row.",
    "Most weights of a neural network are so small that nobody would miss them.",
    "Simmer lentils with onions for forty minutes, then add salt.",
)
"""What demonstration and benchmarks read: 128 tokens. The first two sentences mean nearly the same,
and the next two."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors of length 1 for texts, ``[texts, features]``, and how a device came to them."""

    vectors: Array
    """As the device computes them."""
    exact: Array
    """In floating point."""
    lengths: tuple[int, ...]
    """Tokens of each text."""
    results: tuple[Result, ...]
    """Of each program."""

    @property
    def similarities(self) -> Array:
        """The similarity of each text to each, by the device, ``[texts, texts]``."""
        return self.vectors @ self.vectors.T

    @property
    def exact_similarities(self) -> Array:
        """The same in floating point."""
        return self.exact @ self.exact.T

    @property
    def cosines(self) -> Array:
        """Of each text: cosine of the angle between both vectors."""
        return (self.vectors * self.exact).sum(axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name, and the reports of the programs, ready for JSON."""
        return {"tokens": list(self.lengths), "cosines": self.cosines.tolist(),
                "similarities": self.similarities.tolist(),
                "similarities_float": self.exact_similarities.tolist(),
                "runs": [result.report for result in self.results]}


class Embedder:
    """MiniLM on a device. Its scales are found from :func:`~heddle.models.calibration_sentences`.

    Parameters
    ----------
    device : :class:`~heddle.device.Device`
    layers : :class:`int`
        How many of its layers there are to be, on the device and in floating point.
    limit : :class:`int`
        Tokens that go through a program together.

    Attributes
    ----------
    model : :class:`~heddle.models.MiniLM`
        The encoder in floating point.
    deployment : :class:`~heddle.deploy.Deployment`

    Raises
    ------
    ModuleNotFoundError
        If the encoder is not installed.
    ValueError
        If the encoder does not have as many layers.
    """

    def __init__(self, device: Device, *, layers: int = 6, limit: int = 128) -> None:
        self.model = MiniLM(layers=layers)
        calibration = self.model.tokens(calibration_sentences())
        self.deployment = Deployment(self.model.encoder, calibration, device, limit=limit,
                                     name="MiniLM")

    def programs(self, sequences: Sequence[Sequence[int]]) -> list[Program]:
        """Return the programs that sequences of tokens go through."""
        return self.deployment.programs([len(sequence) for sequence in sequences])

    def __call__(self, sequences: Sequence[Sequence[int]], *, compare: bool = False,
                 progress: Callable[[int], None] | None = None) -> Embeddings:
        """Return the embedding of each sequence of tokens.

        Parameters
        ----------
        sequences : sequence of sequences of int
            As :meth:`~heddle.models.MiniLM.tokens` makes them of texts.
        compare, progress
            See :meth:`~heddle.deploy.Deployment.__call__`.

        Raises
        ------
        DeviceError
            If a run fails, or a result differs from the golden model's.
        """
        lengths = [len(sequence) for sequence in sequences]
        done = len(self.deployment.results)
        outputs = self.deployment(sequences, progress=progress, compare=compare)
        results = tuple(self.deployment.results[done:])
        if any(result.report["matches_golden"] is False for result in results):
            raise DeviceError("Every result must equal the golden model's, and some differ")
        return Embeddings(self.model.pool(np.concatenate(outputs), lengths),
                          self.model.pool(self.model.encoder(sequences), lengths),
                          tuple(lengths), results)
