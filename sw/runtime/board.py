"""The device on a board, whatever the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..device import Device, Run
from ..outcome import Counters, DeviceError, check, standing
from ..program import Program
from ..rtl.geometry import PRESETS, Geometry
from ..rtl.registers import IDENTITY, OFFSETS, mask
from .transport import Transport

__all__ = ["ALIGNMENT", "Board", "probe"]

ALIGNMENT = 4096
"""Bytes of which the start of an image is a multiple."""

_TICK = 0.5
"""Seconds between two calls of ``progress``."""

_START = mask("CONTROL", "start") | mask("CONTROL", "interrupt_enable")
_RESET = mask("CONTROL", "reset")
_BUSY = mask("STATUS", "busy")


class Board(Device):
    """An accelerator on a board.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        That of the accelerator, which is compared with what its registers say.
    transport : :class:`~heddle.runtime.transport.Transport`
        The way to it, which the board closes in :meth:`close`.
    timeout : :class:`float`
        Seconds after which a run is given up.

    Raises
    ------
    DeviceError
        If there is no accelerator, or one of another geometry.
    """

    name = "board"

    def __init__(self, geometry: Geometry, transport: Transport, *, timeout: float = 60) -> None:
        super().__init__(geometry)
        self.transport = transport
        self.timeout = timeout
        try:
            self._identify()
        except BaseException:
            transport.close()
            raise

    def close(self) -> None:
        """Close the transport."""
        self.transport.close()

    def _read(self, name: str) -> int:
        return self.transport.read(OFFSETS[name])

    def _write(self, name: str, value: int) -> None:
        self.transport.write(OFFSETS[name], value)

    def _identify(self) -> None:
        """Check that the accelerator is there and has the geometry."""
        _find(self.transport)
        found, wanted = self._read("GEOMETRY"), self.geometry.fingerprint
        if found != wanted:
            raise DeviceError(f"The accelerator must be of geometry {self.geometry.name} "
                              f"(fingerprint {wanted:#010x}), and it shows {found:#010x}: load "
                              "the bitstream of that geometry, or compile for the one that is "
                              "there")

    def _run(self, program: Program, image: NDArray[np.uint8],
             progress: Callable[[int], None] | None) -> Run:
        base, size = self.transport.base, self.transport.size
        if base % ALIGNMENT:
            raise DeviceError(f"The memory of the accelerator must begin at a multiple of "
                              f"{ALIGNMENT}, not at {base:#x}")
        if image.size > size:
            raise DeviceError(f"The memory of the accelerator must hold the {image.size:,} bytes "
                              f"of the image of {program.name}, and it has {size:,}: make the "
                              "buffer larger")
        self._identify()
        self._stop("an earlier run")
        self.transport.upload(base, image)
        self._start(program, base)
        try:
            self._finish(program, progress)
        except BaseException:
            self._stop("this run")  # nothing may write to memory that is about to be used again
            raise
        registers = _registers(self.transport)
        check(program, registers, base)
        return Run(self.transport.download(base, image.size), Counters.of(registers))

    def _start(self, program: Program, base: int) -> None:
        for name, value in (("BASE_LO", base & 0xFFFFFFFF), ("BASE_HI", base >> 32),
                            ("PROGRAM", program.offset), ("LENGTH", len(program.instructions)),
                            ("STATUS", self._read("STATUS")),
                            ("CONTROL", _START)):
            self._write(name, value)

    def _finish(self, program: Program, progress: Callable[[int], None] | None) -> None:
        """Wait for the end of the run."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                return self.transport.wait(max(0, min(_TICK, end - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise DeviceError(
                        f"The run must end within {self.timeout:g} s, and it has not: "
                        f"{standing(program, _registers(self.transport))}") from None
                if progress:
                    progress(self._read("CYCLES"))

    def _stop(self, what: str) -> None:
        """End a run that is in progress, if there is one: it can take no more than its bursts."""
        if not self._read("STATUS") & _BUSY:
            return
        self._write("CONTROL", _RESET)
        end = time.monotonic() + 1
        while self._read("STATUS") & _BUSY:
            if time.monotonic() >= end:
                raise DeviceError(f"CONTROL.reset must end {what} within a second, and it has "
                                  "not, so a burst has no answer: load the bitstream again")
            time.sleep(0.001)


def probe(transport: Transport) -> dict[str, str | int]:
    """Return what there is at the other end: geometry, memory, and each register in hexadecimal.

    Raises
    ------
    DeviceError
        If there is no accelerator.
    """
    _find(transport)
    registers = _registers(transport)
    names = [name for name, geometry in PRESETS.items()
             if geometry.fingerprint == registers["GEOMETRY"]]
    return {"geometry": names[0] if names else "none of the presets",
            "memory": f"{transport.size:,} bytes at {transport.base:#x}",
            **{name: f"{value:#010x}" for name, value in registers.items()}}


def _registers(transport: Transport) -> dict[str, int]:
    """Return the value of each register, by name."""
    return {name: transport.read(offset) for name, offset in OFFSETS.items()}


def _find(transport: Transport) -> None:
    """Check that there is an accelerator."""
    found = transport.read(OFFSETS["ID"])
    if found != IDENTITY:
        raise DeviceError(f"The register ID must hold {IDENTITY:#010x}, and it holds {found:#010x}:"
                          " there is no Heddle accelerator, or not at this address; load its "
                          "bitstream first")
