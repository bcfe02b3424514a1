"""The functions that most users need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .compiler import lower
from .device import Device, Golden, Run, open_device
from .graph import Graph
from .layers import checked
from .patterns import Pattern
from .program import Program
from .quantise import QuantisedGraph, quantise, relative_error
from .report import Report
from .rtl.geometry import Geometry, preset
from .structures import Structure

__all__ = ["Result", "attention", "linear", "run", "run_graph"]


@dataclass(frozen=True)
class Result:
    """Outcome of a program on a device."""

    outputs: dict[str, NDArray[np.float32]]
    """Each output, ``[tokens, features]``; of :func:`attention` in the shape of its queries."""
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
    error = error_int8 = matches = None
    if not isinstance(device, Golden):
        golden = Golden(program.geometry).run(program, image)
        matches = _equal(program.integers_of(run.image), program.integers_of(golden.image))
    if quantised is not None:
        error, error_int8 = (_error(outputs, quantised.graph.evaluate(given))
                             for given in (inputs, quantised.rounded(inputs)))
        if isinstance(device, Golden):
            matches = _equal(program.integers_of(run.image),
                             quantised.integers(inputs, program.geometry))
    report = Report.of(program, device.name, run.counters, matches_golden=matches, error=error,
                       error_int8=error_int8)
    return Result(outputs, report.as_dict(), run)


def run_graph(graph: Graph, inputs: Mapping[str, ArrayLike], *, geometry: str | Geometry,
              device: str | Device) -> Result:
    """Quantise a graph with its inputs as calibration, compile it, and run it on them.

    Raises
    ------
    ValueError
        As :func:`~heddle.compiler.compile`, and as :func:`run`.
    DeviceError
        If the run ends with an error or exceeds a limit.
    """
    quantised = quantise(graph, inputs)
    return run(lower(quantised, preset(geometry)), inputs, device=device, quantised=quantised)


def _error(outputs: Mapping[str, NDArray], wanted: Mapping[str, NDArray]) -> float:
    return relative_error(np.concatenate([outputs[name].ravel() for name in outputs]),
                          np.concatenate([wanted[name].ravel() for name in outputs]))


def _equal(one: Mapping[str, NDArray], other: Mapping[str, NDArray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def linear(x: ArrayLike, w: ArrayLike, bias: ArrayLike | None = None, *,
           structure: Structure | None = None, geometry: str | Geometry = "zcu102",
           device: str | Device = "rtl") -> Result:
    """Compute ``x · wᵀ + bias`` on a device, quantised to INT8.

    The scales are found from ``x`` itself; activations are quantised per tensor or per token,
    whichever errs less.

    Parameters
    ----------
    x : array of float32, shape ``[tokens, in]``
    w : array of float32, shape ``[out, in]``
    bias : array of float32, shape ``[out]``
    structure : :class:`~heddle.structures.Structure`
        What is claimed of the zeros of ``w``, see :meth:`~heddle.graph.Graph.linear`.
    geometry : name of a preset or :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"``, ``"golden"`` or :class:`~heddle.device.Device`

    Returns
    -------
    :class:`Result`
        ``output`` is float32 ``[tokens, out]``.

    Raises
    ------
    ValueError
        If an array has a wrong shape, is empty or not finite, if ``w`` does not have its
        structure, if geometry or device are unknown, or if the matrices cannot be tiled to fit into
        the scratchpad.
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
    graph.output(graph.linear("y", graph.input("x", tokens=tokens, features=inputs), w, bias,
                              structure=structure))
    wanted = graph.evaluate({"x": x})["y"]
    quantised = min((quantise(graph, {"x": x}, activations) for activations in ("tensor", "token")),
                    key=lambda q: relative_error(q.infer({"x": x})["y"], wanted))
    return run(lower(quantised, geometry), {"x": x}, device=device, quantised=quantised)


def attention(q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: ArrayLike | None = None,
              causal: bool = False, window: int | None = None, dilation: int = 1,
              global_tokens: int = 0, lengths: int | Sequence[int] | ArrayLike | None = None,
              blocks: tuple[ArrayLike, int] | None = None, scale: float | None = None,
              geometry: str | Geometry = "zcu102", device: str | Device = "rtl") -> Result:
    """Compute ``softmax(q · kᵀ · scale) · v`` on a device, quantised to INT8.

    Pairs of a query and a key that a rule hides cost no time where whole tiles of them are hidden.

    Parameters
    ----------
    q : array of float32, shape ``[heads, queries, dim]`` or ``[batch, heads, queries, dim]``
    k : array of float32, shape ``[kv_heads, keys, dim]`` or ``[batch, kv_heads, keys, dim]``
        ``kv_heads`` divides ``heads``: consecutive heads share their keys and values.
    v : array of float32, in the shape of ``k`` but for the last axis
        Values may have another number of features than queries and keys.
    mask, causal, window, dilation, global_tokens, lengths, blocks
        Which keys each query sees, see :class:`~heddle.patterns.Pattern`. The output of a query
        that sees none is 0.
    scale : :class:`float`
        Factor of the scores, by default ``1 / sqrt(dim)``.
    geometry : name of a preset or :class:`~heddle.rtl.geometry.Geometry`
    device : ``"rtl"``, ``"golden"`` or :class:`~heddle.device.Device`

    Returns
    -------
    :class:`Result`
        ``output`` is float32 in the shape of ``q``, with the features of ``v``.

    Raises
    ------
    TypeError
        If an array has the wrong type of elements, or a size is no integer.
    ValueError
        If an array has a wrong shape, is empty or not finite, a rule does not fit, geometry or
        device are unknown, or a head has more features than the geometry can hold.
    DeviceError
        If the run ends with an error or exceeds a limit.

    Examples
    --------
    >>> import heddle, numpy as np
    >>> q = k = np.zeros((1, 2, 4)); v = np.stack([np.eye(2, 4)])
    >>> heddle.attention(q, k, v, causal=True, geometry="tiny", device="golden").output.tolist()
    [[[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]]
    """
    geometry = preset(geometry)
    axes = np.ndim(q)
    if axes not in (3, 4):
        raise ValueError("Queries must be [heads, queries, dim] or [batch, heads, queries, dim], "
                         f"not of shape {np.shape(q)}")
    q = checked(q, "Queries", *[None] * axes)
    items, dim = q.shape[:-3], q.shape[-1]
    k = checked(k, "Keys", *items, None, None, dim)
    v = checked(v, "Values", *k.shape[:-1], None)
    batch, heads, queries, keys = *(items or (1,)), q.shape[-3], q.shape[-2], k.shape[-2]
    pattern = Pattern(queries, keys, mask=mask, causal=causal, window=window, dilation=dilation,
                      global_tokens=global_tokens, lengths=lengths, blocks=blocks, heads=heads,
                      batch=batch)
    graph = Graph(f"attention {batch}x{heads}x{queries}x{keys}x{dim}")
    inputs = {name: np.ascontiguousarray(np.moveaxis(x, -2, 0).reshape(x.shape[-2], -1))
              for name, x in (("q", q), ("k", k), ("v", v))}
    for name, x in inputs.items():
        graph.input(name, tokens=x.shape[0], features=x.shape[1])
    graph.output(graph.attention("o", "q", "k", "v", heads=batch * heads,
                                 kv_heads=batch * k.shape[-3], scale=scale, pattern=pattern))
    result = run_graph(graph, inputs, geometry=geometry, device=device)
    output = np.moveaxis(result.output.reshape(queries, *q.shape[:-2], -1), 0, -2)
    return replace(result, outputs={"o": np.ascontiguousarray(output)})
