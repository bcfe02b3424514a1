"""Wide 2:1 multiplexers: plain RTL, or two bits in a LUT."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import ValueCastable, ValueLike

from .target import technology

__all__ = ["choose"]


# I4 selects; below it there are for each bit what is chosen if that is 1, and what if it is 0. The
# lower half is for output O5, which gives bit 0, the upper one for O6.
_TABLE = sum((row >> 2 * bit + (row >> 4) & 1) << 32 * bit + row
             for row in range(32) for bit in range(2))


def choose(m: Module, platform, select: Value, one: ValueLike | ValueCastable,
           zero: ValueLike | ValueCastable, *, name: str) -> Value:
    """Return ``one`` if ``select`` is 1, otherwise ``zero``, as bits.

    In technology ``xilinx`` each LUT chooses two bits by its two outputs, which not every
    synthesis tool finds: so wide data paths take half the LUTs.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        The module that gets the LUTs.
    platform
        What the module is elaborated for.
    select : :class:`~amaranth.hdl.Value`
        One bit.
    one, zero
        Of the same width.
    name : :class:`str`
        Name of the LUTs.
    """
    one, zero = Value.cast(one), Value.cast(zero)
    if technology(platform) != "xilinx":
        return Mux(select, one, zero).as_unsigned()
    width = len(one) + len(one) % 2
    chosen = Signal(width, name=name)
    one, zero = (Cat(value, Const(0, width - len(value))) for value in (one, zero))
    for n in range(0, width, 2):
        m.submodules[f"{name}_{n}"] = Instance(
            "LUT6_2", p_INIT=Const(_TABLE, 64), i_I0=zero[n], i_I1=one[n], i_I2=zero[n + 1],
            i_I3=one[n + 1], i_I4=select, i_I5=Const(1, 1), o_O5=chosen[n], o_O6=chosen[n + 1])
    return chosen
