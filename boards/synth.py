"""What a block takes of an FPGA, counted by Yosys.

Yosys maps to the primitives of UltraScale+ but knows no placement: its counts are near those of a
vendor's tool, and its timing is none. Inverters are not counted, as they merge into what they feed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from ..rtl.export import rtlil
from ..rtl.geometry import Geometry
from ..rtl.softmax import Softmax

__all__ = ["BLOCKS", "Block", "count", "synthesise"]

_KINDS: dict[str, dict[str, float]] = {
    "lut_logic": {f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "lut_shift": {"SRL16E": 1, "SRLC32E": 1},
    "lut_ram": {"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2,
                "RAM64X1D": 2, "RAM128X1D": 4},
    "ff": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1),
    "dsp": {"DSP48E2": 1},
    "bram": {"RAMB36E2": 1, "RAMB18E2": 0.5},
}
"""What is counted, and how many of it a primitive takes."""

_FREE = ("INV", "CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "GND", "VCC")
"""Primitives that take nothing beyond the LUTs that they belong to."""

_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass(sys.argv[1], y.Design())"


@dataclass(frozen=True)
class Block:
    """A part of the accelerator that is synthesised on its own."""

    make: Callable[[Geometry], wiring.Component]
    per: str
    """The size of the geometry to which its own is in proportion."""


BLOCKS = {
    "softmax": Block(lambda g: Softmax(g.rows, g.lanes, g.depth, g.softmax_rows,
                                       g.probability_slots), "lanes"),
}
"""The blocks by name."""


def synthesise(block: str, geometry: Geometry) -> dict[str, str | int | float]:
    """Synthesise a block and return its report.

    Besides names there are ``lut_logic``, ``lut_shift`` (shift registers), ``lut_ram`` (distributed
    RAM), ``lut`` (all three), ``ff``, ``dsp``, ``bram``; and each of these a lane, or whatever the
    block is in proportion to. The softmax has in ``lut_ram`` the buffer of its probabilities.

    Parameters
    ----------
    block : :class:`str`
        One of :data:`BLOCKS`.
    geometry : :class:`~heddle.rtl.geometry.Geometry`

    Raises
    ------
    ValueError
        If no block has that name.
    ModuleNotFoundError
        If Yosys is not installed.
    RuntimeError
        If Yosys fails, or makes a primitive that is not known here.
    """
    if block not in BLOCKS:
        raise ValueError(f"Block must be one of {', '.join(BLOCKS)}, not {block!r}")
    if importlib.util.find_spec("pyosys") is None:
        raise ModuleNotFoundError("Synthesis needs Yosys, which the extra synth installs: "
                                  "pip install 'heddle[synth]'")
    component = BLOCKS[block].make(geometry)
    text, _ = rtlil(component, block, "xilinx")
    counts = count(_cells(text, block))
    per = BLOCKS[block].per
    number = getattr(geometry, per)
    return {"block": block, "geometry": geometry.name,
            "yosys": importlib.metadata.version("pyosys"), per: number, **counts,
            **{f"{name}_per_{per.removesuffix('s')}": total / number
               for name, total in counts.items()}}


def _cells(text: str, top: str) -> dict[str, int]:
    """Return the primitives that a design in RTLIL becomes, by type."""
    with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
        source, result = Path(folder, "design.il"), Path(folder, "result.json")
        source.write_text(text)
        # Shared modules stay modules: each is mapped once, however often it is used.
        passes = (f"read_rtlil {source}; synth_xilinx -family xcup -top {top} -noiopad -noclkbuf; "
                  f"tee -q -o {result} stat -json")
        done = subprocess.run([sys.executable, "-c", _YOSYS, passes], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f"Yosys failed with code {done.returncode}: "
                               f"{done.stdout[-2000:].strip()}")
        report = json.loads(result.read_text())
    modules = {name.removeprefix("\\") for name in report["modules"]}
    return {cell: number for cell, number in report["design"]["num_cells_by_type"].items()
            if cell not in modules}


def count(cells: Mapping[str, int]) -> dict[str, int | float]:
    """Return how much of each kind some primitives take, and of LUTs in all.

    Raises
    ------
    RuntimeError
        If a primitive is not known.
    """
    unknown = sorted(set(cells) - set(_FREE) - {cell for kind in _KINDS.values() for cell in kind})
    if unknown:
        raise RuntimeError(f"Each primitive must be one whose size is known, and {unknown[0]} is "
                           "not")
    counts = {name: _total(cells, kind) for name, kind in _KINDS.items()}
    luts = sum(total for name, total in counts.items() if name.startswith("lut_"))
    return {"lut": luts, **counts}


def _total(cells: Mapping[str, int], kind: Mapping[str, float]) -> int | float:
    total = sum(cells.get(cell, 0) * size for cell, size in kind.items())
    return int(total) if total == int(total) else total
