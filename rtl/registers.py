"""The register map, once: AXI4-Lite block, C header and documentation derive from it."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import Axi4Lite

__all__ = ["ADDRESS_BITS", "IDENTITY", "OFFSETS", "REGISTERS", "Field", "Register", "Registers",
           "mask"]

ADDRESS_BITS = 12
"""Width of an AXI4-Lite address: a page, the least that Linux maps and that Vivado can place."""

IDENTITY = 0x4845444C
"""What the register ``ID`` holds."""


@dataclass(frozen=True)
class Field:
    """Bits of a register. ``access`` is one of

    * ``r``: the hardware's value;
    * ``rw``: kept here, for the hardware to read;
    * ``w``: high for one cycle when a one is written, reads as zero;
    * ``rw1c``: set by the hardware, cleared by writing a one.
    """

    name: str
    offset: int
    width: int
    access: str
    doc: str


@dataclass(frozen=True)
class Register:
    """A 32-bit register at byte address ``offset``."""

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...]


def _value(name: str, offset: int, access: str, doc: str) -> Register:
    return Register(name, offset, doc, (Field("value", 0, 32, access, doc),))


REGISTERS: tuple[Register, ...] = (
    _value("ID", 0x00, "r", f"Always 0x{IDENTITY:X} (`HEDL`)."),
    _value("GEOMETRY", 0x04, "r", "Fingerprint of the geometry; a program file names its own."),
    Register("CONTROL", 0x08, "Starts and stops the machine.", (
        Field("start", 0, 1, "w", "Run the program; ignored while busy."),
        Field("interrupt_enable", 1, 1, "rw", "Raise the interrupt line at the end of a run."),
        Field("reset", 2, 1, "w", "End a run: transfers under way complete, the rest is dropped."),
    )),
    Register("STATUS", 0x0C, "State of the run.", (
        Field("busy", 0, 1, "r", "A run is in progress."),
        Field("done", 1, 1, "rw1c", "A run has ended, with or without error."),
        Field("error", 2, 1, "rw1c", "A run has ended early; see `ERROR`."),
        Field("interrupt", 3, 1, "rw1c", "The interrupt line."),
    )),
    Register("ERROR", 0x10, "The first error of the last run.", (
        Field("code", 0, 4, "r", "0 none, 1 read response, 2 write response, 3 illegal opcode."),
        Field("response", 4, 2, "r", "The AXI response: 2 SLVERR, 3 DECERR."),
        Field("port", 6, 2, "r", "The AXI port."),
    )),
    _value("ERROR_ADDRESS_LO", 0x14, "r", "AXI address of the burst that failed, low half."),
    _value("ERROR_ADDRESS_HI", 0x18, "r", "AXI address of the burst that failed, high half."),
    _value("BASE_LO", 0x1C, "rw", "AXI address of the DRAM image, low half; a multiple of 4096."),
    _value("BASE_HI", 0x20, "rw", "AXI address of the DRAM image, high half."),
    _value("PROGRAM", 0x24, "rw", "Byte offset of the program in the image; a multiple of 64."),
    _value("LENGTH", 0x28, "rw", "Instructions in the program."),
    _value("CYCLES", 0x30, "r", "Cycles of the run, from start to end."),
    _value("ARRAY_BUSY", 0x34, "r", "Cycles in which the array was given a step."),
    _value("WAIT_DMA", 0x38, "r", "Cycles in which the array waited for a transfer."),
    _value("WAIT_OPERANDS", 0x3C, "r", "Cycles in which the array waited for operands or a list."),
    _value("WAIT_DRAIN", 0x40, "r", "Cycles in which the array waited for a free context."),
    _value("READ_BYTES", 0x44, "r", "Bytes read over AXI, the program included."),
    _value("WRITE_BYTES", 0x48, "r", "Bytes written over AXI."),
    _value("WAIT_SOFTMAX", 0x4C, "r", "Cycles in which the array waited for probabilities."),
    _value("RETIRED_LOAD", 0x50, "r", "LOAD instructions completed."),
    _value("RETIRED_FILL", 0x54, "r", "FILL instructions completed."),
    _value("RETIRED_COMPUTE", 0x58, "r", "MATMUL and ATTEND instructions, all steps issued."),
    _value("RETIRED_STORE", 0x5C, "r", "STORE instructions completed."),
)
"""The registers, by address."""

OFFSETS = {register.name: register.offset for register in REGISTERS}
"""Byte address of each register, by name."""


def mask(register: str, field: str) -> int:
    """Return the bits of a field of a register."""
    [found] = [f for r in REGISTERS if r.name == register for f in r.fields if f.name == field]
    return ((1 << found.width) - 1) << found.offset


class Registers(wiring.Component):
    """The register block. Unmapped addresses read as zero; byte strobes are ignored.

    A port is named after its register and field, in lower case: ``control_start``, or only after
    the register if the field is all of it: ``cycles``. ``r`` fields are inputs; ``rw`` fields
    outputs; ``w`` fields outputs that pulse; an ``rw1c`` field is an output with an input
    ``…_set`` beside it.

    Members
    -------
    bus : :py:`In(Axi4Lite(ADDRESS_BITS))`
    """

    def __init__(self) -> None:
        members: dict[str, wiring.Member] = {"bus": In(Axi4Lite(ADDRESS_BITS))}
        for register in REGISTERS:
            for field in register.fields:
                name = self._port(register, field)
                members[name] = In(field.width) if field.access == "r" else Out(field.width)
                if field.access == "rw1c":
                    members[f"{name}_set"] = In(field.width)
        super().__init__(members)

    @staticmethod
    def _port(register: Register, field: Field) -> str:
        name = register.name.lower()
        return name if field.width == 32 else f"{name}_{field.name}"

    def elaborate(self, platform) -> Module:
        m = Module()
        write, address, value = self._write_channel(m)
        read = self._read_channel(m)
        with m.Switch(self.bus.araddr[2:]):
            for register in REGISTERS:
                with m.Case(register.offset >> 2):
                    for field in register.fields:
                        if field.access != "w":
                            m.d.comb += read[field.offset:field.offset + field.width].eq(
                                getattr(self, self._port(register, field)))
        for register in REGISTERS:
            selected = write & (address == register.offset >> 2)
            for field in register.fields:
                if field.access == "r":
                    continue
                port = getattr(self, self._port(register, field))
                written = value[field.offset:field.offset + field.width]
                if field.access == "rw":
                    with m.If(selected):
                        m.d.sync += port.eq(written)
                elif field.access == "w":
                    m.d.sync += port.eq(Mux(selected, written, 0))
                else:
                    set_ = getattr(self, f"{self._port(register, field)}_set")
                    m.d.sync += port.eq(port & ~Mux(selected, written, 0) | set_)
        return m

    def _write_channel(self, m: Module):
        """Take an address and its data together, answer a cycle later."""
        bus = self.bus
        write = Signal()
        address, value = Signal(ADDRESS_BITS - 2), Signal(32)
        both = bus.awvalid & bus.wvalid & ~bus.bvalid & ~write
        m.d.comb += [bus.awready.eq(both), bus.wready.eq(both)]
        m.d.sync += [write.eq(both), address.eq(bus.awaddr[2:]), value.eq(bus.wdata)]
        with m.If(write):
            m.d.sync += bus.bvalid.eq(1)
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        return write, address, value

    def _read_channel(self, m: Module) -> Signal:
        """Sample the addressed register, returned as a signal to drive, when the answer is free."""
        bus = self.bus
        read = Signal(32)
        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rdata.eq(read), bus.rvalid.eq(1)]
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        return read
