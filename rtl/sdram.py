"""A memory of words in SDRAM: single data rate, 16 bits wide."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .word_port import WordPort

__all__ = ["BURST", "CAS_LATENCY", "MODE", "Command", "Sdram", "SdramChip", "SdramPins",
           "address_layout"]

BURST = 2
"""Half words of a READ or WRITE: one word."""

CAS_LATENCY = 2
"""Cycles from a READ to its first half word."""

MODE = CAS_LATENCY << 4 | BURST.bit_length() - 1
"""The mode register: that latency, sequential bursts of that length for reads and writes."""


class Command(enum.IntEnum):
    """Levels of RAS, CAS and WE, from bit 2 down; a one is active."""

    NONE = 0b000
    WRITE = 0b011
    READ = 0b010
    ACTIVATE = 0b100
    PRECHARGE = 0b101
    """Of a bank, or of all if A10 is high."""
    REFRESH = 0b110
    MODE = 0b111


@dataclass(frozen=True)
class SdramChip:
    """Size and times of a chip, the times in ns if not said otherwise.

    The defaults are Micron's for the MT48LC16M16A2 of the slowest speed grade, 75; the pin and
    timing compatible chips of other makers are no slower.
    """

    row_bits: int = 13
    column_bits: int = 9
    bank_bits: int = 2
    power_up: float = 100_000
    """From a stable clock to the first command."""
    refreshes: int = 2
    """Before the mode register is set."""
    refresh_interval: float = 64e6 / 8192
    """Between two of REFRESH, on average."""
    rp: float = 20
    """PRECHARGE to another command of the bank."""
    rcd: float = 20
    """ACTIVATE to READ or WRITE."""
    ras: float = 44
    """ACTIVATE to PRECHARGE."""
    rc: float = 66
    """ACTIVATE to ACTIVATE of the bank."""
    rfc: float = 66
    """REFRESH to another command."""
    wr: float = 15
    """Last half word written to PRECHARGE."""
    mrd: int = 2
    """MODE to another command, in cycles."""

    @property
    def size(self) -> int:
        """Bytes."""
        return 2 << self.row_bits + self.column_bits + self.bank_bits

    @staticmethod
    def cycles(time: float, clock_mhz: float) -> int:
        """Return the least cycles that are no shorter than a time in ns."""
        return math.ceil(time * clock_mhz / 1e3 - 1e-9)


def address_layout(chip: SdramChip) -> data.StructLayout:
    """Where a byte lies: neighbours in a row, and neighbouring rows in other banks."""
    return data.StructLayout({"byte": 1, "column": chip.column_bits, "bank": chip.bank_bits,
                              "row": chip.row_bits})


class SdramPins(wiring.Signature):
    """Pins of the chip without the clock, all active high; selected and clocked in every cycle."""

    def __init__(self, chip: SdramChip):
        super().__init__({
            "command": Out(3),
            "bank":    Out(chip.bank_bits),
            "address": Out(chip.row_bits),
            "mask":    Out(2),
            "o":       Out(16),
            "oe":      Out(1),
            "i":       In(16),
        })


class Sdram(wiring.Component):
    """Controller of an SDRAM: rows stay open, a word moves every other cycle.

    A register lies between these pins and those of the chip in both directions, and the chip's
    clock is later than this one by more than its hold time and by less than half a period: so the
    first half word of a READ is at ``pins.i`` three cycles after the command is at ``pins``.

    Parameters
    ----------
    chip : :class:`SdramChip`
    clock_mhz : :class:`float`

    Members
    -------
    port : :py:`In(WordPort(log2(chip.size), 4))`
    pins : :py:`Out(SdramPins(chip))`
    """

    _FIRST = CAS_LATENCY + 1
    """Cycles from a READ at the pins to its first half word."""

    def __init__(self, chip: SdramChip, *, clock_mhz: float):
        self.chip = chip
        self.clock_mhz = clock_mhz
        super().__init__({
            "port": In(WordPort((chip.size - 1).bit_length(), 4)),
            "pins": Out(SdramPins(chip)),
        })

    def _cycles(self, time: float) -> int:
        return self.chip.cycles(time, self.clock_mhz)

    def elaborate(self, platform) -> Module:
        m = Module()
        chip = self.chip
        full = self._hold(m)
        where = self._place(self._held)
        self._command = Signal(Command)
        self._address = Signal(chip.row_bits)
        m.d.sync += [self.pins.command.eq(self._command), self.pins.address.eq(self._address),
                     self.pins.bank.eq(where.bank)]
        # Each is 0 when the time has come: for any command, to close a row, to write, to refresh.
        interval = self._cycles(chip.refresh_interval) - 1
        power_up = self._cycles(chip.power_up)
        self._rest = rest = Signal(range(power_up + 1), init=power_up)
        self._close = Signal(range(16))
        self._write = Signal(range(16))
        for timer in rest, self._close, self._write:
            m.d.sync += timer.eq(timer - timer.any())
        refresh, due = Signal(range(interval + 1), init=interval), Signal()
        m.d.sync += [refresh.eq(Mux(refresh == 0, interval, refresh - 1)),
                     due.eq(due | (refresh == 0))]
        refreshed = Signal(range(chip.refreshes + 1))
        with m.FSM():
            with m.State("POWER_UP"):
                with m.If(rest == 0):
                    self._precharge(m, Const(1))
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                with m.If(rest == 0):
                    self._issue(m, Command.REFRESH, self._cycles(chip.rfc))
                    m.d.sync += due.eq(0)
                    m.next = "READY"
                    with m.If(refreshed != chip.refreshes):
                        m.d.sync += refreshed.eq(refreshed + 1)
                        m.next = "REFRESH"
                        with m.If(refreshed == chip.refreshes - 1):
                            m.next = "MODE"
            with m.State("MODE"):
                with m.If(rest == 0):
                    self._issue(m, Command.MODE, chip.mrd)
                    m.d.comb += self._address.eq(MODE)
                    m.next = "READY"
            with m.State("READY"):
                with m.If((rest == 0) & due):
                    with m.If(self._close == 0):
                        self._precharge(m, Const(1))
                        m.d.sync += [self._opened.eq(0), self._open.eq(0)]
                        m.next = "REFRESH"
                with m.Elif((rest == 0) & full):
                    self._serve(m, where)
        self._move(m)
        return m

    def _place(self, request: data.View) -> data.View:
        return data.View(address_layout(self.chip), request.address)

    def _hold(self, m: Module) -> Signal:
        """Take requests, and see beforehand whether their rows are open. Return if one is held."""
        chip, request = self.chip, self.port.request
        banks = 1 << chip.bank_bits
        self._opened = Signal(banks)
        self._rows = Array(Signal(chip.row_bits, name=f"row_{n}") for n in range(banks))
        self._held, waiting = Signal.like(request.p), Signal.like(request.p)
        full, waits, self._served = Signal(), Signal(), Signal()
        self._open, self._hit = Signal(), Signal()  # a row of its bank, and its own row
        where = self._place(waiting)
        m.d.comb += request.ready.eq(~waits)
        with m.If(~waits):
            m.d.sync += [waiting.eq(request.p), waits.eq(request.valid)]
        with m.Elif(~full):
            m.d.sync += [self._held.eq(waiting), full.eq(1), waits.eq(0),
                         self._open.eq(self._opened.bit_select(where.bank, 1)),
                         self._hit.eq(self._rows[where.bank] == where.row)]
        with m.If(self._served):
            m.d.sync += full.eq(0)
        return full

    def _issue(self, m: Module, command: Command, pause: int) -> None:
        """Issue a command, after which there is a pause of so many cycles, this one among them."""
        m.d.comb += self._command.eq(command)
        m.d.sync += self._rest.eq(pause - 1)

    def _precharge(self, m: Module, all_: Value) -> None:
        self._issue(m, Command.PRECHARGE, self._cycles(self.chip.rp))
        m.d.comb += self._address[10].eq(all_)

    def _serve(self, m: Module, where: data.View) -> None:
        """Issue the next command for a request: the access itself if its row is open."""
        chip = self.chip
        opened = self._opened.bit_select(where.bank, 1)
        with m.If(~self._open):
            self._issue(m, Command.ACTIVATE, self._cycles(chip.rcd))
            m.d.comb += self._address.eq(where.row)
            m.d.sync += [self._rows[where.bank].eq(where.row), opened.eq(1), self._close.eq(
                max(self._cycles(chip.ras), self._cycles(chip.rc) - self._cycles(chip.rp)) - 1),
                self._open.eq(1), self._hit.eq(1)]
        with m.Elif(~self._hit):
            with m.If(self._close == 0):
                self._precharge(m, Const(0))
                m.d.sync += [opened.eq(0), self._open.eq(0)]
        with m.Elif(~self._held.write):
            self._issue(m, Command.READ, BURST)
            m.d.comb += [self._address.eq(where.column), self._served.eq(1)]
            m.d.sync += self._write.eq(CAS_LATENCY + BURST)  # a cycle more, for the bus to turn
        with m.Elif(self._write == 0):
            self._issue(m, Command.WRITE, BURST)
            m.d.comb += [self._address.eq(where.column), self._served.eq(1)]
            recovery = BURST - 1 + self._cycles(chip.wr)
            with m.If(self._close < recovery - 1):
                m.d.sync += self._close.eq(recovery - 1)

    def _move(self, m: Module) -> None:
        """Move the half words of a READ or WRITE."""
        pins, held, port = self.pins, self._held, self.port
        first, second = Signal(), Signal()
        upper, mask = Signal(16), Signal(2)
        m.d.comb += first.eq(self._command == Command.WRITE)
        m.d.sync += [
            second.eq(first),
            upper.eq(held.data[16:]),
            mask.eq(~held.strobe[2:]),
            pins.o.eq(Mux(second, upper, held.data[:16])),
            pins.oe.eq(first | second),
            pins.mask.eq(Mux(first, ~held.strobe[:2], Mux(second, mask, 0))),
        ]
        coming = Signal(self._FIRST + 2)
        lower = Signal(16)
        m.d.sync += [coming.eq(Cat(self._command == Command.READ, coming)), lower.eq(pins.i)]
        m.d.comb += [port.valid.eq(coming[self._FIRST + 1]), port.data.eq(Cat(lower, pins.i))]
