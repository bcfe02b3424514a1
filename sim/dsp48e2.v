// Functional model of the DSP48E2 of UltraScale+ devices, written from its documented behaviour:
// operand registers, pre-adder, multiplier and 48-bit adder with cascades. Logic operations, SIMD,
// pattern detection, multi-word carries and inverted controls are not modelled.
module DSP48E2 #(
    parameter integer AREG = 1, ACASCREG = 1, BREG = 1, BCASCREG = 1, CREG = 1, DREG = 1, ADREG = 1,
    parameter integer MREG = 1, PREG = 1, INMODEREG = 1, OPMODEREG = 1, ALUMODEREG = 1,
    parameter integer CARRYINREG = 1, CARRYINSELREG = 1,
    parameter A_INPUT = "DIRECT", B_INPUT = "DIRECT", AMULTSEL = "A", BMULTSEL = "B",
    parameter PREADDINSEL = "A", USE_MULT = "MULTIPLY", USE_SIMD = "ONE48",
    parameter USE_WIDEXOR = "FALSE", XORSIMD = "XOR24_48_96", USE_PATTERN_DETECT = "NO_PATDET",
    parameter SEL_MASK = "MASK", SEL_PATTERN = "PATTERN", AUTORESET_PATDET = "NO_RESET",
    parameter AUTORESET_PRIORITY = "RESET",
    parameter [47:0] MASK = 48'h3fffffffffff, PATTERN = 0, RND = 0
) (
    input  wire                CLK,
    input  wire signed [29:0]  A, ACIN,
    input  wire signed [17:0]  B, BCIN,
    input  wire        [47:0]  C, PCIN,
    input  wire signed [26:0]  D,
    input  wire        [4:0]   INMODE,
    input  wire        [8:0]   OPMODE,
    input  wire        [3:0]   ALUMODE,
    input  wire        [2:0]   CARRYINSEL,
    input  wire                CARRYIN, CARRYCASCIN, MULTSIGNIN,
    input  wire                CEA1, CEA2, CEB1, CEB2, CEC, CED, CEAD, CEM, CEP,
    input  wire                CEINMODE, CECTRL, CEALUMODE, CECARRYIN,
    input  wire                RSTA, RSTB, RSTC, RSTD, RSTM, RSTP,
    input  wire                RSTINMODE, RSTCTRL, RSTALUMODE, RSTALLCARRYIN,
    output wire signed [29:0]  ACOUT,
    output wire signed [17:0]  BCOUT,
    output wire        [47:0]  P, PCOUT
);
    // Controls.
    wire [4:0] inmode;
    wire [8:0] opmode;
    wire [3:0] alumode;
    wire       carry;
    dsp48e2_register #(5, INMODEREG)  inmode_r  (CLK, CEINMODE, RSTINMODE, INMODE, inmode);
    dsp48e2_register #(9, OPMODEREG)  opmode_r  (CLK, CECTRL, RSTCTRL, OPMODE, opmode);
    dsp48e2_register #(4, ALUMODEREG) alumode_r (CLK, CEALUMODE, RSTALUMODE, ALUMODE, alumode);
    dsp48e2_register #(1, CARRYINREG) carry_r   (CLK, CECARRYIN, RSTALLCARRYIN, CARRYIN, carry);

    // Operands. The first of two registers of A and B may feed the multiplier; the cascade outputs
    // follow either.
    wire signed [29:0] a1, a2;
    wire signed [17:0] b1, b2;
    wire signed [26:0] d;
    wire        [47:0] c;
    dsp48e2_register #(30, AREG == 2) a1_r (CLK, CEA1, RSTA, A_INPUT == "CASCADE" ? ACIN : A, a1);
    dsp48e2_register #(30, AREG != 0) a2_r (CLK, CEA2, RSTA, a1, a2);
    dsp48e2_register #(18, BREG == 2) b1_r (CLK, CEB1, RSTB, B_INPUT == "CASCADE" ? BCIN : B, b1);
    dsp48e2_register #(18, BREG != 0) b2_r (CLK, CEB2, RSTB, b1, b2);
    dsp48e2_register #(48, CREG)      c_r  (CLK, CEC, RSTC, C, c);
    dsp48e2_register #(27, DREG)      d_r  (CLK, CED, RSTD, D, d);
    assign ACOUT = AREG == 2 && ACASCREG == 1 ? a1 : a2;
    assign BCOUT = BREG == 2 && BCASCREG == 1 ? b1 : b2;

    // Pre-adder: D ± A or D ± B, each term optional. What zeroes the term zeroes it for the
    // multiplier, too.
    wire off_a = inmode[1] && PREADDINSEL != "B", off_b = inmode[1] && PREADDINSEL == "B";
    wire signed [26:0] am = off_a ? 27'sd0 : AREG == 2 && inmode[0] ? a1[26:0] : a2[26:0];
    wire signed [17:0] bm = off_b ? 18'sd0 : BREG == 2 && inmode[4] ? b1 : b2;
    wire signed [26:0] term = PREADDINSEL == "B" ? bm : am;
    wire signed [26:0] base = inmode[2] ? d : 27'sd0;
    wire signed [26:0] ad;
    dsp48e2_register #(27, ADREG) ad_r (CLK, CEAD, RSTD, inmode[3] ? base - term : base + term, ad);

    // Multiplier.
    wire signed [26:0] x_operand = AMULTSEL == "AD" ? ad : am;
    wire signed [17:0] y_operand = BMULTSEL == "AD" ? ad[17:0] : bm;
    wire signed [44:0] product;
    dsp48e2_register #(45, MREG) m_r (CLK, CEM, RSTM, x_operand * y_operand, product);

    // Adder: Z ± (W + X + Y + carry). The product enters through X, with Y at 0. Only a register
    // of P can be fed back.
    wire [47:0] fed = PREG == 0 ? 48'd0 : P;
    wire [47:0] w = opmode[8:7] == 1 ? fed : opmode[8:7] == 2 ? RND : opmode[8:7] == 3 ? c : 48'd0;
    wire [47:0] x = opmode[1:0] == 1 ? {{3{product[44]}}, product} : opmode[1:0] == 2 ? fed :
                    opmode[1:0] == 3 ? {a2, b2} : 48'd0;
    wire [47:0] y = opmode[3:2] == 2 ? {48{1'b1}} : opmode[3:2] == 3 ? c : 48'd0;
    wire [47:0] z = opmode[6:4] == 1 ? PCIN : opmode[6:4] == 2 || opmode[6:4] == 4 ? fed :
                    opmode[6:4] == 3 ? c : opmode[6:4] == 5 ? {{17{PCIN[47]}}, PCIN[47:17]} :
                    opmode[6:4] == 6 ? {{17{fed[47]}}, fed[47:17]} : 48'd0;
    wire [47:0] sum = (alumode[0] ? ~z : z) + (w + x + y + {47'd0, carry});
    dsp48e2_register #(48, PREG) p_r (CLK, CEP, RSTP, alumode[1] ? ~sum : sum, P);
    assign PCOUT = P;
endmodule

// A register with enable and a reset that overrides it, or a wire.
module dsp48e2_register #(parameter integer WIDTH = 1, STAGES = 1) (
    input  wire             clk, enable, reset,
    input  wire [WIDTH-1:0] d,
    output wire [WIDTH-1:0] q
);
    generate
        if (STAGES == 0) assign q = d;
        else begin : stage
            reg [WIDTH-1:0] value = 0;
            always @(posedge clk)
                if (reset) value <= 0;
                else if (enable) value <= d;
            assign q = value;
        end
    endgenerate
endmodule

// Functional model of the LUT with two outputs.
module LUT6_2 #(parameter [63:0] INIT = 0) (
    input  wire I0, I1, I2, I3, I4, I5,
    output wire O5, O6
);
    assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
    assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule
