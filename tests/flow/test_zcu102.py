"""The ZCU102's flow in a stand-in for Vivado, its folder, its command, and the board's pins."""

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import vivado
from amaranth import Module, Signal
from amaranth.build import DiffPairs, Pins
from amaranth.lib import io
from click.testing import CliRunner

from heddle.boards.bitfile import bit_to_bin
from heddle.boards.bitstream import bitstream
from heddle.boards.summary import Summary
from heddle.boards.zcu102.flow import Zcu102
from heddle.boards.zcu102.platform import ZCU102Platform
from heddle.cli import main
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS

ROOT = Path(__file__).parents[2]

needs_vivado = pytest.mark.skipif(vivado.missing() is not None, reason=vivado.missing() or "")


# -- the flow --------------------------------------------------------------------------------------

@needs_vivado
@pytest.mark.skipif(not importlib.util.find_spec("_tkinter"), reason="there is no tkinter")
def test_flow_in_the_other_interpreter(folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert vivado.interpreter() == "tkinter"
    outcome, session = vivado.batch(folder, vivado.Result(setup=-1))
    assert outcome.output.count("heddle: stage") == 4
    assert outcome.error.startswith("The design must not be used: The worst slack of setup")
    assert session.log[-1] == "version -short"


@needs_vivado
@pytest.mark.parametrize(("number", "ports"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3])])
def test_flow(number, ports, written, geometries):
    folder = written(number)
    outcome, session = vivado.batch(folder)
    assert outcome.error == ""
    assert outcome.output.split() == (
        "heddle: stage create heddle: stage synthesise heddle: stage implement "
        "heddle: stage write").split()
    summary = Summary.read(folder)
    assert summary.problems == ()
    assert summary.fingerprint == geometries[number].fingerprint
    assert summary.tool == "Vivado 2023.2"
    assert summary.clock_mhz == 250
    assert summary.clock_mhz_reached == pytest.approx(1000 / (4 - 0.107))
    assert summary.slack_ns == {"setup": 0.107, "hold": 0.012, "pulse_width": 0.8}
    assert summary.resources["BRAM36"] == {"used": 600.5, "available": 912}
    assert summary.resources["LUT"] == {"used": 140312, "available": 274080}
    assert summary.power_watt == 11.482
    assert all((folder / file).exists() for file in summary.files)
    assert {path.name for path in (folder / "reports").iterdir()} == {
        f"{report}.txt" for report in ("timing", "utilisation", "hierarchy", "power", "clocks",
                                       "clock_utilisation", "route", "drc", "methodology")}
    links = session.design.links
    for n, port in enumerate(ports):
        assert links[links[f"/accelerator/m_axi_{n}"].replace("S00", "M00")] == (
            f"/ps/S_AXI_HP{port}_FPD")
        assert session.design.cells["ps"].get(f"CONFIG.PSU__SAXIGP{port + 2}__DATA_WIDTH") == "128"
        places = session.design.addresses[f"/accelerator/m_axi_{n}"]
        assert [(offset, size) for offset, size, _ in places] == [
            (0, 2 << 30), (32 << 30, 2 << 30)][:2 if number == 4 else 1]
    assert session.design.addresses["/ps/Data"] == [
        (0xA000_0000, 64 << 10, "/accelerator/s_axi/reg0")]
    assert 64 << 10 >= 1 << ADDRESS_BITS


@needs_vivado
def test_flow_goes_on_at_a_stage(folder):
    outcome, session = vivado.batch(folder, vivado.Result(failing=("report_power",)))
    assert "report_power fails" in outcome.error
    session.opened = False
    session.result = vivado.Result()
    session.log.clear()
    outcome, _ = vivado.batch(folder, stage="implement", session=session)
    assert outcome.error == ""
    assert outcome.output == "heddle: stage implement\nheddle: stage write\n"
    assert "open_project project/heddle.xpr" in session.log
    assert not any(call.startswith("create") or "synth_1" in call for call in session.log)
    outcome, _ = vivado.batch(folder, stage="write", session=session)
    assert outcome.error == ""


@needs_vivado
def test_flow_refuses_an_unknown_stage(folder):
    outcome, _ = vivado.batch(folder, stage="place")
    assert outcome.error == ("Stage must be one of create, synthesise, implement, write, not place")


@needs_vivado
def test_constraints_are_tcl_of_the_design(folder):
    _, session = vivado.batch(folder)
    shutil.copy(folder / "heddle.xdc", folder / "build.tcl")
    assert vivado.batch(folder, session=session)[0].error == ""
    assert session.log[-1] == "set_property BITSTREAM.GENERAL.COMPRESS TRUE design:impl_1"


