"""Delay lines for data paths."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import ValueCastable

__all__ = ["delay"]


def delay(m: Module, value: Value | ValueCastable, cycles: int = 1, *, name: str,
          reset_less: bool = True):
    """Return ``value`` of ``cycles`` cycles before.

    The registers have no reset, so that they fit shift registers and the registers of DSPs; a
    pulse that starts something needs one, lest it outlive a reset.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        The module that gets the registers.
    value
        What to delay; the result has the same shape.
    cycles : :class:`int`
        Number of registers, from 0 up.
    name : :class:`str`
        Name of the registers, to which their number is added.
    reset_less : :class:`bool`
        Whether the registers keep their value in a reset.
    """
    for n in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{n + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
