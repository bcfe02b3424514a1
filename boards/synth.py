"""What a preset, or a block of it, takes of an FPGA, and how deep its logic is, by Yosys.

Yosys maps to the primitives of UltraScale+ but knows no placement: its counts are near those of a
vendor's tool, and its timing is none. Inverters are not counted, as they merge into what they feed.
Depth is in LUT levels (:mod:`~heddle.boards.levels`); `docs/synthesis.md` has the rules.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from rich import box
from rich.table import Table

from ..rtl.accelerator import Accelerator
from ..rtl.export import rtlil
from ..rtl.geometry import Geometry
from ..rtl.softmax import Softmax
from .levels import Levels
from .levels import Path as LogicPath

__all__ = ["BLOCKS", "DEVICE", "LIMIT", "Block", "count", "synthesise", "synthesise_block",
           "table"]

DEVICE: dict[str, Any] = {"name": "xczu9eg", "lut": 274_080, "ff": 548_160, "dsp": 2_520,
                          "bram36": 912}
"""The FPGA of a ZCU102."""

LIMIT = 5
"""LUT levels between registers beyond which a path is listed."""

_KINDS: dict[str, dict[str, float]] = {
    "lut_logic": dict.fromkeys(("LUT6_2", *(f"LUT{inputs}" for inputs in range(1, 7))), 1),
    "lut_shift": {"SRL16E": 1, "SRLC32E": 1},
    "lut_ram": {"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2,
                "RAM64X1D": 2, "RAM128X1D": 4},
    "ff": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1),
    "dsp": {"DSP48E2": 1},
    "bram36": {"RAMB36E2": 1, "RAMB18E2": 0.5},
}
"""What is counted, and how many of it a primitive takes."""

_FREE = ("INV", "CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "GND", "VCC")
"""Primitives that take nothing beyond the LUTs that they belong to."""

_COLUMNS = ("lut", "ff", "dsp", "bram36")

_TOP = "heddle"
_CORE = "core"

_INNER = {"core.staging.norm": "norm"}
"""Blocks within a submodule of the core, by their places."""

_SHARED = {"heddle_cell": "cells", "heddle_row_buffer": "row buffers"}
"""Blocks by the shared modules that they consist of."""

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


def synthesise(geometry: Geometry) -> dict[str, Any]:
    """Synthesise a whole accelerator and return its report.

    ``lut`` (of which ``lut_logic``, ``lut_shift``: shift registers, ``lut_ram``: distributed RAM),
    ``ff``, ``dsp``, ``bram36``, ``max_lut_levels``; ``device``, with its name and for each of the
    four its total and the share taken; ``blocks``, for each submodule of the core and the rest the
    same counts, and with ``levels`` and ``path`` the longest path between registers that ends in
    it; ``paths``, all places where paths of more than :data:`LIMIT` levels end, the worst first.

    Raises
    ------
    ModuleNotFoundError
        If Yosys is not installed.
    RuntimeError
        If Yosys fails, or makes a primitive that is not known here.
    """
    modules = _map(lambda: Accelerator(geometry), _TOP)
    blocks = _Blocks(modules, Levels(modules))
    counts = count(_total(modules, _TOP))
    rows: list[dict[str, Any]] = [{"block": name, **count(cells)}
                                  for name, cells in blocks.cells.items()]
    for row in rows:
        path, instance = blocks.longest.get(row["block"], (LogicPath(0, "none"), ""))
        row |= {"levels": int(path.level), "path": list(path.places(instance))}
    long = sorted(((int(path.level), list(path.places(instance)))
                   for path, instance in blocks.paths if path.level > LIMIT),
                  key=lambda path: (-path[0], path[1]))
    return {
        "geometry": geometry.name, "yosys": importlib.metadata.version("pyosys"), **counts,
        "max_lut_levels": max(int(path.level) for path, _ in blocks.longest.values()),
        "device": {"name": DEVICE["name"]} | {
            name: {"total": DEVICE[name], "share": round(counts[name] / DEVICE[name], 4)}
            for name in _COLUMNS},
        "blocks": rows,
        "paths": [{"levels": depth, "path": places} for depth, places in long],
    }


def synthesise_block(block: str, geometry: Geometry) -> dict[str, Any]:
    """Synthesise a block on its own and return its report.

    Besides names there are the counts of :func:`synthesise`, and each of these a lane, or whatever
    the block is in proportion to. The softmax has in ``lut_ram`` the buffer of its probabilities.

    Parameters
    ----------
    block : :class:`str`
        One of :data:`BLOCKS`.
    geometry : :class:`~heddle.rtl.geometry.Geometry`

    Raises
    ------
    ValueError
        If no block has that name.
    ModuleNotFoundError, RuntimeError
        As :func:`synthesise`.
    """
    if block not in BLOCKS:
        raise ValueError(f"Block must be one of {', '.join(BLOCKS)}, not {block!r}")
    per = BLOCKS[block].per
    number = getattr(geometry, per)
    modules = _map(lambda: BLOCKS[block].make(geometry), block)
    counts = count(_total(modules, block))
    return {"block": block, "geometry": geometry.name,
            "yosys": importlib.metadata.version("pyosys"), per: number, **counts,
            **{f"{name}_per_{per.removesuffix('s')}": total / number
               for name, total in counts.items()}}


def table(report: Mapping[str, Any]) -> Table:
    """Return a report of :func:`synthesise` as a table, the largest block first."""
    device = report["device"]
    shown = Table(box=box.SIMPLE_HEAD, show_footer=True,
                  caption="Yosys, which knows no placement: no clock is claimed")
    shown.add_column("block", f"{report['geometry']} on {device['name']}")
    for name in _COLUMNS:
        shown.add_column(name, f"{report[name]:,} ({device[name]['share']:.1%})", justify="right")
    shown.add_column("levels", str(report["max_lut_levels"]), justify="right")
    shown.add_column("longest path that ends there", overflow="fold")
    for row in sorted(report["blocks"], key=lambda row: -row["lut"]):
        path = row["path"]
        shown.add_row(row["block"], *(f"{row[name]:,}" for name in _COLUMNS), str(row["levels"]),
                      f"{path[0]} → {path[-1]}" if len(path) > 1 else "",
                      style="bold" if row["levels"] > LIMIT else None)
    return shown


def _map(make: Callable[[], wiring.Component], top: str) -> dict[str, Any]:
    """Return the modules of a component in primitives of UltraScale+, as Yosys writes them.

    It is made if there is a Yosys for it.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise ModuleNotFoundError("Synthesis needs Yosys, which the extra synth installs: "
                                  "pip install 'heddle[synth]'")
    return _netlist(*rtlil(make(), top, "xilinx"), top)


