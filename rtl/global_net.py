"""Nets to thousands of registers: plain RTL, or on the network that an FPGA has for clocks."""

from __future__ import annotations

from amaranth import *

from .target import technology

__all__ = ["global_net"]


def global_net(m: Module, platform, value: Value, *, name: str) -> Value:
    """Return ``value`` in the same cycle, for very many registers to be reset or enabled by.

    In technology ``ecp5`` it passes a buffer of the clock network, which also reaches the resets
    and enables of all registers; place and route puts nothing but clocks there by itself. Other
    tools do so, or copy the net.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
        The module that gets the buffer.
    platform
        What the module is elaborated for.
    value : :class:`~amaranth.hdl.Value`
        One bit.
    name : :class:`str`
        Name of the buffer.
    """
    if technology(platform) != "ecp5":
        return value
    net = Signal(name=name)
    m.submodules[f"{name}_buffer"] = Instance("DCCA", i_CLKI=value, i_CE=Const(1, 1), o_CLKO=net)
    return net
