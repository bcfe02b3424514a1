# What the reports of a routed design say, as values.

# Return what a regular expression finds in a report, which must have it.
proc find_line {report name pattern} {
    if {![regexp -line $pattern $report -> value]} {
        error "The report of $name must have a line as $pattern, and it has none: this version of\
            Vivado writes it differently"
    }
    return $value
}

# Return the worst slack of each kind of check by name, and the problems with them.
#
# The summary has one row of twelve numbers, four each for setup, hold and pulse width: worst slack,
# total, failing endpoints, all endpoints. Without any endpoint the slack is NA or inf.
# The properties of a run have no slack of pulse width.
proc slacks {} {
    set report [report_timing_summary -return_string]
    set number {(?:-?[0-9.]+|NA|inf)}
    set row [find_line $report timing "^\[ \t\]*(${number}(?:\[ \t\]+$number){11})\[ \t\]*$"]
    set slacks {}
    set problems {}
    foreach name {setup hold pulse_width} {worst total failing endpoints} $row {
        set check [string map {_ { }} $name]
        if {$worst in {NA inf} || $endpoints == 0} {
            lappend problems "No path is checked for $check."
            continue
        }
        lappend slacks $name $worst
        if {$worst < 0 || $failing > 0} {
            lappend problems "The worst slack of $check is $worst ns, and it is negative at\
                $failing of $endpoints endpoints."
        }
    }
    if {![llength $problems]
            && ![regexp {All user specified timing constraints are met} $report]} {
        lappend problems "The report of timing does not say that all constraints are met."
    }
    return [list $slacks $problems]
}

# Return what is wrong with the design apart from its slack, a sentence each.
proc flaws {} {
    set problems {}
    set report [check_timing -override_defaults no_clock -return_string]
    set unclocked {There are ([0-9]+) register/latch pins with no clock}
    find_line $report check_timing $unclocked
    foreach {sentence count} [regexp -all -inline $unclocked $report] {
        if {$count > 0} {
            lappend problems "$sentence."
        }
    }
    set report [report_route_status -return_string]
    set wrong [find_line $report route_status {# of nets with routing errors[ .]*:\s*([0-9]+)}]
    set wanted [find_line $report route_status {# of routable nets[ .]*:\s*([0-9]+)}]
    set routed [find_line $report route_status {# of fully routed nets[ .]*:\s*([0-9]+)}]
    if {$wrong > 0 || $routed < $wanted} {
        lappend problems "Of $wanted nets $routed are routed, and $wrong have errors."
    }
    report_drc -name heddle -ruledecks bitstream_checks
    foreach violation [get_drc_violations -quiet -name heddle -filter {SEVERITY == Error}] {
        lappend problems "Design rule $violation is violated."
    }
    return $problems
}

# Return how much of the device is used: name, used, available, and so on.
proc resources {} {
    set report [report_utilization -return_string]
    set resources {}
    foreach {name site} {
        LUT {CLB LUTs} FF {CLB Registers} BRAM36 {Block RAM Tile} DSP DSPs
    } {
        set cells [split [find_line $report utilization "^\\|\\s*$site\\*?\\s*\\|(.*)\\|\\s*$"] |]
        lappend resources $name [string trim [lindex $cells 0]] [string trim [lindex $cells end-1]]
    }
    return $resources
}

# Return a text as JSON.
proc json_text {text} {
    return "\"[string map {\\ \\\\ \" \\\" \n { } \t { }} $text]\""
}

# Return texts as a list in JSON.
proc json_texts {texts} {
    set items {}
    foreach item $texts {
        lappend items [json_text $item]
    }
    return "\[[join $items {, }]\]"
}

# Return names and values, which are JSON, as an object in JSON.
proc json_object {values {separator {, }}} {
    set items {}
    foreach {name value} $values {
        lappend items "[json_text $name]: $value"
    }
    return "{[join $items $separator]}"
}

# Write summary.json; heddle report reads it.
proc write_summary {slacks problems files} {
    global part geometry fingerprint
    set period [get_property PERIOD [get_clocks clk_pl_0]]
    set reached null
    if {[dict exists $slacks setup]} {
        set reached [format %.6f [expr {1000.0 / ($period - [dict get $slacks setup])}]]
    }
    set power [find_line [report_power -return_string] power \
        {^\|\s*Total On-Chip Power \(W\)\s*\|\s*([0-9.]+)\s*\|}]
    set resources {}
    foreach {name used available} [resources] {
        lappend resources $name [json_object [list used $used available $available]]
    }
    set file [open summary.json w]
    puts $file [json_object [list \
        board [json_text zcu102] \
        part [json_text $part] \
        geometry [json_text $geometry] \
        fingerprint $fingerprint \
        tool [json_text "Vivado [version -short]"] \
        clock_mhz [format %.6f [expr {1000.0 / $period}]] \
        clock_mhz_reached $reached \
        slack_ns [json_object $slacks] \
        resources [json_object $resources] \
        power_watt $power \
        problems [json_texts $problems] \
        files [json_texts $files]] ",\n"]
    close $file
}
