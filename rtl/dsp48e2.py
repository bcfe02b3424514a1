"""A cascade of multipliers for two lanes: plain RTL, or one DSP48E2 for each two products."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .delay import delay
from .target import technology

__all__ = ["CONTROLS", "PARAMETERS", "Cascade"]

_FIELD = 18
"""Bits between the two lanes in the packed operand, and so of the lower sum."""

PARAMETERS = {
    # Every register on the way of the operands: A and D, the pre-adder, the product, the sum. The
    # second B register matches the weight to the pre-adder.
    "AREG": 1, "ACASCREG": 1, "DREG": 1, "ADREG": 1, "BREG": 2, "BCASCREG": 2, "CREG": 1,
    "MREG": 1, "PREG": 1,
    # The controls are constants.
    "INMODEREG": 0, "OPMODEREG": 0, "ALUMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0,
    "A_INPUT": "DIRECT", "B_INPUT": "DIRECT", "AMULTSEL": "AD", "BMULTSEL": "B",
    "PREADDINSEL": "A", "USE_MULT": "MULTIPLY", "USE_SIMD": "ONE48", "USE_WIDEXOR": "FALSE",
    "XORSIMD": "XOR24_48_96", "USE_PATTERN_DETECT": "NO_PATDET", "SEL_MASK": "MASK",
    "SEL_PATTERN": "PATTERN", "AUTORESET_PATDET": "NO_RESET", "AUTORESET_PRIORITY": "RESET",
    "MASK": Const((1 << 46) - 1, 48), "PATTERN": Const(0, 48), "RND": Const(0, 48),
}
"""Parameters of a DSP48E2 in the cascade."""

CONTROLS = {
    "INMODE": Const(0b00100, 5),       # multiply by D + A
    "ALUMODE": Const(0b0000, 4),       # Z + product
    "CARRYINSEL": Const(0, 3), "CARRYIN": Const(0, 1),
    "CEA1": Const(0, 1), "CEA2": Const(1, 1), "CEB1": Const(1, 1), "CEB2": Const(1, 1),
    "CEC": Const(1, 1), "CED": Const(1, 1), "CEAD": Const(1, 1), "CEM": Const(1, 1),
    "CEP": Const(1, 1), "CECTRL": Const(0, 1), "CEALUMODE": Const(0, 1), "CEINMODE": Const(0, 1),
    "CECARRYIN": Const(0, 1),
    **{f"RST{register}": Const(0, 1) for register in (
        "A", "B", "C", "D", "M", "P", "CTRL", "ALUMODE", "INMODE", "ALLCARRYIN")},
    "ACIN": Const(0, 30), "BCIN": Const(0, 18), "CARRYCASCIN": Const(0, 1),
    "MULTSIGNIN": Const(0, 1),
}
"""Its inputs that do not carry data: registers always enabled, never reset."""

_Z_PCIN = Const(0b00_001_01_01, 9)
_Z_C = Const(0b00_011_01_01, 9)


def _int8(value: Value) -> list[Value]:
    return [value.word_select(n, 8).as_signed() for n in range(len(value) // 8)]


def _extend(value: Value, width: int) -> Value:
    return Cat(value, value[-1].replicate(width - len(value)))


class Cascade(wiring.Component):
    """Sums of ``depth`` products for two lanes with common weights, every cycle.

    The operands of product ``k`` come ``k`` cycles after those of product 0, and the sums
    ``depth + 3`` cycles after those of product 0. All operands leave again one cycle later, for
    the neighbours. No weight is -128: so the sum of 8 products fits the 18 bits that the lower lane
    has in a packed product.

    In technology ``xilinx`` one DSP48E2 multiplies ``x1·2^18 + x0`` by the weight of both lanes,
    and ``depth`` of them are chained in a column. Otherwise each product is a multiplication of its
    own.

    Parameters
    ----------
    depth : :class:`int`
        Products a sum, 1 to 8.

    Members
    -------
    a : :py:`In(8 * depth)`
        Weights: byte ``k``.
    b : :py:`In(16 * depth)`
        Activations: byte ``2 * k + lane``.
    next_a, next_b : Out
        ``a`` and ``b`` of the cycle before.
    sums : :py:`Out(signed(18)).array(2)`
        Sum of each lane.

    Raises
    ------
    ValueError
        If ``depth`` is out of range.
    """

    def __init__(self, depth: int):
        if not 1 <= depth <= 8:
            raise ValueError(f"Cascade depth must be between 1 and 8, not {depth}: the lower lane "
                             f"of a packed product has {_FIELD} bits")
        self.depth = depth
        super().__init__({
            "a":      In(8 * depth),
            "b":      In(16 * depth),
            "next_a": Out(8 * depth),
            "next_b": Out(16 * depth),
            "sums":   Out(signed(_FIELD)).array(2),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        a, b = delay(m, self.a, name="a"), delay(m, self.b, name="b")
        m.d.comb += [self.next_a.eq(a), self.next_b.eq(b)]
        if technology(platform) == "xilinx":
            sums = self._packed(m, _int8(self.a), _int8(self.b))
        else:
            sums = self._plain(m, _int8(a), _int8(b))
        m.d.comb += [port.eq(value) for port, value in zip(self.sums, sums, strict=True)]
        return m

    def _plain(self, m: Module, a: list[Value], b: list[Value]) -> list[Value]:
        sums = []
        for lane in range(2):
            total: Value = Const(0)
            for k in range(self.depth):
                product = delay(m, a[k] * b[2 * k + lane], name=f"product_{lane}_{k}")
                partial = Signal(signed(_FIELD), name=f"partial_{lane}_{k}", reset_less=True)
                m.d.sync += partial.eq(total + product)
                total = partial
            # One cycle more, which the DSP48E2 needs for its pre-adder.
            sums.append(delay(m, total, name=f"sum_{lane}"))
        return sums

    def _packed(self, m: Module, a: list[Value], b: list[Value]) -> list[Value]:
        # The first DSP starts from half the range of the lower field, so that this never borrows
        # from the upper one: the upper sum is right as it is, the lower one without its sign bit.
        half = Const(1 << _FIELD - 1, 48)
        cascade: Value = Const(0, 48)
        for k in range(self.depth):
            total, next_cascade = Signal(48, name=f"p_{k}"), Signal(48, name=f"pcout_{k}")
            ports = {
                "A": Cat(Const(0, _FIELD), _extend(b[2 * k + 1], 30 - _FIELD)),
                "D": _extend(b[2 * k], 27),
                "B": _extend(a[k], 18),
                "C": Const(0, 48) if k else half,
                "PCIN": cascade,
                "OPMODE": _Z_PCIN if k else _Z_C,
                "CLK": ClockSignal(),
                **CONTROLS,
            }
            m.submodules[f"dsp_{k}"] = Instance(
                "DSP48E2", o_P=total, o_PCOUT=next_cascade,
                **{f"p_{name}": value for name, value in PARAMETERS.items()},
                **{f"i_{name}": value for name, value in ports.items()})
            cascade = next_cascade
        return [Cat(total[:_FIELD - 1], ~total[_FIELD - 1]), total[_FIELD:2 * _FIELD]]
