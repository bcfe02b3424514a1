"""Block RAMs as separable macros: one Verilog module a kind, without initial contents.

Amaranth writes every row of a memory into the Verilog, which for a scratchpad of megabytes would
be most of the text. These two modules are written by hand instead; an ASIC flow replaces them by
its own macros of the same name and ports. Pure-Python simulation uses an Amaranth memory with the
same timing.

What a port reads from a word in the cycle in which the other one writes it is undefined: block RAMs
differ in that, and ``no_rw_check`` tells Yosys that it need not care. In Verilator it is the
opposite of every bit, so that a test fails if a result ever depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .target import Target

__all__ = ["DualPortRam", "TwoPortRam"]

_TWO_PORT = """\
// Simple dual port block RAM: one write port, one read port with output register.
module heddle_ram_1r1w #(parameter WIDTH = 8, parameter DEPTH = 2, parameter ADDR = 1) (
    input  wire             clk,
    input  wire             write_en,
    input  wire [ADDR-1:0]  write_addr,
    input  wire [WIDTH-1:0] write_data,
    input  wire [ADDR-1:0]  read_addr,
    output reg  [WIDTH-1:0] read_data
);
    (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] mem [0:DEPTH-1];
    reg [WIDTH-1:0] read_q;
    always @(posedge clk) begin
        if (write_en) mem[write_addr] <= write_data;
        read_q <= mem[read_addr];
`ifdef VERILATOR
        if (write_en && write_addr == read_addr) read_q <= ~mem[read_addr];
`endif
        read_data <= read_q;
    end
endmodule
"""

_DUAL_PORT_PORTS = """\
// True dual port block RAM: port a reads; port b reads or writes; both have output registers.
module heddle_ram_1r1rw #(parameter WIDTH = 8, parameter DEPTH = 2, parameter ADDR = 1) (
    input  wire             clk,
    input  wire             a_en,
    input  wire [ADDR-1:0]  a_addr,
    output reg  [WIDTH-1:0] a_data,
    input  wire             b_en,
    input  wire             b_write,
    input  wire [ADDR-1:0]  b_addr,
    input  wire [WIDTH-1:0] b_write_data,
    output reg  [WIDTH-1:0] b_data
);
"""

_DUAL_PORT = _DUAL_PORT_PORTS + """\
    (* ram_style = "block", no_rw_check *) reg [WIDTH-1:0] mem [0:DEPTH-1];
    reg [WIDTH-1:0] a_q, b_q;
    always @(posedge clk) begin
        if (a_en) a_q <= mem[a_addr];
`ifdef VERILATOR
        if (a_en && b_en && b_write && a_addr == b_addr) a_q <= ~mem[a_addr];
`endif
        a_data <= a_q;
    end
    always @(posedge clk) begin
        if (b_en) begin
            if (b_write) mem[b_addr] <= b_write_data;
            else b_q <= mem[b_addr];
        end
        b_data <= b_q;
    end
endmodule
"""

_DUAL_PORT_SLICES = _DUAL_PORT_PORTS + """\
    // A block RAM of an ECP5 holds all words of a slice, so that no multiplexer follows.
    localparam SLICE = DEPTH > 8192 ? 1 : DEPTH > 1024 ? 16384 / DEPTH : 18;
    genvar first;
    generate for (first = 0; first < WIDTH; first = first + SLICE) begin : slice
        localparam BITS = WIDTH - first < SLICE ? WIDTH - first : SLICE;
        (* ram_style = "block", no_rw_check *) reg [BITS-1:0] mem [0:DEPTH-1];
        reg [BITS-1:0] a_q, b_q;
        always @(posedge clk) begin
            if (a_en) a_q <= mem[a_addr];
