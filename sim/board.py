"""A board in Verilator whose serial port programs of this machine can open."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.export import verilog
from ..rtl.geometry import Geometry
from ..rtl.soc import Soc
from .sdram import SimulatedSdram
from .storage import STORAGE_SOURCES
from .verilator import MODELS, build_program

__all__ = ["Bench", "SimulatedBoard"]

_HERE = Path(__file__).parent
_CLOCK_MHZ = 50
"""By which times of the memory become cycles."""


class Bench(wiring.Component):
    """The system of a board and what is soldered to its pins, but for the serial port.

    Members
    -------
    rx, tx
        The pins of the serial port.
    fault : :py:`Out(8)`
        What is wrong at the pins; 0 if nothing is.
    """

    def __init__(self, soc: Soc) -> None:
        self._soc = soc
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "fault": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.soc = soc = self._soc
        m.submodules.sdram = sdram = SimulatedSdram(soc.CHIP, clock_mhz=soc.clock_mhz)
        # The chip's clock is later by a part of the period; the registers are those of the pins.
        m.domains.sdram = ClockDomain()
        m.d.comb += [
            ClockSignal("sdram").eq(~ClockSignal()),
            ResetSignal("sdram").eq(ResetSignal()),
            soc.rx.eq(self.rx),
            self.tx.eq(soc.tx),
            self.fault.eq(sdram.fault),
        ]
        for name, member in soc.sdram.signature.members.items():
            inner, outer = getattr(soc.sdram, name), getattr(sdram.pins, name)
            m.d.sync += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return m


class SimulatedBoard:
    """A ULX3S in simulation, from :meth:`__enter__` to :meth:`__exit__`.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    divisor : :class:`int`
        Cycles of a bit, at least 4. The fewer, the sooner a program is loaded.
    silence : :class:`int`
        See :class:`~heddle.rtl.link.Link`. The simulator itself never pauses within a frame.

    Attributes
    ----------
    port : :class:`str`
        Name of the serial port.
    """

    port: str

    def __init__(self, geometry: Geometry, *, divisor: int = 4, silence: int = 10_000) -> None:
        self.geometry = geometry
        self.divisor = divisor
        self.silence = silence

    def build(self) -> Path:
        """Return the path of the simulation program, which is built unless the cache has it."""
        soc = Soc(self.geometry, clock_mhz=_CLOCK_MHZ, divisor=self.divisor,
                  silence=self.silence)
        return build_program(verilog(Bench(soc), "board", "ecp5"), "board",
                             [_HERE / "board.cpp", *STORAGE_SOURCES, *MODELS["ecp5"]])

    def __enter__(self) -> Self:
        program = self.build()
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen([program, str(self.divisor)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=self._errors, text=True)
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """End the simulation.

        Raises
        ------
        RuntimeError
            If it has failed, with what it said.
        """
        self._process.communicate()
        self._errors.seek(0)
        said = self._errors.read().strip()
        self._errors.close()
        if self._process.returncode:
            raise RuntimeError(f"The simulated board failed with code {self._process.returncode}: "
                               f"{said}") from error
