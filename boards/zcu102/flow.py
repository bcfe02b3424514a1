"""The ZCU102's flow: a build folder for Vivado, and Vivado in it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from string import Template

from ...rtl.geometry import Geometry
from ...sim.verilator import MODELS
from .. import bitfile, summary
from ..board import Board
from ..export import export
from .platform import ZCU102Platform

__all__ = ["CONTROL_ADDRESS", "CONTROL_RANGE", "MEMORY_PORTS", "Zcu102"]

CONTROL_ADDRESS = 0xA000_0000
"""Where the processors see the registers: the lowest address of the master port HPM0."""

CONTROL_RANGE = 0x1_0000
"""Bytes in which the processors see the registers, again and again."""

MEMORY_PORTS: dict[int, tuple[int, ...]] = {1: (1,), 2: (1, 3), 4: (0, 1, 2, 3)}
"""The HP ports for ``m_axi_0`` and so on, by their number.

HP0 to HP3 reach the memory controller through three of its ports: HP0 shares one with the
DisplayPort, HP1 and HP2 share one, HP3 shares one with the DMA of the processors (UG1085). So a
single stream gets HP1, which shares with nothing in use, and two get HP1 and HP3. Four take all."""

CLOCK_LIMIT_MHZ = 333
"""The fastest clock of the AXI ports between PL and processors, speed grade 2 (from memory, not
checked against the data sheet)."""

BUFFER_BYTES = 128 << 20
"""The memory that the device tree overlay sets aside for images."""

_PACKAGE = Path(__file__).parent


class Zcu102(Board):
    """The ZCU102, with Vivado.

    The folder holds what :func:`~heddle.boards.export.export` writes, the scripts of this package,
    ``settings.tcl`` with all that differs from build to build, a device tree overlay, a page that
    explains the folder, and :mod:`heddle.boards.bitfile`. The names of results begin with that of
    the top module.
    """

    name = "zcu102"
    geometry = "zcu102"

    def write(self, geometry: Geometry, folder: Path, clock_mhz: float) -> list[Path]:
        if clock_mhz > CLOCK_LIMIT_MHZ:
            raise ValueError(f"Clock must be at most {CLOCK_LIMIT_MHZ} MHz, as the memory ports "
                             f"are, not {clock_mhz:g} MHz")
        files = export(geometry, folder, technology="xilinx")
        top = files[0].stem
        # Vivado has the primitives themselves of which there are models for simulators.
        models = {file.name for file in MODELS["xilinx"]}
        sources = [file.name for file in files
                   if file.suffix == ".v" and file.name not in models]
        ports = MEMORY_PORTS[geometry.dma_ports]
        texts = {
            "settings.tcl": _settings({
                "part": ZCU102Platform.part,
                "geometry": geometry.name,
                "fingerprint": f"{geometry.fingerprint}",
                "top": top,
                "sources": " ".join(sources),
                "clock_mhz": f"{clock_mhz:g}",
                "address_bits": f"{geometry.address_bits}",
                "memory_ports": " ".join(map(str, ports)),
                "control_address": f"{CONTROL_ADDRESS:#x}",
                "control_range": f"{CONTROL_RANGE >> 10}K",
                "synthesis_strategy": "Flow_PerfOptimized_high",
                "implementation_strategy": "Performance_ExplorePostRoutePhysOpt",
                "jobs": "4",
                "threads": "8",
            }),
            **{path.name: path.read_text() for path in sorted(_PACKAGE.glob("*.tcl"))},
            "heddle.xdc": (_PACKAGE / "heddle.xdc").read_text(),
            "bitfile.py": Path(bitfile.__file__).read_text(),
            f"{top}.dtso": _fill("heddle.dtso", geometry, top, clock_mhz),
            "README.md": _fill("README.md", geometry, top, clock_mhz),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
        return files + [folder / name for name in texts]

    def build(self, folder: Path) -> None:
        vivado = shutil.which("vivado")
        command = ["-mode", "batch", "-source", "build.tcl"]
        if vivado is None:
            raise RuntimeError("The ZCU102's bitstream needs Vivado, which is not on PATH; where "
                               f"it is, run vivado {' '.join(command)} in {folder} or a copy of it")
        (folder / summary.FILE).unlink(missing_ok=True)
        done = subprocess.run([vivado, *command], cwd=folder, check=False)
        if done.returncode and not (folder / summary.FILE).exists():
            raise RuntimeError(f"Vivado must end with code 0, not {done.returncode}; "
                               f"{folder / 'vivado.log'} says why")
        outcome = summary.Summary.read(folder)
        made = []
        for name in outcome.files:
            if name.endswith(".bit"):
                made.append(f"{name}.bin")
                (folder / made[-1]).write_bytes(bitfile.bit_to_bin((folder / name).read_bytes()))
        replace(outcome, files=(*outcome.files, *made)).write(folder)


def _settings(values: dict[str, str]) -> str:
    lines = [f"set {name} {{{value}}}" for name, value in values.items()]
    return "\n".join(["# What differs from build to build.", *lines, ""])


def _fill(name: str, geometry: Geometry, top: str, clock_mhz: float) -> str:
    """Return a file of this package with the values of a build in it."""
    ports = MEMORY_PORTS[geometry.dma_ports]
    return Template((_PACKAGE / name).read_text()).substitute(
        geometry=geometry.name, top=top, ports=", ".join(f"HP{port}" for port in ports),
        widths=_widths(ports), clock=f"{clock_mhz:g}", hertz=f"{round(clock_mhz * 1e6)}",
        address=f"{CONTROL_ADDRESS:#x}", unit=f"{CONTROL_ADDRESS:x}", range=f"{CONTROL_RANGE:#x}",
        buffer=f"{BUFFER_BYTES:#x}")


def _widths(ports: tuple[int, ...]) -> str:
    """Return the registers of port widths: two for each slave port from HPC0 on, 14 for HPM."""
    registers = [f"<{2 * (port + 2) + way} 0>" for port in ports for way in (0, 1)]
    return ", ".join([*registers, "<14 0xa00>"])
