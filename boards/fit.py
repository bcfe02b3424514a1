"""Finds the LUTs of :mod:`heddle.area` from reports of whole presets.

::

    heddle synth --geometry tiny --json tiny.json        and so for the others
    python -m heddle.boards.fit tiny.json compact.json …

prints the table ``_LUTS``, and how far each preset's prediction is from its count with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..area import SIZES, luts, sizes
from ..rtl.geometry import PRESETS

__all__ = ["fit", "main"]

Luts = dict[str, tuple[float, ...]]


def fit(reports: Sequence[Mapping[str, Any]]) -> Luts:
    """Return the LUTs of each size of each block, at least 0, with which reports are met best.

    An error counts in proportion to all LUTs of its preset.

    Raises
    ------
    ValueError
        If a report has other blocks than are known.
    """
    return {block: _fit_block(block, reports) for block in SIZES}


def _fit_block(block: str, reports: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    rows, counts = [], []
    for report in reports:
        found = {row["block"]: row["lut"] for row in report["blocks"]}
        if set(found) != set(SIZES):
            raise ValueError(f"Blocks of {report['geometry']} must be {', '.join(SIZES)}, and "
                             f"{', '.join(sorted(set(found) ^ set(SIZES)))} is not in both")
        size = sizes(PRESETS[report["geometry"]])
        rows.append([size[name] / report["lut"] for name in SIZES[block]])
        counts.append(found[block] / report["lut"])
    return tuple(float(f"{number:.4g}") for number in _positive(np.array(rows), np.array(counts)))


def _positive(rows: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least squares of ``rows @ x = counts`` of which no ``x`` is negative.

    What would be most negative is taken for 0, one after the other.
    """
    found = np.zeros(rows.shape[1])
    free = np.asarray(rows.any(axis=0))
    while free.any():
        found[:] = 0
        scale = np.abs(rows[:, free]).max(axis=0)
        found[free] = np.linalg.lstsq(rows[:, free] / scale, counts, rcond=None)[0] / scale
        if found.min() >= 0:
            break
        free[(found * np.abs(rows).max(axis=0)).argmin()] = False
    return found


def main(files: Sequence[str]) -> None:
    """Print the table for the reports in some files."""
    reports = [json.loads(Path(file).read_text()) for file in files]
    table = fit(reports)
    print("_LUTS: dict[str, tuple[float, ...]] = {")
    for block, numbers in table.items():
        print(f'    "{block}": {numbers},')
    print("}")
    for report in reports:
        predicted = luts(PRESETS[report["geometry"]], table)
        print(f"# {report['geometry']}: {report['lut']:,} LUTs, predicted {predicted:,.0f}, "
              f"{predicted / report['lut'] - 1:+.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
