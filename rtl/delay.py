"""Delay lines."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import ValueLike

__all__ = ["delayed"]


def delayed(m: Module, value: ValueLike, cycles: int, *, name: str, reset_less: bool = True
            ) -> Value:
    """Return the bits of ``value`` as they were some cycles ago.

    The line is one shift register ``name``. Without reset, an FPGA keeps it in LUTs; pulses that
    start something take ``reset_less=False``.
    """
    bits = Value.cast(value)
    if cycles == 0:
        return bits
    line = Signal(cycles * len(bits), name=name, reset_less=reset_less)
    m.d.sync += line.eq(Cat(bits, line))
    return line[-len(bits):]
