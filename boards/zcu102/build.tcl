# Builds the bitstream in the folder of this file:
#
#   vivado -mode batch -source build.tcl                        all of it
#   vivado -mode batch -source build.tcl -tclargs implement     from a stage on
#
# The stages are create, synthesise, implement and write. Each leaves its results in the project, so
# a build that was interrupted can go on at the stage in which it was. Vivado ends with a code other
# than 0 if anything fails, negative slack included.

cd [file dirname [file normalize [info script]]]
source settings.tcl
source reports.tcl

# Run a synthesis or an implementation of the project to its end.
proc complete_run {name args} {
    global jobs
    launch_runs $name -jobs $jobs {*}$args
    wait_on_run $name
    set run [get_runs $name]
    if {[get_property PROGRESS $run] ne "100%"} {
        error "Run $name must come to its end, and its state is \"[get_property STATUS $run]\";\
            [get_property DIRECTORY $run]/runme.log says why"
    }
}

set stages {create synthesise implement write}
set first [expr {[info exists argv] && [llength $argv] ? [lindex $argv 0] : "create"}]
if {$first ni $stages} {
    error "Stage must be one of [join $stages {, }], not $first"
}
set_param general.maxThreads $threads
file mkdir reports
file delete summary.json
if {$first ne "create"} {
    open_project project/heddle.xpr
}
foreach stage [lrange $stages [lsearch $stages $first] end] {
    puts "heddle: stage $stage"
    source $stage.tcl
}
