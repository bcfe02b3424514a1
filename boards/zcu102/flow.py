"""The ZCU102's flow: a build folder for Vivado, and Vivado in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ...rtl.geometry import Geometry
from ..board import Board
from ..export import export

__all__ = ["Zcu102"]


class Zcu102(Board):
    """The ZCU102, with Vivado."""

    name = "zcu102"
    geometry = "zcu102"

    def write(self, geometry: Geometry, folder: Path, clock_mhz: float) -> list[Path]:
        return export(geometry, folder, technology="xilinx")

    def build(self, folder: Path) -> None:
        vivado = shutil.which("vivado")
        if vivado is None:
            raise RuntimeError(f"A bitstream of the ZCU102 needs Vivado on PATH, and there is none; "
                               f"where there is, run vivado -mode batch -source build.tcl in a "
                               f"copy of {folder}")
        done = subprocess.run([vivado, "-mode", "batch", "-source", "build.tcl"], cwd=folder,
                              check=False)
        if done.returncode:
            raise RuntimeError(f"Vivado failed with code {done.returncode}; {folder}/vivado.log "
                               "says why")
