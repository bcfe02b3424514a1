"""The benchmarks of ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import linear
from .device import Device, Rtl
from .rtl.geometry import Geometry, preset

__all__ = ["CASES", "Case", "gemm", "measure"]


@dataclass(frozen=True)
class Case:
    """A linear layer on a geometry."""

    geometry: str
    tokens: int
    inputs: int
    outputs: int


CASES = (
    Case("zcu102", 128, 384, 384),
    Case("zcu102", 128, 384, 1536),
    Case("zcu102", 128, 1536, 384),
    Case("zcu102", 512, 768, 3072),
    Case("compact", 128, 128, 128),
    Case("compact", 128, 384, 1536),
    Case("compact", 512, 512, 512),
)
"""Layers of MiniLM and BERT-base, and the matrices that other accelerators are measured with."""

COLUMNS = ("geometry", "tokens × in × out", "cycles", "utilisation", "the same, unlimited memory",
           "MB read", "MB written", "error")
"""Of the table; the fifth column is the utilisation with a memory that never limits."""


def gemm(tokens: int, inputs: int, outputs: int, *, geometry: str | Geometry = "zcu102",
         device: str | Device = "rtl", seed: int = 0) -> dict[str, Any]:
    """Run a linear layer of random weights on random activations, and return its report."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((tokens, inputs), np.float32)
    w = random.standard_normal((outputs, inputs), np.float32)
    return linear(x, w, geometry=geometry, device=device).report


def measure(cases: tuple[Case, ...] = CASES) -> Iterator[tuple[str, ...]]:
    """Run each case on the RTL, and yield its row of the table.

    Raises
    ------
    DeviceError
        If a run fails.
    ValueError
        If a result differs from the golden model's.
    """
    for case in cases:
        geometry = preset(case.geometry)
        size = case.tokens, case.inputs, case.outputs
        usual = gemm(*size, geometry=geometry)
        core = gemm(*size, geometry=geometry, device=Rtl(geometry, latency=0, bandwidth=0))
        if not (usual["matches_golden"] and core["matches_golden"]):
            raise ValueError(f"The result of {case} must equal the golden model's, and it differs")
        yield (case.geometry, " × ".join(map(str, size)), f"{usual['cycles']:,}",
               f"{usual['utilisation']:.3f}", f"{core['utilisation']:.3f}",
               f"{usual['dram_read_bytes'] / 1e6:.2f}", f"{usual['dram_write_bytes'] / 1e6:.2f}",
               f"{usual['error']:.2%}")
