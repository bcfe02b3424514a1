"""The accuracy of trained networks, measured through compiled programs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from rich import box
from rich.table import Table

from .api import run
from .blocks import attention_block, linear_block
from .compiler import lower
from .device import Device, DeviceError, open_device
from .models.digits import Digits, load
from .models.modules import Array
from .models.vit import VisionTransformer
from .program import Program
from .quantise import quantise
from .rtl.geometry import Geometry

__all__ = ["Accelerated", "Evaluation", "evaluate_digits", "table"]

CALIBRATION = 128
"""Training images from which the scales of the integers are found."""

_BATCH = 24  # most images whose tokens go through a program together
_TENSORS = 6  # of a layer for which there should be room in the scratchpad


@dataclass
class Accelerated:
    """A vision transformer whose stages run on a device, each as a compiled program.

    Attributes
    ----------
    model : :class:`~heddle.models.vit.VisionTransformer`
    images : array, shape ``[images, side, side]``
        From which the scales are found.
    device : :class:`~heddle.device.Device`
    reports : list of dict
        Of every run of a program so far.
    progress : callable
        Called with the number of images so far after each batch.
    """

    model: VisionTransformer
    images: ArrayLike
    device: Device
    reports: list[dict] = field(default_factory=list)
    progress: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._inputs: dict[str, Array] = {}

        def record(name: str, x: Array) -> Array:
            self._inputs[name] = x
            return self.model.stage(name, x)

        self.model.run(self.images, record)
        self._program = functools.cache(self._compile)

    def stage(self, name: str, x: Array) -> Array:
        """Return the output of a stage, as the device computes it for whole images."""
        result = run(self._program(name, len(x)), {"hidden": x}, device=self.device)
        self.reports.append(result.report)
        return result.output.astype(self.model.dtype)

    def run(self, images: Array) -> Array:
        """Return the logits ``[images, classes]``, computed in batches of about equal size."""
        batches = np.array_split(images, math.ceil(len(images) / self._batch()))
        logits: list[Array] = []
        for batch in batches:
            logits.extend(self.model.run(batch, self.stage))
            if self.progress is not None:
                self.progress(len(logits))
        return np.stack(logits)

    def _batch(self) -> int:
        """Return the number of images whose tensors fit into the scratchpad together."""
        tensors = _TENSORS * self.model.tokens * self.model.width
        room = self.device.geometry.scratchpad_bytes // tensors
        return max(1, min(_BATCH, room))

    def _compile(self, name: str, rows: int) -> Program:
        """Return the program of a stage for so many rows.

        Its scales are found from as many whole batches as there are among the images for it.
        """
        kind, _, number = name.partition(" ")
        if kind == "head":
            graph = linear_block(name, self.model.head, rows)
        elif kind == "attention":
            lengths = [self.model.tokens] * (rows // self.model.tokens)
            graph = attention_block(name, self.model.layers[int(number)], lengths)
        else:
            graph = linear_block(name, getattr(self.model.layers[int(number)], kind), rows)
        known = self._inputs[name]
        quantised = quantise(graph, {"hidden": known[:len(known) // rows * rows]})
        return lower(quantised, self.device.geometry)


@dataclass(frozen=True)
class Evaluation:
    """How a model did on images that it has not been trained with."""

    model: str
    geometry: str
    device: str
    images: int
    kept: float
    """Share of the projections' weights that are not zero."""
    correct_float: int
    """Images that float64 names right."""
    correct: int
    """Images that the programs name right."""
    same: int
    """Images to which both give the same name."""
    array_cycles: int
    """Cycles in which the array took a step, of all programs and images."""
    cycles: int | None
    """Of all programs, one after another; the golden model has none."""
    matches_golden: bool | None
    """Whether every output of every program is the golden model's; ``None`` if not compared."""

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """Return the figures by name, ready for JSON."""
        return asdict(self)


def evaluate_digits(level: str, *, geometry: Geometry, device: str, images: int | None = None,
                    progress: Callable[[int], None] | None = None) -> Evaluation:
    """Read test digits with a trained model, in floating point and through compiled programs.

    Parameters
    ----------
    level : :class:`str`
        ``dense``, ``80`` or ``90``, see :data:`~heddle.models.digits.LEVELS`.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"`` or ``"golden"``
    images : :class:`int`
        Only the first test images; by default all.
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
    test = digits.test.first(images)
    wanted = model.run(test.images).argmax(1)
    accelerated = Accelerated(model, digits.train.first(CALIBRATION).images,
                              open_device(device, geometry), progress=progress)
    got = accelerated.run(test.images).argmax(1)
    reports = accelerated.reports
    matches = None
    if device != "golden":
        matches = all(report["matches_golden"] for report in reports)
        if not matches:
            raise DeviceError("Every result must equal the golden model's, and some differ")
    weights = [linear.weight for linear in model.linears.values()]
    return Evaluation(
        model=level,
        geometry=geometry.name,
        device=device,
        images=len(test),
        kept=sum(map(np.count_nonzero, weights)) / sum(weight.size for weight in weights),
        correct_float=int((wanted == test.labels).sum()),
        correct=int((got == test.labels).sum()),
        same=int((got == wanted).sum()),
        array_cycles=sum(report["array_cycles"] for report in reports),
        cycles=None if device == "golden" else sum(report["cycles"] for report in reports),
        matches_golden=matches,
    )


def table(evaluations: list[Evaluation]) -> Table:
    """Return a row for each model; all have read the same images."""
    result = Table("model", "kept", "float64", "Heddle", "alike", "array cycles", "cycles",
                   box=box.SIMPLE_HEAD,
                   caption=f"of {evaluations[0].images} images; kept: weights of the projections; "
                           "alike: named the same by both; cycles: for an image")
    for column in result.columns:
        column.justify, column.no_wrap = "right", True
    for each in evaluations:
        result.add_row(
            each.model, f"{each.kept:.1%}",
            *(f"{right} {right / each.images:7.2%}"
              for right in (each.correct_float, each.correct)),
            str(each.same), f"{each.array_cycles / each.images:,.0f}",
            "–" if each.cycles is None else f"{each.cycles / each.images:,.0f}")
    return result
