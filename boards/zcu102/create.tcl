# Stage create: a project with a block design of the processors and the accelerator.

if {![llength [get_parts -quiet $part]]} {
    error "This Vivado must know the device $part, and it does not: add Zynq UltraScale+ MPSoC\
        devices to the installation (the licence must cover the xczu9eg)"
}
create_project -force -part $part heddle project
set boards [get_board_parts -quiet -latest_file_version *:zcu102:*]
if {![llength $boards]} {
    error "This Vivado must have the board files of the ZCU102, and it has not: install the board\
        in the Vivado Store, or point the parameter board.repoPaths to them"
}
set_property board_part [lindex $boards end] [current_project]
set_property target_language Verilog [current_project]

add_files -norecurse $sources
add_files -fileset constrs_1 -norecurse heddle.xdc
update_compile_order -fileset sources_1

source block_design.tcl

# Everything is synthesised at once, so that one strategy holds for the accelerator too.
set design [get_files system.bd]
set_property synth_checkpoint_mode None $design
generate_target all $design
make_wrapper -import -fileset sources_1 -top -files $design
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

set_property strategy $synthesis_strategy [get_runs synth_1]
set_property strategy $implementation_strategy [get_runs impl_1]
set_property STEPS.POST_ROUTE_PHYS_OPT_DESIGN.IS_ENABLED true [get_runs impl_1]
