"""The benchmark of sparse weights: one square layer at several levels of sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import api
from .formats import pack
from .graph import Graph
from .rtl.geometry import Geometry, preset
from .sparsity import pruned
from .storage import Storage

__all__ = ["COLUMNS", "LEVELS", "STORAGE_COLUMNS", "layers", "measure", "storage"]

LEVELS = (
    *(("zcu102", level) for level in ("dense", "0.5", "0.8", "0.9", "0.95", "random:0.9")),
    *(("zcu102-nm", level) for level in ("dense", "2:4", "1:4", "0.8+2:4")),
)
"""Geometries, each with levels of which the first is dense; see
:func:`~heddle.sparsity.pruned`."""

COLUMNS = ("geometry", "sparsity", "weights kept", "array cycles", "of dense",
           "cycles, activations resident", "of dense", "bytes", "of dense INT8", "error")
"""Of the table."""


STORAGE_COLUMNS = ("geometry", "sparsity", "weights kept", "data", "lists", "selectors", "all",
                   "of dense INT8", "CSR", "bitmap")
"""Of the table of bytes; the last three are relative to dense INT8."""


def storage(levels: Sequence[tuple[str, str]] = LEVELS, *, size: int = 1024,
            seed: int = 0) -> Iterator[tuple[str, ...]]:
    """Pack a square weight at each level, and yield its row of the table of bytes."""
    weight = np.random.default_rng(seed).standard_normal((size, size), np.float32)
    for name, sparsity in levels:
        geometry = preset(name)
        left, _ = pruned(weight, sparsity, geometry)
        used = left != 0
        packed = pack(np.rint(left * 127 / np.abs(left).max()).astype(np.int8), geometry, used=used)
        found = Storage.of(packed, int(used.sum()))
        yield (name, sparsity, f"{used.mean():.1%}", f"{found.data:,}", f"{found.lists:,}",
               f"{found.selectors:,}", f"{found.total:,}",
               *(f"{part / found.dense:.3f}" for part in (found.total, found.csr, found.bitmap)))


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
    return api.run_graph(graph, {"x": x}, geometry=geometry, device=device).report


def measure(levels: Sequence[tuple[str, str]] = LEVELS, *, size: int = 1024, tokens: int = 512,
            device: str = "rtl") -> Iterator[tuple[str, ...]]:
    """Run the layer at each level and yield its row of the table.

    The cycles with resident activations are those of three layers less those of two: what it takes
    more to load a layer's weights, and multiply activations that are in the scratchpad with them to
    give others there.

    Raises
    ------
    DeviceError
        If a run fails.
    ValueError
        If a result differs from the golden model's.
    """
    dense: dict[str, tuple[int, int | None]] = {}
    for name, sparsity in levels:
        reports = [layers(number, sparsity, size=size, tokens=tokens, geometry=preset(name),
                          device=device) for number in (1, 2, 3)]
        for report in reports:
            if not report["matches_golden"]:
                raise ValueError(f"The result of {report['workload']} must equal the golden "
                                 "model's, and it differs")
        one, two, three = reports
        array, resident = one["array_cycles"], None
        if one["cycles"] is not None:
            resident = three["cycles"] - two["cycles"]
        array_of, resident_of = dense.setdefault(name, (array, resident))
        yield (name, sparsity, f"{one['macs'] / one['macs_dense']:.1%}",
               f"{array:,}", f"{array / array_of:.3f}", *_of_dense(resident, resident_of),
               f"{one['weight_bytes']:,}",
               f"{one['weight_bytes'] / one['weight_bytes_dense']:.3f}", f"{one['error']:.2%}")


def _of_dense(cycles: int | None, dense: int | None) -> tuple[str, str]:
    """Return cycles, and how many they are of those of dense, as text."""
    return ("–", "–") if cycles is None or dense is None else (f"{cycles:,}",
                                                                f"{cycles / dense:.3f}")
