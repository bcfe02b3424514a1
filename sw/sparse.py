"""The benchmark of sparse weights: one square layer at several levels of sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import api
from .compiler import lower
from .graph import Graph
from .quantise import quantise
from .rtl.geometry import Geometry, preset
from .sparsity import pruned

__all__ = ["COLUMNS", "LEVELS", "layers", "measure"]

LEVELS = (
    *(("zcu102", level) for level in ("dense", "0.5", "0.8", "0.9", "0.95", "random:0.9")),
    *(("zcu102-nm", level) for level in ("dense", "2:4", "1:4", "0.8+2:4")),
)
"""Geometries, each with levels of which the first is dense; see
:func:`~heddle.sparsity.pruned`."""

COLUMNS = ("geometry", "sparsity", "weights kept", "array cycles", "of dense",
           "cycles, activations resident", "of dense", "bytes", "of dense INT8", "error")
"""Of the table."""


def layers(number: int, sparsity: str, *, size: int, tokens: int, geometry: Geometry,
           device: str, seed: int = 0) -> dict[str, Any]:
    """Apply a square layer of pruned random weights so many times, and return the report.

    Activations stay in the scratchpad between the layers.
    """
    random = np.random.default_rng(seed)
    x = random.standard_normal((tokens, size), np.float32)
    weight, structure = pruned(random.standard_normal((size, size), np.float32), sparsity, geometry)
    graph = Graph(f"{number} × linear {tokens}x{size}x{size}, {sparsity}")
    y = graph.input("x", tokens=tokens, features=size)
    for n in range(number):
        y = graph.linear(f"y{n}", y, weight, structure=structure)
    graph.output(y)
    quantised = quantise(graph, {"x": x})
    return api.run(lower(quantised, geometry), {"x": x}, device=device, quantised=quantised).report


def measure(levels: Sequence[tuple[str, str]] = LEVELS, *, size: int = 1024, tokens: int = 512,
            device: str = "rtl") -> Iterator[tuple[str, ...]]:
    """Run the layer at each level once and twice, and yield its row of the table.

    The cycles with resident activations are those of two layers less those of one: what it takes
    more to load a second layer's weights, and multiply with them activations that are there.

    Raises
    ------
    DeviceError
        If a run fails.
    ValueError
        If a result differs from the golden model's.
    """
    dense: dict[str, tuple[int, int | None]] = {}
    for name, sparsity in levels:
        geometry = preset(name)
        once, twice = (layers(number, sparsity, size=size, tokens=tokens, geometry=geometry,
                              device=device) for number in (1, 2))
        for report in (once, twice):
            if not report["matches_golden"]:
                raise ValueError(f"The result of {report['workload']} must equal the golden "
                                 "model's, and it differs")
        resident = None if once["cycles"] is None else twice["cycles"] - once["cycles"]
        array_of, resident_of = dense.setdefault(name, (once["array_cycles"], resident))
        yield (name, sparsity, f"{once['macs'] / once['macs_dense']:.1%}",
               f"{once['array_cycles']:,}", f"{once['array_cycles'] / array_of:.3f}",
               *(("–", "–") if resident is None or resident_of is None else
                 (f"{resident:,}", f"{resident / resident_of:.3f}")),
               f"{once['weight_bytes']:,}",
               f"{once['weight_bytes'] / once['weight_bytes_dense']:.3f}", f"{once['error']:.2%}")
