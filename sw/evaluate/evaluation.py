"""What all evaluations have in common: runs of whole networks, and figures beside float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich import box
from rich.table import Table

from ..deploy import Deployment
from ..device import DeviceError, open_device
from ..models.modules import Array
from ..rtl.geometry import Geometry

__all__ = ["Evaluation", "Figure", "Trial", "cosines", "table"]

_TOGETHER = 24
"""Sequences that are handed over together; images and programs of all would be gigabytes."""


@dataclass(frozen=True)
class Figure:
    """One figure, from both."""

    name: str
    float64: float | None
    """``None`` if the reference has no such thing."""
    heddle: float
    allowed: float | None = None
    """Difference up to which the device does as well as the reference, if that was set."""
    form: str = ".4f"
    """How it is printed, in Python's format language."""

    @property
    def held(self) -> bool:
        """Whether the difference is allowed, or anything is."""
        return (self.allowed is None or self.float64 is None
                or abs(self.heddle - self.float64) <= self.allowed + 1e-12)

    def row(self) -> tuple[str, ...]:
        """Return the cells of a table: name, both, their difference, and what is allowed."""
        def text(value: float | None, sign: str = "") -> str:
            return "–" if value is None else format(value, sign + self.form)

        difference = None if self.float64 is None else self.heddle - self.float64
        return (self.name, text(self.float64), text(self.heddle), text(difference, "+"),
                text(self.allowed))


@dataclass(frozen=True)
class Evaluation:
    """How a network did on a device, on samples that its scales were not found from."""

    task: str
    geometry: str
    device: str
    samples: int
    figures: tuple[Figure, ...]
    array_cycles: int
    """Cycles in which the array took a step, of all programs."""
    cycles: int | None
    """Of all programs, one after another; the golden model has none."""
    matches_golden: bool | None
    """Whether every output of every program is the golden model's; ``None`` if not compared."""

    def __getitem__(self, name: str) -> Figure:
        """Return a figure by its name."""
        return next(figure for figure in self.figures if figure.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, ready for JSON."""
        figures = {figure.name: {"float64": figure.float64, "heddle": figure.heddle,
                                 "allowed": figure.allowed} for figure in self.figures}
        return asdict(self) | {"figures": figures}


@dataclass
class Trial:
    """Runs networks on one device, and adds up what it took.

    Attributes
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    name : ``"rtl"`` or ``"golden"``
        Of the device.
    progress : callable
        Called with the number of sequences so far.
    """

    geometry: Geometry
    name: str
    progress: Callable[[int], None] | None = None
    array_cycles: int = field(default=0, init=False)
    cycles: int = field(default=0, init=False)
    sequences: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.device = open_device(self.name, self.geometry)

    def run(self, deployment: Deployment, inputs: Sequence[Any]) -> list[Array]:
        """Return the output of the network for each input, as a deployment does.

        Raises
        ------
        DeviceError
            If a run fails, or a result of the RTL differs from the golden model's.
        """
        outputs: list[Array] = []
        for start in range(0, len(inputs), _TOGETHER):
            some = inputs[start:start + _TOGETHER]
            outputs += deployment(some)
            for result in deployment.results:
                if result.report["matches_golden"] is False:
                    raise DeviceError("Every result must equal the golden model's, and one of "
                                      f"{result.report['workload']} differs")
                self.array_cycles += result.run.counters.array_cycles
                self.cycles += result.run.counters.cycles or 0
            deployment.results.clear()
            self.sequences += len(some)
            if self.progress is not None:
                self.progress(self.sequences)
        return outputs

    def evaluation(self, task: str, samples: int, *figures: Figure) -> Evaluation:
        """Return the figures together with what all runs so far took."""
        golden = self.name == "golden"
        return Evaluation(task, self.geometry.name, self.name, samples, figures, self.array_cycles,
                          None if golden else self.cycles, None if golden else True)


def cosines(got: ArrayLike, wanted: ArrayLike) -> tuple[Figure, Figure]:
    """Return how near rows are to those of the reference: cosine of the angle, mean and worst."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    each = (got * wanted).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
    return (Figure("cosine to float64, mean", 1.0, float(each.mean()), 0.01),
            Figure("cosine to float64, worst", 1.0, float(each.min()), 0.03))


def table(evaluation: Evaluation) -> Table:
    """Return the figures of an evaluation, a row each, and the cycles that a sample took."""
    each = evaluation
    result = Table("figure", "float64", "Heddle", "difference", "allowed", box=box.SIMPLE_HEAD,
                   title=f"{each.task}: {each.samples:,} samples, {each.geometry} ({each.device})",
                   title_justify="left")
    for column in result.columns[1:]:
        column.justify, column.no_wrap = "right", True
    cycles = [Figure(f"{name} a sample", None, total / each.samples, form=",.0f")
              for name, total in (("array cycles", each.array_cycles), ("cycles", each.cycles))
              if total is not None]
    for figure in (*each.figures, *cycles):
        result.add_row(*figure.row())
    return result