def _netlist(text: str, macros: Mapping[str, str], top: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
        source, macro, result = (Path(folder, name) for name in ("top.il", "macros.v", "top.json"))
        source.write_text(text)
        macro.write_text("\n".join(macros.values()))
        # Shared modules stay modules: each is mapped once, however often it is used.
        passes = (f"read_verilog {macro}; read_rtlil {source}; synth_xilinx -family xcup "
                  f"-top {top} -noiopad -noclkbuf; write_json {result}")
        done = subprocess.run([sys.executable, "-c", _YOSYS, passes], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f"Yosys failed with code {done.returncode}: "
                               f"{done.stdout[-2000:].strip()}")
        modules = json.loads(result.read_text())["modules"]
    # Yosys writes its library of primitives too.
    return {name: module for name, module in modules.items()
            if not {"blackbox", "whitebox"} & set(module["attributes"])}


def _total(modules: Mapping[str, Any], kind: str) -> Counter[str]:
    """Return the primitives of a module, with those of all modules below it, by type."""
    cells: Counter[str] = Counter()
    for cell in modules[kind]["cells"].values():
        cells.update(_total(modules, cell["type"]) if cell["type"] in modules else [cell["type"]])
    return cells


class _Blocks:
    """The blocks of an accelerator: what they consist of, and the longest paths.

    Attributes
    ----------
    cells : dict
        Primitives of each block, by type.
    longest : dict
        For each block the longest path that ends in it, and what precedes the names of its places.
    paths : list
        The same of each register and instance that a path ends in, once for each module.
    """

    def __init__(self, modules: Mapping[str, Any], levels: Levels):
        self.cells: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.longest: dict[str, tuple[LogicPath, str]] = {}
        self.paths: list[tuple[LogicPath, str]] = []
        self._modules = modules
        self._homes: dict[str, str] = {}
        kinds = dict(self._walk("", _TOP, "top"))
        met: set[str] = set()
        for instance, kind in kinds.items():
            timing = levels.timing(kind)
            paths = [*timing.longest.values()]
            if not instance:  # ports of the whole are places where paths begin and end
                paths += [*timing.starts.values(), *timing.ends.values(),
                          *(path for paths in timing.through.values() for path in paths.values())]
            for path in paths:
                block = self._home(path.end(instance))
                if block not in self.longest or self.longest[block][0].level < path.level:
                    self.longest[block] = path, instance
            if kind not in met:
                met.add(kind)
                self.paths += [(path, instance) for path in paths]

    def _walk(self, instance: str, kind: str, block: str) -> Iterator[tuple[str, str]]:
        """Yield all instances of modules with their types; note and count what they consist of."""
        self._homes[instance] = block
        yield instance, kind
        for name, cell in self._modules[kind]["cells"].items():
            if cell["type"] in self._modules:
                inner = f"{instance}{name}."
                yield from self._walk(inner, cell["type"], self._block(inner, cell["type"], block))
            else:
                self.cells[block][cell["type"]] += 1

    @staticmethod
    def _block(instance: str, kind: str, parent: str) -> str:
        shared = [name for prefix, name in _SHARED.items() if kind.startswith(prefix)]
        parts = [part.partition("$")[0] for part in instance.split(".")[:-1]]
        if shared:
            return shared[0]
        if ".".join(parts) in _INNER:
            return _INNER[".".join(parts)]
        return parts[-1] if parts[:-1] in ([], [_CORE]) else parent

    def _home(self, place: str) -> str:
        """Return the block of a place: that of the innermost instance around it."""
        while place not in self._homes:
            place = place[:place.rstrip(".").rfind(".") + 1]
        return self._homes[place]


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
    counts = {name: _sum(cells, kind) for name, kind in _KINDS.items()}
    luts = sum(total for name, total in counts.items() if name.startswith("lut_"))
    return {"lut": luts, **counts}


def _sum(cells: Mapping[str, int], kind: Mapping[str, float]) -> int | float:
    total = sum(cells.get(cell, 0) * size for cell, size in kind.items())
    return int(total) if total == int(total) else total
