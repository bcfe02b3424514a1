"""An SDRAM chip for simulation, which says when it is used against its data sheet."""

from __future__ import annotations

import enum

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.sdram import MODE, Command, SdramChip, SdramPins, address_layout
from .storage import Storage

__all__ = ["Fault", "SimulatedSdram"]


class Fault(enum.IntEnum):
    """What was done wrong first."""

    NONE = 0
    POWER_UP = 1
    """A command came too soon, or the first ones were not PRECHARGE of all, REFRESH, MODE."""
    MODE = 2
    """The mode register was set to another value than the model has, or while a row was open."""
    REFRESH = 3
    """REFRESH came while a row was open, or too late."""
    CLOSED = 4
    """READ or WRITE of a bank without an open row."""
    OPEN = 5
    """ACTIVATE of a bank with an open row."""
    PAUSE = 6
    """A command of a bank came within the time that the one before takes."""
    CLOSE = 7
    """PRECHARGE came too soon after ACTIVATE, or after the last half word that was written."""
    AGAIN = 8
    """ACTIVATE came too soon after the one before."""
    BURST = 9
    """READ or WRITE came in the middle of another one."""
    BUS = 10
    """Data were driven while the chip drove them, or not while it took them."""


class SimulatedSdram(wiring.Component):
    """A chip as seen from its pins, clocked by the domain ``sdram``.

    It checks the times and the order of commands. Up to ``refresh_debt`` of REFRESH may be late.

    Parameters
    ----------
    chip : :class:`~heddle.rtl.sdram.SdramChip`
    clock_mhz : :class:`float`
        By which its times become cycles.

    Members
    -------
    pins : :py:`In(SdramPins(chip))`
    fault : :py:`Out(8)`
        The first :class:`Fault`.
    """

    REFRESH_DEBT = 8

    def __init__(self, chip: SdramChip, *, clock_mhz: float, depth: int = 1024):
        self.chip = chip
        self.clock_mhz = clock_mhz
        self.storage = Storage(ports=1, data_bytes=2, depth=depth)
        super().__init__({"pins": In(SdramPins(chip)), "fault": Out(8)})

    def _cycles(self, time: float) -> int:
        return self.chip.cycles(time, self.clock_mhz)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.storage = DomainRenamer("sdram")(self.storage)
        now = Signal(32)
        m.d.sdram += now.eq(now + 1)
        self._faults: list[tuple[Fault, Value]] = []
        self._start(m, now)
        rows = self._banks(m, now)
        self._data(m, rows)
        with m.If(self.fault == 0):
            for code, wrong in reversed(self._faults):
                with m.If(wrong):
                    m.d.sdram += self.fault.eq(code)
        return m

    def _is(self, *commands: Command) -> Value:
        return Cat(self.pins.command == command for command in commands).any()

    def _start(self, m: Module, now: Signal) -> None:
        """Check the commands after power-up, the mode, and how often the rows are refreshed."""
        chip = self.chip
        closed, refreshed, ready = Signal(), Signal(range(chip.refreshes + 1)), Signal()
        owed, timer = Signal(range(self.REFRESH_DEBT + 2)), Signal(32)
        interval = self._cycles(chip.refresh_interval)
        with m.If(self._is(Command.PRECHARGE) & self.pins.address[10]):
            m.d.sdram += closed.eq(1)
        with m.If(self._is(Command.REFRESH) & (refreshed != chip.refreshes)):
            m.d.sdram += refreshed.eq(refreshed + 1)
        with m.If(self._is(Command.MODE)):
            m.d.sdram += ready.eq(1)
        late = timer == interval
        m.d.sdram += [
            timer.eq(Mux(late, 0, timer + ready)),
            owed.eq(owed + (late & (owed <= self.REFRESH_DEBT))
                    - (self._is(Command.REFRESH) & (owed != 0))),
        ]
        self._faults += [
            (Fault.POWER_UP, ~self._is(Command.NONE) & (now < self._cycles(chip.power_up))),
            (Fault.POWER_UP, self._is(Command.REFRESH) & ~closed),
            (Fault.POWER_UP, self._is(Command.MODE) & (refreshed != chip.refreshes)),
            (Fault.POWER_UP, self._is(Command.ACTIVATE) & ~ready),
            (Fault.MODE, self._is(Command.MODE) & (self.pins.address != MODE)),
            (Fault.REFRESH, owed > self.REFRESH_DEBT),
        ]

    def _banks(self, m: Module, now: Signal) -> Array:
        """Check what happens to each bank; return the rows that are open."""
        chip, pins = self.chip, self.pins
        rows = []
        for bank in range(1 << chip.bank_bits):
            row, is_open = Signal(chip.row_bits, name=f"row_{bank}"), Signal(name=f"open_{bank}")
            free, close, again = (Signal(32, name=f"{name}_{bank}")
                                  for name in ("free", "close", "again"))
            mine = pins.bank == bank
            activate = mine & self._is(Command.ACTIVATE)
            column = mine & self._is(Command.READ, Command.WRITE)
            precharge = (mine | pins.address[10]) & self._is(Command.PRECHARGE)
            every = self._is(Command.REFRESH, Command.MODE)
            with m.If(activate):
                m.d.sdram += [row.eq(pins.address), is_open.eq(1),
                              free.eq(now + self._cycles(chip.rcd)),
                              close.eq(now + self._cycles(chip.ras)),
                              again.eq(now + self._cycles(chip.rc))]
            with m.If(mine & self._is(Command.WRITE)):
                recovered = now + 1 + self._cycles(chip.wr)
                m.d.sdram += close.eq(Mux(recovered > close, recovered, close))
            with m.If(precharge):
                m.d.sdram += [is_open.eq(0), free.eq(now + self._cycles(chip.rp))]
            with m.If(every):
                m.d.sdram += free.eq(now + Mux(self._is(Command.MODE), chip.mrd,
                                               self._cycles(chip.rfc)))
            self._faults += [
                (Fault.PAUSE, (activate | column | precharge | every) & (now < free)),
                (Fault.CLOSED, column & ~is_open),
                (Fault.OPEN, activate & is_open),
                (Fault.AGAIN, activate & (now < again)),
                (Fault.CLOSE, precharge & is_open & (now < close)),
                (Fault.REFRESH, self._is(Command.REFRESH) & is_open),
                (Fault.MODE, self._is(Command.MODE) & is_open),
            ]
            rows.append(row)
        return Array(rows)

    def _data(self, m: Module, rows: Array) -> None:
        """Read and write bursts of two half words."""
        pins, storage = self.pins, self.storage
        place = data.View(address_layout(self.chip), Signal(address_layout(self.chip).size))
        m.d.comb += [place.row.eq(rows[pins.bank]), place.bank.eq(pins.bank),
                     place.column.eq(pins.address)]
        begin = Value.cast(place)
        read, write = self._is(Command.READ), self._is(Command.WRITE)
        reading, writing, second = Signal(), Signal(), Signal.like(begin)
        m.d.sdram += [reading.eq(read), writing.eq(write), second.eq(begin | 2)]
        driving = Signal(3)  # of the present cycle in bit 1
        m.d.sdram += [driving.eq(Cat(read | reading, driving)), pins.i.eq(storage.read[0].data)]
        here = Mux(reading | writing, second, begin)
        m.d.comb += [
            storage.read[0].en.eq(read | reading), storage.read[0].offset.eq(here),
            storage.write[0].en.eq(write | writing), storage.write[0].offset.eq(here),
            storage.write[0].data.eq(pins.o), storage.write[0].strobe.eq(~pins.mask),
        ]
        self._faults += [
            (Fault.BURST, (read | write) & (reading | writing)),
            (Fault.BUS, (write | writing) != pins.oe),
            (Fault.BUS, pins.oe & driving[1:].any()),
        ]
