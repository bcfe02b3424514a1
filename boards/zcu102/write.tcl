# Stage write: nothing if the design is incomplete, else the bitstream, under another name if its
# timing fails.

if {![llength [current_design -quiet]]} {
    open_run impl_1
}
lassign [slacks] slack problems
lappend problems {*}[flaws]

set files {}
if {![llength $problems]} {
    # The hardware platform takes the bitstream from the run.
    set bitstream [get_property DIRECTORY [get_runs impl_1]]/system_wrapper.bit
    if {![file exists $bitstream]} {
        complete_run impl_1 -to_step write_bitstream
    }
    file copy -force $bitstream $top.bit
    write_hw_platform -fixed -include_bit -force $top.xsa
    validate_hw_platform $top.xsa
    set handoff [glob project/heddle.*/sources_1/bd/system/hw_handoff/system.hwh]
    file copy -force [lindex $handoff 0] $top.hwh
    set files [list $top.bit $top.xsa $top.hwh]
} elseif {![catch {write_bitstream -force ${top}_bad_timing.bit} reason]} {
    set files [list ${top}_bad_timing.bit]
} else {
    lappend problems "There is no bitstream: $reason."
}
write_summary $slack $problems $files
if {[llength $problems]} {
    error "The design must not be used: [join $problems { }]"
}
