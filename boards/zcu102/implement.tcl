# Stage implement: placement, routing and physical optimisation after both, then the reports.

reset_run impl_1
complete_run impl_1
open_run impl_1

report_timing_summary -max_paths 10 -report_unconstrained -file reports/timing.txt
report_utilization -file reports/utilisation.txt
report_utilization -hierarchical -file reports/hierarchy.txt
report_power -file reports/power.txt
report_clocks -file reports/clocks.txt
report_clock_utilization -file reports/clock_utilisation.txt
report_route_status -file reports/route.txt
report_drc -ruledecks bitstream_checks -file reports/drc.txt
report_methodology -file reports/methodology.txt
