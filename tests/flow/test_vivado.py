"""The stand-in for Vivado is strict: errors in the scripts and in the Verilog are found."""

import pytest
import vivado

pytestmark = pytest.mark.skipif(vivado.missing() is not None, reason=vivado.missing() or "")


def edit(file, old, new):
    text = file.read_text()
    assert old in text, (file.name, old)
    file.write_text(text.replace(old, new))


BOUND = "ps/maxihpm0_fpd_aclk accelerator/aclk reset/slowest_sync_clk control/aclk"
SEGMENT = "-offset 0x0 -range 2G \\\n        [get_bd_addr_segs ${segments}_LOW]"

CONTROL = "connect_through control ps/M_AXI_HPM0_FPD accelerator/s_axi"
DIRECT = ("connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] "
          "[get_bd_intf_pins accelerator/s_axi]")
INTERRUPT = '  (* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT" *)\n'

SEEDED = [
    ("build.tcl", "set_param general", "set_parm general", 'invalid command name "set_parm"'),
    ("build.tcl", "maxThreads", "maxThread", "There is no parameter general.maxThread"),
    ("build.tcl", "-jobs", "-job", "launch_runs: unknown option -job"),
    ("build.tcl", "proc complete_run", "proc run", "proc run would replace a command of Vivado"),
    ("build.tcl", "file mkdir reports", "", "No such file or directory"),
    ("build.tcl", "puts \"heddle", "lmap x y {}; puts \"heddle", 'invalid command name "lmap"'),
    ("settings.tcl", "_high}", "_hihg}", "run:synth_1 has no property strategy, or it cannot be"),
    ("settings.tcl", "PostRoutePhysOpt}", "PostRoute}", "run:impl_1 has no property strategy"),
    ("settings.tcl", "ffvb1156", "ffvb1157", "must know the device xczu9eg-ffvb1157-2-e"),
    ("settings.tcl", "set top {heddle_tiny}", "set top {heddle}", "No file of the project has a"),
    ("settings.tcl", "heddle_ram.v", "ram.v", "There is no file ram.v, or it is of another kind"),
    ("settings.tcl", "heddle_ram.v", "heddle_tiny.v", "Module heddle_tiny must be defined once"),
    ("settings.tcl", "heddle_ram.v", "dsp48e2.v",
     "Module DSP48E2 must be defined once, or not if it is a primitive"),
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
    ("create.tcl", "synth_checkpoint_mode", "synth_checkpoint", "file:system.bd has no property"),
    ("create.tcl", "generate_target all", "generate_target every", "must be all"),
    ("create.tcl", "make_wrapper -import", "make_wrapper -imports", "unknown option -imports"),
    ("create.tcl", "set_property top system_wrapper [current_fileset]", "", "has no top"),
    ("create.tcl", "STEPS.POST_ROUTE_PHYS_OPT_DESIGN", "STEPS.POSTROUTE_PHYS_OPT_DESIGN",
     "run:impl_1 has no property STEPS.POSTROUTE_PHYS_OPT_DESIGN.IS_ENABLED"),
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
    ("block_design.tcl", CONTROL, "connect_through control accelerator/s_axi ps/M_AXI_HPM0_FPD",
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
    ("synthesise.tcl", "complete_run synth_1", "", "synth_1 must be complete before impl_1"),
    ("implement.tcl", "complete_run impl_1", "complete_run impl_2", "There is no run impl_2"),
    ("implement.tcl", "open_run impl_1", "", "No implemented design is open"),
    ("implement.tcl", "report_utilization -file", "report_utilisation -file",
     'invalid command name "report_utilisation"'),
    ("implement.tcl", "-max_paths 10", "-paths 10", "unknown option -paths"),
    ("implement.tcl", "bitstream_checks", "bitstream", "There is no ruledeck bitstream"),
    ("write.tcl", "-to_step write_bitstream", "-to_step bitstream", "has no step bitstream"),
    ("write.tcl", "complete_run impl_1 -to_step write_bitstream", "", "no such file"),
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
    ("heddle_tiny.v", "\nendmodule", "\n  heddle_ram a (b);\nendmodule",
     "Module heddle_ram must be defined in the files of the project"),
    ("heddle_tiny.v", "POLARITY ACTIVE_LOW", "POLARITY ACTIVE_HIGH", "must be of one kind"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), SEEDED,
                         ids=[f"{n}-{file}" for n, (file, *_) in enumerate(SEEDED)])
def test_seeded_errors_are_found(file, old, new, message, folder):
    edit(folder / file, old, new)
    outcome, _ = vivado.batch(folder)
    assert message in outcome.error


def test_registers_need_a_page(folder):
    edit(folder / "heddle_tiny.v", "ADDR_WIDTH 12", "ADDR_WIDTH 8")
    for channel in "aw", "ar":
        edit(folder / "heddle_tiny.v", f"input [11:0] s_axi_{channel}addr",
             f"input [7:0] s_axi_{channel}addr")
    assert "s_axi/reg0 must have 4K at least, not 256 bytes" in vivado.batch(folder)[0].error


def test_the_upper_memory_needs_address_bits(folder):
    edit(folder / "settings.tcl", "address_bits {32}", "address_bits {40}")
    outcome, _ = vivado.batch(folder)
    assert "HP1_DDR_HIGH must lie between 0x800000000 and 0x100000000" in outcome.error