@needs_vivado
@pytest.mark.parametrize(("result", "message", "bitstream"), [
    ({"setup": -0.25}, "slack of setup is -0.250 ns, and it is negative at 2 of 60831 endpoints.",
     True),
    ({"hold": -0.001}, "The worst slack of hold is -0.001 ns, and it is", True),
    ({"pulse_width": -0.1}, "The worst slack of pulse width is -0.100 ns, and it is", True),
    ({"setup": -0.0001}, "The worst slack of setup is -0.000 ns, and it is negative", True),
    ({"setup": None}, "No path is checked for setup.", True),
    ({"hold": float("inf")}, "No path is checked for hold.", True),
    ({"pulse_width": None}, "No path is checked for pulse width.", True),
    ({"met": False}, "The report of timing does not say that all constraints are met.", True),
    ({"unclocked": 3}, "There are 3 register/latch pins with no clock.", True),
    ({"unrouted": 5}, "299995 are routed, and 5 have errors. There is no bitstream: ERROR: [DRC",
     False),
    ({"violations": ("NSTD-1#1",)}, "Design rule NSTD-1#1 is violated. There is no bitstream: ",
     False),
])
def test_flow_fails_unless_all_is_well(result, message, bitstream, folder):
    outcome, _ = vivado.batch(folder, vivado.Result(**result))
    assert outcome.error.startswith("The design must not be used: ")
    assert message in outcome.error
    summary = Summary.read(folder)
    assert message in " ".join(summary.problems)
    assert summary.files == (("heddle_tiny_bad_timing.bit",) if bitstream else ())
    assert not list(folder.glob("*.xsa"))
    assert not (folder / "heddle_tiny.bit").exists()
    if result.get("setup", 1) is None:
        assert summary.clock_mhz_reached is None
        assert "setup" not in summary.slack_ns
    else:
        assert summary.clock_mhz_reached == pytest.approx(1000 / (4 - summary.slack_ns["setup"]))


@needs_vivado
def test_no_slack_at_all_is_enough(folder):
    outcome, _ = vivado.batch(folder, vivado.Result(setup=0, hold=0, pulse_width=0))
    assert outcome.error == ""


@needs_vivado
@pytest.mark.parametrize(("result", "message"), [
    ({"boards": ()}, "This Vivado must have the board files of the ZCU102, and it has not"),
    ({"parts": ()}, "This Vivado must know the device xczu9eg-ffvb1156-2-e, and it does not"),
    ({"failing": ("synth_1",)}, "Run synth_1 must come to its end, and its state is \"failed\""),
    ({"failing": ("impl_1",)}, "Run impl_1 must come to its end"),
    ({"failing": ("write_hw_platform",)}, "write_hw_platform fails"),
])
def test_flow_says_what_is_missing(result, message, folder):
    outcome, _ = vivado.batch(folder, vivado.Result(**result))
    assert message in outcome.error
    assert not (folder / "summary.json").exists()


@needs_vivado
@pytest.mark.parametrize(("report", "line"), [
    ("UTILISATION", "| DSPs"), ("UTILISATION", "| Block RAM Tile"),
    ("POWER", "| Total On-Chip Power (W)")])
def test_flow_refuses_reports_that_it_cannot_read(report, line, folder, monkeypatch):
    text = getattr(vivado.reports, report)
    monkeypatch.setattr(vivado.reports, report, text.replace(line, "| Other"))
    assert "this version of Vivado writes it differently" in vivado.batch(folder)[0].error


# -- the folder ------------------------------------------------------------------------------------

def test_folder_is_complete_and_has_no_path(written, tmp_path):
    folder = written(4)
    assert {path.name for path in folder.iterdir()} >= {
        "README.md", "bitfile.py", "heddle.xdc", "settings.tcl", "build.tcl", "create.tcl",
        "block_design.tcl", "synthesise.tcl", "implement.tcl", "write.tcl", "reports.tcl",
        *(f"heddle_tiny.{suffix}" for suffix in ("v", "h", "json", "dtso"))}
    for path in folder.iterdir():
        assert not re.search(rf"{tmp_path}|{sys.prefix}|{ROOT}", path.read_text())
    for name in "README.md", "heddle_tiny.dtso":
        assert "$" not in (folder / name).read_text()


def test_equal_folders_are_equal(written, original):
    folder = written(2)
    for path in original.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


@needs_vivado
def test_every_port_of_a_whole_accelerator_says_what_it_is(tmp_path):
    """In particular those that carry the same constant."""
    Zcu102().write(PRESETS["tiny"], tmp_path, 250)
    text = (tmp_path / "heddle_tiny.v").read_text()
    ports = re.findall(r"\(\* X_INTERFACE_INFO = \"xilinx\.com:interface:aximm:1\.0 (\w+) (\w+)\" "
                       r"\*\)\n(?:  \(\*.*\*\)\n)?  (?:input|output) (?:\[.*\] )?(\w+);", text)
    assert len(ports) == 19 + 2 * 33
    assert all(port == f"{interface}_{role.lower()}" for interface, role, port in ports)
    assert text.count("X_INTERFACE_INFO") == 3 + len(ports)
    assert vivado.batch(tmp_path)[0].error == ""


