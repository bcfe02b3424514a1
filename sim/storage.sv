// One port of the DRAM image, which the simulation program holds (dram.cpp).
module heddle_dram #(parameter BYTES = 16) (
    input  logic               clk,
    input  logic               read_en,
    input  logic [63:0]        read_offset,
    output logic [8*BYTES-1:0] read_data,
    input  logic               write_en,
    input  logic [63:0]        write_offset,
    input  logic [8*BYTES-1:0] write_data,
    input  logic [BYTES-1:0]   write_strobe
);
    import "DPI-C" function void heddle_dram_read(
        input longint unsigned offset, input int bytes, output bit [8*BYTES-1:0] data);
    import "DPI-C" function void heddle_dram_write(
        input longint unsigned offset, input int bytes, input bit [8*BYTES-1:0] data,
        input bit [BYTES-1:0] strobe);

    bit [8*BYTES-1:0] data;
    always @(posedge clk) begin
        if (read_en) begin
            heddle_dram_read(read_offset, BYTES, data);
            read_data <= data;
        end
        if (write_en) heddle_dram_write(write_offset, BYTES, write_data, write_strobe);
    end
endmodule
