# The accelerator has no pins: it talks to the processors alone, whose IP brings the constraint of
# the clock pl_clk0. Smaller bitstreams load faster.
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
