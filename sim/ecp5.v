// Functional models of the primitives of the ECP5 that designs for technology ecp5 use.

// Buffer of the clock network. A clock that is off stays low.
module DCCA (
    input  wire CLKI, CE,
    output wire CLKO
);
    assign CLKO = CLKI & CE;
endmodule
