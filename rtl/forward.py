"""Passes a part of an interface on to a component inside."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["forward"]


def forward(m: Module, signature: wiring.Signature, inner, outer) -> None:
    """Connect what ``signature`` names of an inner component to the same names of an outer one.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        The module that gets the connections.
    signature : :class:`~amaranth.lib.wiring.Signature`
        Members, seen from the inner component; both sides may have more.
    inner, outer
        The two sides.
    """
    for name, member in signature.members.items():
        inside, outside = getattr(inner, name), getattr(outer, name)
        m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
