"""The bytes of a simulated memory."""

from __future__ import annotations

from pathlib import Path

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.target import Target

__all__ = ["STORAGE_SOURCES", "Storage"]

STORAGE_SOURCES = (Path(__file__).with_name("dram.cpp"),)
"""C++ files that a simulation program of a design with :class:`Storage` needs."""


class Storage(wiring.Component):
    """The bytes: for a :class:`~heddle.rtl.target.Target` those of the C++ program, else a memory.

    ``read.data`` follows ``read.en`` by one cycle. A byte may be read in the cycle after its write.

    Parameters
    ----------
    ports : :class:`int`
        Pairs of a read and a write port.
    data_bytes : :class:`int`
        Bytes a beat. Offsets are multiples of it.
    depth : :class:`int`
        Beats in the memory of Amaranth's simulator.

    Members
    -------
    read, write : In
        ``en``, ``offset`` (in bytes), ``data``; and ``strobe`` of a write.
    """

    def __init__(self, *, ports: int, data_bytes: int, depth: int = 1024):
        self.data_bytes = data_bytes
        self.depth = depth
        port = {"en": Out(1), "offset": Out(64)}
        super().__init__({
            "read": In(wiring.Signature({**port, "data": In(8 * data_bytes)})).array(ports),
            "write": In(wiring.Signature({**port, "data": Out(8 * data_bytes),
                                          "strobe": Out(data_bytes)})).array(ports),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        if isinstance(platform, Target):
            source = Path(__file__).with_name("storage.sv").read_text()
            for i, (read, write) in enumerate(zip(self.read, self.write)):
                m.submodules[f"port_{i}"] = platform.macro(
                    "heddle_dram", source, p_BYTES=self.data_bytes, i_clk=ClockSignal(),
                    i_read_en=read.en, i_read_offset=read.offset, o_read_data=read.data,
                    i_write_en=write.en, i_write_offset=write.offset, i_write_data=write.data,
                    i_write_strobe=write.strobe)
            return m
        m.submodules.memory = words = memory.Memory(shape=unsigned(8 * self.data_bytes),
                                                    depth=self.depth, init=[])
        for read, write in zip(self.read, self.write):
            reader, writer = words.read_port(), words.write_port(granularity=8)
            m.d.comb += [
                reader.en.eq(read.en),
                reader.addr.eq(read.offset // self.data_bytes),
                read.data.eq(reader.data),
                writer.en.eq(Mux(write.en, write.strobe, 0)),
                writer.addr.eq(write.offset // self.data_bytes),
                writer.data.eq(write.data),
            ]
        return m
