# amaranth: UnusedElaboratable=no
"""The flow of the ULX3S: with a small design in the place of the accelerator through all tools."""

import json
import re

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.boards.bitstream import bitstream
from heddle.boards.summary import Summary
from heddle.boards.ulx3s.flow import Ulx3s
from heddle.boards.ulx3s.soc import Soc
from heddle.boards.ulx3s.top import Top
from heddle.rtl.axi import Axi4, Axi4Lite
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import Registers

GEOMETRY = PRESETS["ulx3s"]


class _Registers(wiring.Component):
    """The registers of an accelerator, and nothing behind them."""

    def __init__(self):
        super().__init__({"s_axi": In(Axi4Lite(8)), "m_axi": Out(Axi4(32, 4)).array(1),
                          "interrupt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = Registers()
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        # Something of the rest of the machine: the memory is read where a register says.
        axi = self.m_axi[0]
        m.d.comb += [axi.araddr.eq(registers.base_lo), axi.arvalid.eq(registers.control_start),
                     axi.rready.eq(1)]
        return m


class _Small(Ulx3s):
    def soc(self, geometry, clock_mhz):
        return Soc(geometry, clock_mhz=clock_mhz, divisor=25, silence=1_000_000,
                   accelerator=_Registers())


def test_a_small_design_becomes_a_bitstream(tmp_path):
    board = _Small()
    board.write(GEOMETRY, tmp_path, 50)
    board.build(tmp_path)
    summary = Summary.read(tmp_path)
    assert summary.problems == ()
    assert summary.clock_mhz == 50
    assert 50 <= summary.clock_mhz_reached < 400
    assert summary.slack_ns["setup"] >= 0
    assert summary.resources["flip-flops"]["available"] == 83_640
    assert 1000 < summary.resources["flip-flops"]["used"] < 10_000
    assert (tmp_path / "heddle.bit").stat().st_size > 100_000
    log = (tmp_path / "heddle.tim").read_text()
    assert re.search(r"\[bel_pin\]|IO.*loc|constrained 'uart_0__rx", log) or "Packing IOs" in log
