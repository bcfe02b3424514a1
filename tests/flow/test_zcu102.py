"""The ZCU102's flow in a strict stand-in for Vivado: all of it, its failures, and seeded errors."""

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
from heddle.rtl.accelerator import Accelerator
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import ADDRESS_BITS

ROOT = Path(__file__).parents[2]
TINY = PRESETS["tiny"]
GEOMETRIES = {
    "one": TINY.replace(dma_ports=1),
    "two": TINY,
    "four": TINY.replace(dma_ports=4, address_bits=40, dma_bytes=8),
}
PORTS = {"one": [1], "two": [1, 3], "four": [0, 1, 2, 3]}

needs_vivado = pytest.mark.skipif(vivado.missing() is not None, reason=vivado.missing() or "")


def hollow(patch):
    """Make accelerators that consist of their ports, as these are all that the flow looks at."""
    patch.setattr(Accelerator, "elaborate", lambda self, platform: Module())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders for several geometries, as they are written, one with a whole accelerator."""
    folders = {name: tmp_path_factory.mktemp(name) for name in GEOMETRIES}
    Zcu102().write(GEOMETRIES["two"], folders["two"], 250)
    with pytest.MonkeyPatch.context() as patch:
        hollow(patch)
        for name in "one", "four":
            Zcu102().write(GEOMETRIES[name], folders[name], 250)
    return folders


@pytest.fixture
def folder(written, tmp_path):
    """A copy of the folder for two memory ports."""
    return shutil.copytree(written["two"], tmp_path / "build")


def build(folder, result=None, stage="", session=None):
    """Build in the stand-in, and return how that ended and what has been called."""
    session = session or vivado.Vivado(folder, result)
    return vivado.run(folder / "build.tcl", session.answer, session.commands(), stage), session


def edit(file, old, new):
    text = file.read_text()
    assert old in text, (file.name, old)
    file.write_text(text.replace(old, new))


# -- the flow --------------------------------------------------------------------------------------

@needs_vivado
@pytest.mark.skipif(not importlib.util.find_spec("_tkinter"), reason="there is no tkinter")
def test_flow_in_the_other_interpreter(folder, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert vivado.interpreter() == "tkinter"
    outcome, session = build(folder, vivado.Result(setup=-1))
    assert outcome.output.count("heddle: stage") == 4
    assert outcome.error.startswith("The design must not be used: The worst slack of setup")
    assert session.log[-1] == "version -short"


@needs_vivado
@pytest.mark.parametrize("name", GEOMETRIES)
def test_flow(name, written, tmp_path):
    folder = shutil.copytree(written[name], tmp_path / "build")
    outcome, session = build(folder)
    assert outcome.error == ""
    assert outcome.output.split() == (
        "heddle: stage create heddle: stage synthesise heddle: stage implement "
        "heddle: stage write").split()
    summary = Summary.read(folder)
    assert summary.problems == ()
    assert summary.fingerprint == GEOMETRIES[name].fingerprint
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
    for number, port in enumerate(PORTS[name]):
        assert links[links[f"/accelerator/m_axi_{number}"].replace("S00", "M00")] == (
            f"/ps/S_AXI_HP{port}_FPD")
        assert session.design.cells["ps"].get(f"CONFIG.PSU__SAXIGP{port + 2}__DATA_WIDTH") == "128"
        places = session.design.addresses[f"/accelerator/m_axi_{number}"]
        assert [(offset, size) for offset, size, _ in places] == [
            (0, 2 << 30), (32 << 30, 2 << 30)][:2 if name == "four" else 1]
    assert session.design.addresses["/ps/Data"] == [
        (0xA000_0000, 64 << 10, "/accelerator/s_axi/reg0")]
    assert 64 << 10 >= 1 << ADDRESS_BITS


@needs_vivado
def test_flow_goes_on_at_a_stage(folder):
    outcome, session = build(folder, vivado.Result(failing=("report_power",)))
    assert "report_power fails" in outcome.error
    session.opened = False
    session.result = vivado.Result()
    session.log.clear()
    outcome, _ = build(folder, stage="implement", session=session)
    assert outcome.error == ""
    assert outcome.output == "heddle: stage implement\nheddle: stage write\n"
    assert "open_project project/heddle.xpr" in session.log
    assert not any(call.startswith("create") or "synth_1" in call for call in session.log)
    outcome, _ = build(folder, stage="write", session=session)
    assert outcome.error == ""


@needs_vivado
def test_flow_refuses_an_unknown_stage(folder):
    outcome, _ = build(folder, stage="place")
    assert outcome.error == ("Stage must be one of create, synthesise, implement, write, not place")


@needs_vivado
def test_constraints_are_tcl_of_the_design(folder):
    _, session = build(folder)
    shutil.copy(folder / "heddle.xdc", folder / "build.tcl")
    assert build(folder, session=session)[0].error == ""
    assert session.log[-1] == "set_property BITSTREAM.GENERAL.COMPRESS TRUE design:impl_1"


@needs_vivado
@pytest.mark.parametrize(("result", "message", "bitstream"), [
    ({"setup": -0.25}, "slack of setup is -0.250 ns, and it is negative at 2 of 60831 endpoints.",
     True),
    ({"hold": -0.001}, "The worst slack of hold is -0.001 ns, and it is", True),
    ({"pulse_width": -0.1}, "The worst slack of pulse width is -0.100 ns, and it is", True),
    ({"setup": -0.0001}, "The worst slack of setup is -0.000 ns, and it is negative", True),
    ({"setup": None}, "No path is checked for setup.", True),
    ({"pulse_width": None}, "No path is checked for pulse width.", True),
    ({"met": False}, "The report of timing does not say that all constraints are met.", True),
    ({"unclocked": 3}, "There are 3 register/latch pins with no clock.", True),
    ({"unrouted": 5}, "299995 are routed, and 5 have errors. There is no bitstream: ERROR: [DRC",
     False),
    ({"violations": ("NSTD-1#1",)}, "Design rule NSTD-1#1 is violated. There is no bitstream: ",
     False),
])
def test_flow_fails_unless_all_is_well(result, message, bitstream, folder):
    outcome, _ = build(folder, vivado.Result(**result))
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
    outcome, _ = build(folder, vivado.Result(setup=0, hold=0, pulse_width=0))
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
    outcome, _ = build(folder, vivado.Result(**result))
    assert message in outcome.error
    assert not (folder / "summary.json").exists()


@needs_vivado
@pytest.mark.parametrize(("report", "line"), [
    ("UTILISATION", "| DSPs"), ("UTILISATION", "| Block RAM Tile"),
    ("POWER", "| Total On-Chip Power (W)")])
def test_flow_refuses_reports_that_it_cannot_read(report, line, folder, monkeypatch):
    text = getattr(vivado.project.reports, report)
    monkeypatch.setattr(vivado.project.reports, report, text.replace(line, "| Other"))
    assert "this version of Vivado writes it differently" in build(folder)[0].error


# -- the stand-in is strict ------------------------------------------------------------------------

BOUND = "ps/maxihpm0_fpd_aclk accelerator/aclk reset/slowest_sync_clk control/aclk"
SEGMENT = "-offset 0x0 -range 2G \\\n        [get_bd_addr_segs ${segments}_LOW]"

CONTROL = "connect control ps/M_AXI_HPM0_FPD accelerator/s_axi"
DIRECT = ("connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] "
          "[get_bd_intf_pins accelerator/s_axi]")
INTERRUPT = '  (* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT" *)\n'

SEEDED = [
    ("build.tcl", "set_param general", "set_parm general", 'invalid command name "set_parm"'),
    ("build.tcl", "maxThreads", "maxThread", "There is no parameter general.maxThread"),
    ("build.tcl", "-jobs", "-job", "launch_runs: unknown option -job"),
    ("build.tcl", "file mkdir reports", "", "No such file or directory"),
    ("build.tcl", "puts \"heddle", "lmap x y {}; puts \"heddle", 'invalid command name "lmap"'),
    ("settings.tcl", "_high}", "_hihg}", "Run synth_1 has no property strategy, or it cannot be"),
    ("settings.tcl", "PostRoutePhysOpt}", "PostRoute}", "Run impl_1 has no property strategy"),
    ("settings.tcl", "ffvb1156", "ffvb1157", "must know the device xczu9eg-ffvb1157-2-e"),
    ("settings.tcl", "set top {heddle_tiny}", "set top {heddle}", "There is no file heddle.v"),
    ("settings.tcl", "set clock_mhz {250}", "set clock_mhz {290}",
     "must make a clock of 290 MHz, and the nearest is 300.0"),
    ("settings.tcl", "0xa0000000", "0x80000000", "must lie between 0xa0000000 and 0xb0000000"),
    ("settings.tcl", "0xa0000000", "0xa0001000", "must be a power of two from 4K on, and divide"),
    ("settings.tcl", "{64K}", "{64KB}", "'64KB' is no number of bytes"),
    ("settings.tcl", "memory_ports {1 3}", "memory_ports {1}",
     "/accelerator/m_axi_1 must have the memory in its address space"),
    ("settings.tcl", "memory_ports {1 3}", "memory_ports {1 1}",
     "Interface /ps/S_AXI_HP1_FPD is connected to /memory_0/M00_AXI already"),
    ("create.tcl", "create_project -force -part", "create_project -force -device",
     "create_project: unknown option -device"),
    ("create.tcl", "*:zcu102:*", "*:zcu104:*", "must have the board files of the ZCU102"),
    ("create.tcl", "set_property board_part [lindex $boards end] [current_project]", "",
     "The project has no board"),
    ("create.tcl", "update_compile_order -fileset sources_1\n\nsource", "source",
     "The compile order is not up to date"),
    ("create.tcl", "constrs_1", "constr_1", "There is no fileset constr_1"),
    ("create.tcl", "[get_files system.bd]", "system.bd", "is no object that has properties"),
    ("create.tcl", "synth_checkpoint_mode", "synth_checkpoint", "A file has no property"),
    ("create.tcl", "generate_target all", "generate_target every", "must be all"),
    ("create.tcl", "make_wrapper -import", "make_wrapper -imports", "unknown option -imports"),
    ("create.tcl", "set_property top system_wrapper [current_fileset]", "", "has no top"),
    ("create.tcl", "STEPS.POST_ROUTE_PHYS_OPT_DESIGN", "STEPS.POSTROUTE_PHYS_OPT_DESIGN",
     "Run impl_1 has no property STEPS.POSTROUTE_PHYS_OPT_DESIGN.IS_ENABLED"),
    ("block_design.tcl", "zynq_ultra_ps_e ps", "zynq_ultra_ps ps", "There is no IP xilinx.com:ip"),
    ("block_design.tcl", "apply_bd_automation", "list",
     "ps must have the preset of the board, or its memory does not work"),
    ("block_design.tcl", 'apply_board_preset "1"', 'preset "1"', "The rule has no parameters"),
    ("block_design.tcl", "__DATA_WIDTH 128", "__DATA_WIDHT 128",
     "ps has no parameter CONFIG.PSU__SAXIGP3__DATA_WIDHT"),
    ("block_design.tcl", "__DATA_WIDTH 128", "__DATA_WIDTH 256", "must be 32|64|128, not '256'"),
    ("block_design.tcl", "M_AXI_GP1 {0}", "M_AXI_GP1 {1}",
     "Pin /ps/maxihpm1_fpd_aclk must be driven"),
    ("block_design.tcl", "IRQ0 {1}", "IRQ0 {0}", "There is no pin ps/pl_ps_irq0"),
    ("block_design.tcl", "$port + 2}]\n", "$port + 1}]\n", "There is no interface ps/S_AXI_HP1"),
    ("block_design.tcl", "CONFIG.NUM_SI 1", "CONFIG.NUM_SI 2",
     "Interface /control/S01_AXI must be connected"),
    ("block_design.tcl", "CONFIG.NUM_SI 1", "NUM_SI 1", "control has no parameter NUM_SI"),
    ("block_design.tcl", BOUND, BOUND.replace("ps/maxihpm0_fpd_aclk", ""),
     "Pin /ps/maxihpm0_fpd_aclk must be driven"),
    ("block_design.tcl", BOUND, BOUND.replace("accelerator/aclk", ""),
     "Pin /accelerator/aclk must be driven"),
    ("block_design.tcl", "saxihp${port}_fpd_aclk", "saxihp${port}_aclk",
     "There is no pin ps/saxihp1_aclk"),
    ("block_design.tcl", "lappend interconnects memory_$number", "",
     "Pin /memory_0/aresetn must be driven"),
    ("block_design.tcl", "[get_bd_pins reset/peripheral_aresetn]",
     "[get_bd_pins reset/peripheral_reset]", "of one kind, not ['reset high', 'reset low']"),
    ("block_design.tcl", "[get_bd_pins reset/peripheral_aresetn]", "[get_bd_pins ps/pl_clk0]",
     "must be of one kind, not ['clock', 'reset low']"),
    ("block_design.tcl", "[get_bd_pins reset/ext_reset_in]",
     "[get_bd_pins reset/ext_reset_in] [get_bd_pins reset/interconnect_aresetn]",
     "drive the same net"),
    ("block_design.tcl", "connect_bd_net [get_bd_pins accelerator/interrupt]",
     "list [get_bd_pins accelerator/interrupt]", "Pin /accelerator/interrupt must be connected"),
    ("block_design.tcl", "[get_bd_intf_pins $master]", "$master", "An object must be a interface"),
    ("block_design.tcl", "$name/M00_AXI] [get_bd_intf_pins $slave]",
     "$name/M00_AXI] [get_bd_intf_pins $name/S00_AXI]", "connected to /ps/M_AXI_HPM0_FPD already"),
    ("block_design.tcl", CONTROL, DIRECT, "must have one protocol, not ['AXI4', 'AXI4LITE']"),
    ("block_design.tcl", CONTROL, "connect control accelerator/s_axi ps/M_AXI_HPM0_FPD",
     "one must be a master, and one a slave"),
    ("block_design.tcl", "accelerator/s_axi/reg0", "accelerator/s_axi/Reg",
     "There is no segment accelerator/s_axi/Reg"),
    ("block_design.tcl", "assign_bd_address -target_address_space [get_bd_addr_spaces ps/Data]",
     "list [get_bd_addr_spaces ps/Data]", "/accelerator/s_axi/reg0 must have an address"),
    ("block_design.tcl", SEGMENT, SEGMENT.replace("-range 2G", "-range 4G"),
     "must lie between 0x0 and 0x80000000"),
    ("block_design.tcl", SEGMENT, SEGMENT.replace("${segments}_LOW", "ps/SAXIGP3/HP1_DDR_LOW"),
     "cannot be reached from /accelerator/m_axi_1"),
    ("block_design.tcl", "    incr number\n}\n\nvalidate",
     f"assign_bd_address -target_address_space $space {SEGMENT}\nincr number\n}}\n\nvalidate",
     "must not overlap /ps/SAXIGP3/HP1_DDR_LOW"),
    ("block_design.tcl", "    assign_bd_address -target_address_space $space -offset 0x0",
     "    list $space -offset 0x0",
     "/accelerator/m_axi_0 must have the memory in its address space"),
    ("block_design.tcl", "validate_bd_design", "", "the block design must be valid"),
    ("synthesise.tcl", "\nrun synth_1", "", "synth_1 must be complete before impl_1"),
    ("implement.tcl", "run impl_1", "run impl_2", "There is no run impl_2"),
    ("implement.tcl", "open_run impl_1", "", "No implemented design is open"),
    ("implement.tcl", "report_utilization -file", "report_utilisation -file",
     'invalid command name "report_utilisation"'),
    ("implement.tcl", "-max_paths 10", "-paths 10", "unknown option -paths"),
    ("implement.tcl", "bitstream_checks", "bitstream", "There is no ruledeck bitstream"),
    ("write.tcl", "-to_step write_bitstream", "-to_step bitstream", "has no step bitstream"),
    ("write.tcl", "run impl_1 -to_step write_bitstream", "", "no such file"),
    ("write.tcl", "write_hw_platform -fixed", "write_hw_platform -fix", "unknown option -fix"),
    ("write.tcl", "write_hw_platform -fixed", "write_hw_platform a b -fixed",
     "write_hw_platform: operands must be file"),
    ("reports.tcl", "clk_pl_0", "pl_clk0", "There is no clock"),
    ("reports.tcl", "no_clock -return", "no_clocks -return", "check_timing knows no such check"),
    ("heddle_tiny.v", "XIL_INTERFACENAME aclk,", "XIL_INTERFACENAME aclk, FREQ_HZ 100000000,",
     "aclk of accelerator must not have a FREQ_HZ of its own"),
    ("heddle_tiny.v", "m_axi_1 RLAST", "m_axi_1 RLIST", "Interface m_axi_1 of accelerator must"),
    ("heddle_tiny.v", "m_axi_0 RREADY", "m_axi_1 RREADY", "Interface m_axi_0 of accelerator must"),
    ("heddle_tiny.v", "  output [31:0] m_axi_0_awaddr;", "  input [31:0] m_axi_0_awaddr;",
     "Port m_axi_0_awaddr of accelerator has the wrong direction"),
    ("heddle_tiny.v", "s_axi:m_axi_0:m_axi_1", "s_axi:m_axi_0",
     "Interface m_axi_1 of accelerator must have one clock"),
    ("heddle_tiny.v", "DATA_WIDTH 32, PROTOCOL AXI4,", "DATA_WIDTH 64, PROTOCOL AXI4,",
     "DATA_WIDTH of m_axi_0 must be that of m_axi_0_wdata, not 64"),
    ("heddle_tiny.v", INTERRUPT, "", "Port interrupt of accelerator must belong to an interface"),
    ("heddle_tiny.v", "ADDR_WIDTH 12", "ADDR_WIDTH 8", "ADDR_WIDTH of s_axi must be that of"),
    ("heddle_tiny.v", "POLARITY ACTIVE_LOW", "POLARITY ACTIVE_HIGH", "must be of one kind"),
]


@needs_vivado
@pytest.mark.parametrize(("file", "old", "new", "message"), SEEDED,
                         ids=[f"{n}-{file}" for n, (file, *_) in enumerate(SEEDED)])
def test_seeded_errors_are_found(file, old, new, message, folder):
    edit(folder / file, old, new)
    outcome, _ = build(folder)
    assert message in outcome.error


@needs_vivado
def test_registers_need_a_page(folder):
    edit(folder / "heddle_tiny.v", "ADDR_WIDTH 12", "ADDR_WIDTH 8")
    for channel in "aw", "ar":
        edit(folder / "heddle_tiny.v", f"input [11:0] s_axi_{channel}addr",
             f"input [7:0] s_axi_{channel}addr")
    assert "s_axi/reg0 must have 4K at least, not 256 bytes" in build(folder)[0].error


@needs_vivado
def test_the_upper_memory_needs_address_bits(folder):
    edit(folder / "settings.tcl", "address_bits {32}", "address_bits {40}")
    assert "HP1_DDR_HIGH must lie between 0x800000000 and 0x100000000" in build(folder)[0].error


# -- the folder ------------------------------------------------------------------------------------

def test_folder_is_complete_and_has_no_path(written, tmp_path, monkeypatch):
    assert {path.name for path in written["four"].iterdir()} == {
        "README.md", "bitfile.py", "heddle.xdc", "settings.tcl", "build.tcl", "create.tcl",
        "block_design.tcl", "synthesise.tcl", "implement.tcl", "write.tcl", "reports.tcl",
        *(f"heddle_tiny.{suffix}" for suffix in ("v", "h", "json", "dtso"))}
    hollow(monkeypatch)
    Zcu102().write(GEOMETRIES["four"], tmp_path, 250)
    for path in written["four"].iterdir():
        text = path.read_text()
        assert text == (tmp_path / path.name).read_text()
        assert not re.search(rf"{written['four']}|{sys.prefix}|{ROOT}", text)
    assert "$" not in (tmp_path / "README.md").read_text()


def test_every_port_says_what_it_is(written):
    """In particular those that carry the same constant."""
    text = (written["two"] / "heddle_tiny.v").read_text()
    ports = re.findall(r"\(\* X_INTERFACE_INFO = \"xilinx\.com:interface:aximm:1\.0 (\w+) (\w+)\" "
                       r"\*\)\n(?:  \(\*.*\*\)\n)?  (?:input|output) (?:\[.*\] )?(\w+);", text)
    assert len(ports) == 19 + 2 * 33
    assert all(port == f"{interface}_{role.lower()}" for interface, role, port in ports)


def test_overlay_has_what_the_runtime_opens(written):
    text = (written["four"] / "heddle_tiny.dtso").read_text()
    assert "$" not in text
    assert text.count("{") == text.count("}")
    for line in ('firmware-name = "heddle_tiny.bit.bin";', "heddle@a0000000 {",
                 "reg = <0x0 0xa0000000 0x0 0x10000>;", "interrupts = <0 89 4>;",
                 'device-name = "udmabuf-heddle";', "assigned-clock-rates = <250000000>;"):
        assert line in text
    ports = ", ".join(f"<{register} 0>" for register in range(4, 12))
    assert f"config-afi = {ports}, <14 0xa00>;" in text


def test_clock_has_a_limit(tmp_path):
    with pytest.raises(ValueError, match=r"Clock must be at most 333 MHz, .* not 400 MHz"):
        Zcu102().write(TINY, tmp_path, 400)


# -- the command -----------------------------------------------------------------------------------

@pytest.fixture
def with_vivado(tmp_path, monkeypatch):
    """Put the stand-in on PATH as vivado."""
    hollow(monkeypatch)
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
    for text in ("zcu102 (xczu9eg-ffvb1156-2-e)", f"tiny ({TINY.fingerprint:#010x})", "187.5 MHz",
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


def test_command_without_vivado_writes_the_folder(tmp_path, monkeypatch):
    hollow(monkeypatch)
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
