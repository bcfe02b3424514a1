"""A multiplication with an addition: plain RTL, or one DSP48E2 with all registers on the way."""

from __future__ import annotations

from amaranth import *

from .delay import delay
from .dsp48e2 import CONTROLS, PARAMETERS
from .target import technology

__all__ = ["multiply_add"]


def multiply_add(m: Module, platform, a: Value, b: Value, c: Value | int = 0, *,
                 keep: Value | None = None, width: int, name: str, operands: int = 1,
                 addend: int = 1) -> Value:
    """Return ``a·b + c``, signed and modulo 2^48.

    The operands pass ``operands`` registers, the product and the result one each, and ``c`` has
    ``addend`` registers before the one of the result: with both, operands go three cycles before
    the result and ``c`` two. None of the registers has a reset.

    In technology ``xilinx`` this is one DSP48E2. Synthesis tools differ in which registers and
    additions they find a place for in a DSP; here that is certain.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        The module that gets registers or DSP.
    platform
        What the module is elaborated for.
    a, b : :class:`~amaranth.hdl.Value`
        Signed, of at most 27 and 18 bits.
    c : :class:`~amaranth.hdl.Value` or :class:`int`
        Signed, of at most 48 bits.
    keep : :class:`~amaranth.hdl.Value`, optional
        Instead of ``c``, add the result of the cycle before, if this bit is 1 in that cycle.
    width : :class:`int`
        Bits of the result.
    name : :class:`str`
        Name of the registers or of the DSP.
    operands, addend : :class:`int`
        0 or 1.

    Raises
    ------
    ValueError
        If an operand is wider than a DSP takes.
    """
    for operand, widest in ((a, 27), (b, 18), (Value.cast(c), 48)):
        if len(operand) > widest:
            raise ValueError(f"Operands of {name} must be at most 27, 18 and 48 bits wide, not "
                             f"{len(a)}, {len(b)} and {len(Value.cast(c))}")
    wide_c = Signal(signed(48), name=f"{name}_c")
    m.d.comb += wide_c.eq(c)
    if technology(platform) == "xilinx":
        return _dsp(m, a, b, wide_c, keep, width, name, operands, addend)
    factors = [delay(m, operand, operands, name=f"{name}_{which}")
               for which, operand in (("a", a), ("b", b))]
    product = delay(m, factors[0] * factors[1], name=f"{name}_product")
    total = Signal(signed(width), name=name, reset_less=True)
    added = Mux(keep, total, 0) if keep is not None else delay(m, wide_c, addend, name=f"{name}_c")
    m.d.sync += total.eq(product + added)
    return total


def _dsp(m: Module, a: Value, b: Value, c: Value, keep: Value | None, width: int, name: str,
         operands: int, addend: int) -> Value:
    wide_a, wide_b = Signal(signed(30), name=f"{name}_a"), Signal(signed(18), name=f"{name}_b")
    result = Signal(signed(48), name=name)
    m.d.comb += [wide_a.eq(a), wide_b.eq(b)]
    product = Const(0b0101, 4)  # X and Y
    # Z: C, or P, or 0.
    addition = Const(0b011, 3) if keep is None else Cat(Const(0, 1), keep, Const(0, 1))
    ports = CONTROLS | {"A": wide_a, "B": wide_b, "C": c, "D": Const(0, 27), "PCIN": Const(0, 48),
                        "INMODE": Const(0, 5), "OPMODE": Cat(product, addition, Const(0, 2)),
                        "CLK": ClockSignal()}
    parameters = PARAMETERS | {"AREG": operands, "ACASCREG": operands, "BREG": operands,
                               "BCASCREG": operands, "CREG": addend, "AMULTSEL": "A"}
    m.submodules[name] = Instance(
        "DSP48E2", o_P=result, **{f"p_{name}": value for name, value in parameters.items()},
        **{f"i_{name}": value for name, value in ports.items()})
    return result[:width].as_signed()