def test_overlay_has_what_the_runtime_opens(written):
    text = (written(4) / "heddle_tiny.dtso").read_text()
    assert text.count("{") == text.count("}")
    for line in ('firmware-name = "heddle_tiny.bit.bin";', "heddle@a0000000 {",
                 "reg = <0x0 0xa0000000 0x0 0x10000>;", "interrupts = <0 89 4>;",
                 'device-name = "udmabuf-heddle";', "assigned-clock-rates = <250000000>;"):
        assert line in text
    ports = ", ".join(f"<{register} 0>" for register in range(4, 12))
    assert f"config-afi = {ports}, <14 0xa00>;" in text


def test_clock_has_a_limit(tmp_path):
    with pytest.raises(ValueError, match=r"Clock must be at most 333 MHz, .* not 400 MHz"):
        Zcu102().write(PRESETS["tiny"], tmp_path, 400)


# -- the command -----------------------------------------------------------------------------------

@pytest.fixture
def with_vivado(hollow, tmp_path, monkeypatch):
    """Put the stand-in on PATH as vivado."""
    program = tmp_path / "bin" / "vivado"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vivado "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def heddle(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@needs_vivado
def test_command_builds_and_reports(with_vivado, tmp_path):
    folder = tmp_path / "new" / "build"
    result = heddle("bitstream", "--board", "zcu102", "--geometry", "tiny", "--clock-mhz", 187.5,
                    "--output", folder)
    assert result.exit_code == 0, result.output
    assert (folder / "heddle_tiny.bit.bin").read_bytes() == bit_to_bin(
        (folder / "heddle_tiny.bit").read_bytes())
    summary = Summary.read(folder)
    assert summary.clock_mhz == pytest.approx(187.5, 1e-4)
    assert summary.files == ("heddle_tiny.bit", "heddle_tiny.xsa", "heddle_tiny.hwh",
                             "heddle_tiny.bit.bin")
    result = heddle("report", folder)
    assert result.exit_code == 0
    fingerprint = PRESETS["tiny"].fingerprint
    for text in ("zcu102 (xczu9eg-ffvb1156-2-e)", f"tiny ({fingerprint:#010x})", "187.5 MHz",
                 "600.5 of 912 (65.8%)", "+0.107 ns", "11.48 W (estimate)", "none"):
        assert text in result.output


@needs_vivado
def test_command_fails_with_the_timing(with_vivado, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVADO_RESULT", '{"setup": -0.5}')
    result = heddle("bitstream", "--board", "zcu102", "--geometry", "tiny", "--output", tmp_path)
    assert result.exit_code == 1
    assert "must not be used: The worst slack of setup is -0.500 ns" in result.output
    assert (tmp_path / "heddle_tiny_bad_timing.bit.bin").exists()
    result = heddle("report", tmp_path)
    assert result.exit_code == 0
    assert "The worst slack of setup is -0.500 ns" in " ".join(result.output.split())


@needs_vivado
def test_command_says_where_vivado_says_why(with_vivado, tmp_path, monkeypatch):
    (tmp_path / "summary.json").write_text("from before")
    monkeypatch.setenv("VIVADO_RESULT", '{"failing": ["validate_bd_design"]}')
    result = heddle("bitstream", "--board", "zcu102", "--geometry", "tiny", "--output", tmp_path)
    assert result.exit_code == 1
    assert f"Vivado must end with code 0, not 1; {tmp_path}/vivado.log says why" in result.output


def test_command_without_vivado_writes_the_folder(hollow, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = heddle("bitstream", "--board", "zcu102", "--geometry", "tiny", "--output", tmp_path)
    assert result.exit_code == 1
    assert result.output == (
        "Error: The ZCU102's bitstream needs Vivado, which is not on PATH; where it is, run vivado "
        f"-mode batch -source build.tcl in {tmp_path} or a copy of it\n")
    assert (tmp_path / "build.tcl").exists()


def test_unknown_boards_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Board must be one of .*zcu102.*, not 'zcu999'"):
        bitstream("zcu999", tmp_path)


# -- pins ------------------------------------------------------------------------------------------

def test_pins_are_unique_and_have_standards():
    pins = []
    for resource in ZCU102Platform.resources:
        standard = "IOSTANDARD" in resource.attrs
        for signal in [resource] if not hasattr(resource.ios[0], "ios") else resource.ios:
            [ends] = signal.ios
            assert isinstance(ends, Pins | DiffPairs)
            pins += ends.names if isinstance(ends, Pins) else [*ends.p.names, *ends.n.names]
        assert standard, resource
    assert len(pins) == 3 * 2 + 1 + 8 + 8 + 5 + 4 + 4
    assert len(set(pins)) == len(pins)


def test_platform_builds_a_plan_for_vivado():
    m = Module()
    counter = Signal(27)
    platform = ZCU102Platform()
    m.d.sync += counter.eq(counter + 1)
    m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
    m.d.comb += led.o.eq(counter[-1])
    plan = platform.build(m, do_build=False)
    assert f"-part {ZCU102Platform.part}" in plan.files["top.tcl"]
    assert 'set_property LOC AG14 [get_ports "led_0__io"]' in plan.files["top.xdc"]
