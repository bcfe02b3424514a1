"""The functions that most users need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .compiler import lower
from .device import Device, Golden, Run, open_device
from .graph import Graph, checked
from .program import Program
from .quantise import QuantisedGraph, quantise, relative_error
from .report import Report
from .rtl.geometry import Geometry, preset

__all__ = ["Result", "linear", "run"]


@dataclass(frozen=True)
class Result:
    """Outcome of a program on a device."""

    outputs: dict[str, NDArray[np.float32]]
    """Each output, ``[tokens, features]``."""
    report: dict[str, str | int | float | bool | None]
    """The figures of :class:`~heddle.report.Report`, by name."""
    run: Run
    """What the device gave: image, counters, and samples of the array's occupancy."""

    @property
    def output(self) -> NDArray[np.float32]:
        """The only output.

        Raises
        ------
        ValueError
            If there are several.
        """
        if len(self.outputs) != 1:
            raise ValueError("A result must have one output to be asked for it, and this one has "
                             f"{len(self.outputs)}: {', '.join(self.outputs)}")
        [output] = self.outputs.values()
        return output


def run(program: Program, inputs: Mapping[str, ArrayLike], *, device: str | Device = "rtl",
        progress: Callable[[int], None] | None = None,
        quantised: QuantisedGraph | None = None) -> Result:
    """Run a program.

    Parameters
    ----------
    program : :class:`~heddle.program.Program`
    inputs : mapping of str to array
        Values of each input, ``[tokens, features]``.
    device : ``"rtl"``, ``"golden"`` or :class:`~heddle.device.Device`
    progress : callable
        Called now and then with the number of cycles so far.
    quantised : :class:`~heddle.quantise.QuantisedGraph`
        What the program was compiled of. With it the report has the error against float64, and
        the golden device is compared too.

    Raises
    ------
    ValueError
        If an input is missing, unknown, wrong in shape, or not finite; or if the program is for
        another geometry than the device.
    DeviceError
        If the run ends with an error or exceeds a limit.
    """
    device = open_device(device, program.geometry)
    image = program.image(inputs)
    run = device.run(program, image, progress)
    outputs = program.outputs_of(run.image)
    error = matches = None
    if not isinstance(device, Golden):
        golden = Golden(program.geometry).run(program, image)
        matches = _equal(program.integers_of(run.image), program.integers_of(golden.image))
    if quantised is not None:
        wanted = quantised.graph.evaluate(inputs)
        error = relative_error(np.concatenate([outputs[name].ravel() for name in outputs]),
                               np.concatenate([wanted[name].ravel() for name in outputs]))
        if isinstance(device, Golden):
            matches = _equal(program.integers_of(run.image), quantised.integers(inputs))
    report = Report.of(program, device.name, run.counters, matches_golden=matches, error=error)
    return Result(outputs, report.as_dict(), run)


def _equal(one: Mapping[str, NDArray], other: Mapping[str, NDArray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def linear(x: ArrayLike, w: ArrayLike, bias: ArrayLike | None = None, *,
           geometry: str | Geometry = "zcu102", device: str | Device = "rtl") -> Result:
    """Compute ``x · wᵀ + bias`` on a device, quantised to INT8.

    The scales are found from ``x`` itself; activations are quantised per tensor or per token,
    whichever errs less.

    Parameters
    ----------
    x : array of float32, shape ``[tokens, in]``
    w : array of float32, shape ``[out, in]``
    bias : array of float32, shape ``[out]``
    geometry : name of a preset or :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"``, ``"golden"`` or :class:`~heddle.device.Device`

    Returns
    -------
    :class:`Result`
        ``output`` is float32 ``[tokens, out]``.

    Raises
    ------
    ValueError
        If an array has a wrong shape, is empty or not finite, if geometry or device are unknown,
        or if the matrices cannot be tiled to fit into the scratchpad.
    DeviceError
        If the run ends with an error or exceeds a limit.

    Examples
    --------
    >>> import heddle, numpy as np
    >>> x, w = np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32)
    >>> heddle.linear(x, w, geometry="tiny", device="golden").output.tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    geometry = preset(geometry)
    x = checked(x, "x", None, None)
    tokens, inputs = x.shape
    w = checked(w, "w", None, inputs)
    graph = Graph(f"linear {tokens}x{inputs}x{len(w)}")
    graph.output(graph.linear("y", graph.input("x", tokens=tokens, features=inputs), w, bias))
    wanted = graph.evaluate({"x": x})["y"]
    quantised = min((quantise(graph, {"x": x}, activations) for activations in ("tensor", "token")),
                    key=lambda q: relative_error(q.infer({"x": x})["y"], wanted))
    return run(lower(quantised, geometry), {"x": x}, device=device, quantised=quantised)