`ifdef VERILATOR
            if (a_en && b_en && b_write && a_addr == b_addr) a_q <= ~mem[a_addr];
`endif
            a_data[first +: BITS] <= a_q;
        end
        always @(posedge clk) begin
            if (b_en) begin
                if (b_write) mem[b_addr] <= b_write_data[first +: BITS];
                else b_q <= mem[b_addr];
            end
            b_data[first +: BITS] <= b_q;
        end
    end endgenerate
endmodule
"""


class _Ram(wiring.Component):
    module: str
    source: str
    sources: Mapping[str, str] = MappingProxyType({})
    """Instead of ``source``, by technology."""

    def __init__(self, width: int, depth: int, ports: dict[str, wiring.Member]):
        self.width = width
        self.depth = depth
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        if isinstance(platform, Target):
            ports = {("i_" if member.flow == In else "o_") + path[0]: value
                     for path, member, value in self.signature.flatten(self)}
            source = self.sources.get(platform.technology, self.source)
            m.submodules.ram = platform.macro(
                self.module, source, i_clk=ClockSignal(), p_WIDTH=self.width, p_DEPTH=self.depth,
                p_ADDR=(self.depth - 1).bit_length(), **ports)
        else:
            m.submodules.ram = ram = memory.Memory(shape=unsigned(self.width), depth=self.depth,
                                                   init=[])
            self._connect(m, ram)
        return m

    def _connect(self, m: Module, ram: memory.Memory) -> None:
        raise TypeError("A RAM must say how its ports meet the memory")


class TwoPortRam(_Ram):
    """Block RAM with one write port and one read port.

    ``read_data`` follows ``read_addr`` by two cycles (the array, then its output register). A word
    may be read from the cycle after its write on.

    Parameters
    ----------
    width : :class:`int`
        Bits of a word.
    depth : :class:`int`
        Words; a power of two.
    """

    module = "heddle_ram_1r1w"
    source = _TWO_PORT

    def __init__(self, width: int, depth: int):
        addr = (depth - 1).bit_length()
        super().__init__(width, depth, {
            "write_en":   In(1),
            "write_addr": In(addr),
            "write_data": In(width),
            "read_addr":  In(addr),
            "read_data":  Out(width),
        })

    def _connect(self, m: Module, ram: memory.Memory) -> None:
        write, read = ram.write_port(), ram.read_port()
        m.d.comb += [
            write.en.eq(self.write_en),
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            read.en.eq(1),
            read.addr.eq(self.read_addr),
        ]
        m.d.sync += self.read_data.eq(read.data)


class DualPortRam(_Ram):
    """Block RAM with a read port and a port that reads or writes.

    Data follow an enabled address by two cycles on both ports. A word may be read from the cycle
    after its write on; port a must not read a word in the cycle in which port b writes it.

    Parameters
    ----------
    width : :class:`int`
        Bits of a word.
    depth : :class:`int`
        Words; a power of two.
    """

    module = "heddle_ram_1r1rw"
    source = _DUAL_PORT
    sources = MappingProxyType({"ecp5": _DUAL_PORT_SLICES})

    def __init__(self, width: int, depth: int):
        addr = (depth - 1).bit_length()
        super().__init__(width, depth, {
            "a_en":         In(1),
            "a_addr":       In(addr),
            "a_data":       Out(width),
            "b_en":         In(1),
            "b_write":      In(1),
            "b_addr":       In(addr),
            "b_write_data": In(width),
            "b_data":       Out(width),
        })

    def _connect(self, m: Module, ram: memory.Memory) -> None:
        write, a, b = ram.write_port(), ram.read_port(), ram.read_port()
        m.d.comb += [
            write.en.eq(self.b_en & self.b_write),
            write.addr.eq(self.b_addr),
            write.data.eq(self.b_write_data),
            a.en.eq(self.a_en),
            a.addr.eq(self.a_addr),
            b.en.eq(self.b_en & ~self.b_write),
            b.addr.eq(self.b_addr),
        ]
        m.d.sync += [
            self.a_data.eq(a.data),
            self.b_data.eq(b.data),
        ]
