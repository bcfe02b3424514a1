# The block design: processors, accelerator, and what connects them.
#
#   ps/M_AXI_HPM0_FPD -> control -> accelerator/s_axi      registers
#   accelerator/m_axi_N -> memory_N -> ps/S_AXI_HPn_FPD    memory, n from memory_ports
#   accelerator/interrupt -> ps/pl_ps_irq0
#
# All of it runs on pl_clk0, a clock of the processors that Linux can change.

create_bd_design system

create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} \
    [get_bd_cells ps]

# The preset enables both masters and gives the oscillator as 33.330 MHz. HP port n is number n + 2
# of the slave ports in the names of parameters. All widths are those that the ports have after a
# reset, so that they are right even if nothing sets them when only the PL is loaded.
set configuration [list \
    CONFIG.PSU__PSS_REF_CLK__FREQMHZ {33.333333333} \
    CONFIG.PSU__FPGA_PL0_ENABLE {1} \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
    CONFIG.PSU__USE__IRQ0 {1} \
    CONFIG.PSU__USE__M_AXI_GP0 {1} \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH {128} \
    CONFIG.PSU__USE__M_AXI_GP1 {0} \
    CONFIG.PSU__USE__M_AXI_GP2 {0}]
foreach port $memory_ports {
    set number [expr {$port + 2}]
    lappend configuration CONFIG.PSU__USE__S_AXI_GP$number 1 \
        CONFIG.PSU__SAXIGP${number}__DATA_WIDTH 128
}
set_property -dict $configuration [get_bd_cells ps]
set made [get_property CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ [get_bd_cells ps]]
if {abs($made - $clock_mhz) > 0.01 * $clock_mhz} {
    error "The processors must make a clock of $clock_mhz MHz, and the nearest is $made MHz:\
        choose that, or another"
}

create_bd_cell -type module -reference $top accelerator

# Connect an AXI master to a slave through a SmartConnect of its own.
proc connect_through {name master slave} {
    set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name]
    set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1} $cell
    connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $name/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $slave]
}

set clocked {ps/maxihpm0_fpd_aclk accelerator/aclk reset/slowest_sync_clk control/aclk}
set interconnects control
connect_through control ps/M_AXI_HPM0_FPD accelerator/s_axi
set number 0
foreach port $memory_ports {
    connect_through memory_$number accelerator/m_axi_$number ps/S_AXI_HP${port}_FPD
    lappend clocked ps/saxihp${port}_fpd_aclk memory_$number/aclk
    lappend interconnects memory_$number
    incr number
}

create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
foreach pin $clocked {
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $pin]
}
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins accelerator/aresetn]
foreach cell $interconnects {
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins $cell/aresetn]
}
connect_bd_net [get_bd_pins accelerator/interrupt] [get_bd_pins ps/pl_ps_irq0]

assign_bd_address -target_address_space [get_bd_addr_spaces ps/Data] \
    -offset $control_address -range $control_range [get_bd_addr_segs accelerator/s_axi/reg0]

# The lower 2 GiB of the memory are at 0, the upper ones at 32 GiB, which takes 36 address bits.
set number 0
foreach port $memory_ports {
    set space [get_bd_addr_spaces accelerator/m_axi_$number]
    set segments ps/SAXIGP[expr {$port + 2}]/HP${port}_DDR
    assign_bd_address -target_address_space $space -offset 0x0 -range 2G \
        [get_bd_addr_segs ${segments}_LOW]
    if {$address_bits >= 36} {
        assign_bd_address -target_address_space $space -offset 0x800000000 -range 2G \
            [get_bd_addr_segs ${segments}_HIGH]
    }
    incr number
}

validate_bd_design
save_bd_design
