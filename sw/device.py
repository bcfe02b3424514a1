"""The devices on which a program runs: the golden model, the RTL in simulation, and boards.

The same image with the same program bytes runs on each and becomes the same image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .outcome import Counters, DeviceError, check, standing
from .program import Program
from .rtl.geometry import Geometry
from .rtl.isa import Opcode
from .sim.executor import execute

__all__ = ["Counters", "DEVICES", "Device", "DeviceError", "Golden", "Rtl", "Run", "open_device"]


@dataclass(frozen=True)
class Run:
    """Outcome of a run."""

    image: NDArray[np.uint8]
    """The DRAM image afterwards."""
    counters: Counters
    window: int = 0
    """Cycles of a window of ``samples``."""
    samples: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """Cycles in which the array took a step, or waited in one of the three ways, by windows."""


class Device(ABC):
    """Runs programs of one geometry."""

    name: str
    """Name in reports."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def run(self, program: Program, image: NDArray[np.uint8],
            progress: Callable[[int], None] | None = None) -> Run:
        """Run a program on an image, which is left as it is.

        Parameters
        ----------
        program : :class:`~heddle.program.Program`
        image : array of uint8
            As :meth:`~heddle.program.Program.image` makes it.
        progress : callable
            Called now and then with the number of cycles so far.

        Raises
        ------
        DeviceError
            If the run ends with an error or exceeds a limit.
        ValueError
            If the program is for another geometry.
        """
        if program.geometry.fingerprint != self.geometry.fingerprint:
            raise ValueError(f"Program must be for geometry {self.geometry.name} (fingerprint "
                             f"{self.geometry.fingerprint:#010x}), and it is for "
                             f"{program.geometry.name} ({program.geometry.fingerprint:#010x})")
        return self._run(program, image, progress)

    @abstractmethod
    def _run(self, program: Program, image: NDArray[np.uint8],
             progress: Callable[[int], None] | None) -> Run: ...


class Golden(Device):
    """The bit-exact model in NumPy. It has no notion of time."""

    name = "golden"

    def _run(self, program: Program, image: NDArray[np.uint8],
             progress: Callable[[int], None] | None) -> Run:
        image = image.copy()
        totals = execute(self.geometry, image, offset=program.offset,
                         instructions=len(program.instructions))
        return Run(image, Counters(None, totals.array_cycles, totals.read_bytes,
                                   totals.write_bytes))


class Rtl(Device):
    """The RTL with a model of its memory, in Verilator.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    latency : :class:`int`
        Cycles from an AXI address to the first beat of the response.
    bandwidth : :class:`int` or ``None``
        Bytes a cycle of all ports, reads and writes together; 0: no limit; by default what the
        geometry assumes.
    limit : :class:`int` or ``None``
        Cycles after which a run is given up; by default far more than any program should take.
    window : :class:`int`
        Cycles between samples of the counters.
    technology : str
        ``"generic"``, or ``"xilinx"``: with models of the primitives of a UltraScale+ FPGA.
    """

    name = "rtl"

    def __init__(self, geometry: Geometry, *, latency: int = 100, bandwidth: int | None = None,
                 limit: int | None = None, window: int = 256, technology: str = "generic") -> None:
        super().__init__(geometry)
        self.latency = latency
        self.bandwidth = geometry.bandwidth_assumed if bandwidth is None else bandwidth
        self.limit = limit
        self.window = window
        self.technology = technology

    def _run(self, program: Program, image: NDArray[np.uint8],
             progress: Callable[[int], None] | None) -> Run:
        from .sim.simulator import Simulator

        limit = self.limit or self._patience(program)
        run = Simulator(self.geometry, technology=self.technology).run(
            image, program=program.offset, length=len(program.instructions), limit=limit,
            latency=self.latency, bandwidth=self.bandwidth, window=self.window, progress=progress)
        if not run.finished:
            raise DeviceError(f"The run must end within {limit} cycles, and it has not: "
                              f"{standing(program, run.registers)}")
        check(program, run.registers)
        return Run(run.image, Counters.of(run.registers), run.window, run.samples)

    def _patience(self, program: Program) -> int:
        """Ten times the cycles that the program takes if nothing overlaps."""
        g = self.geometry
        bandwidth = min(self.bandwidth or g.dma_bytes, g.dma_bytes)
        cycles = 1000
        for i in program.decoded():
            cycles += (self.latency + 200) * (1 + i.count)
            if i.opcode == Opcode.MATMUL:
                cycles += i["blocks"] * i["tiles"] * i["steps"]
            elif i.opcode == Opcode.ATTEND:
                cycles += i["jobs"] * i["tiles"] * (
                    i["steps"] + i["blocks"] * g.tile_steps + g.rows)
            elif i.opcode == Opcode.FILL:
                cycles += i["count"] * i["steps"] * g.step_words
            elif i.opcode == Opcode.NORM:
                cycles += i["count"] * (8 * i["words"] * g.vectors_per_word + g.lanes)
            else:
                cycles += i["count"] * i["rows"] * i["words"] * g.word_bytes // bandwidth
        return 10 * cycles


DEVICES: dict[str, Callable[[Geometry], Device]] = {"golden": Golden, "rtl": Rtl}
"""The devices by name, boards apart."""


def open_device(device: str | Device, geometry: Geometry) -> Device:
    """Return the device itself, or the one of that name for a geometry.

    A board goes by the name of the way to it, such as ``uio`` or ``pynq:FILE.bit``; see
    :data:`heddle.runtime.TRANSPORTS`.

    Raises
    ------
    DeviceError
        If the board is not there, or has another geometry.
    ValueError
        If no device has that name.
    """
    if isinstance(device, Device):
        return device
    if device in DEVICES:
        return DEVICES[device](geometry)
    from .runtime import TRANSPORTS, Board, open_transport

    if device.partition(":")[0] not in TRANSPORTS:
        raise ValueError(f"Device must be one of {', '.join([*DEVICES, *TRANSPORTS])}, "
                         f"not {device!r}")
    return Board(geometry, open_transport(device))
