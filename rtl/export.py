"""Verilog and RTLIL of a whole design."""

from __future__ import annotations

import re

from amaranth import *
from amaranth.back.verilog import _convert_rtlil_text
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from .target import Target, flat_ports

__all__ = ["rtlil", "verilog", "verilog_parts"]

_NOTHING = re.compile(r"^(?:  wire width 0 .*|connect \S+ \{  \})\n", re.MULTILINE)
"""A signal of no bits, which Verilog would make one of two, and what it is connected to."""

_STARTER = re.compile(r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ ")
"""A register by which Yosys starts a combinational block; its name says where in Yosys."""


def _axi_clocked(component: wiring.Component) -> tuple[Module, dict]:
    aclk = Signal()
    aresetn = Signal()
    m = Module()
    m.domains.sync = ClockDomain()
    m.submodules.core = component
    m.d.comb += [
        ClockSignal().eq(aclk),
        ResetSignal().eq(~aresetn),
    ]
    return m, {
        "aclk":    (aclk, PortDirection.Input),
        "aresetn": (aresetn, PortDirection.Input),
        **flat_ports(component),
    }


def rtlil(component: wiring.Component, name: str, technology: str = "generic", *,
          axi_clock: bool = False) -> tuple[str, dict[str, str]]:
    """Return the RTLIL of a component and of all modules below it, shared modules first.

    The second result holds the Verilog sources of the hand-written modules, by name. Ports are
    named as :func:`~heddle.rtl.target.flat_ports` says, besides ``clk`` and ``rst`` (synchronous,
    active high). Equal designs give equal text.

    Parameters
    ----------
    component : :class:`~amaranth.lib.wiring.Component`
        The top of the design.
    name : str
        Name of the top module.
    technology : str
        One of :data:`~heddle.rtl.target.TECHNOLOGIES`.
    axi_clock : bool
        Wrap the top so that clock and reset are ``aclk`` and ``aresetn`` (active low), the names
        that block-design tools recognise.
    """
    target = Target(technology)
    if axi_clock:
        top = target.elaborate(*_axi_clocked(component), name)
    else:
        top = target.elaborate(component, flat_ports(component), name)
    shared = [module.rtlil.replace("attribute \\top 1\n", "") for module in target.modules.values()]
    return _NOTHING.sub("", "\n".join([*shared, top.rtlil])), target.macros


def verilog_parts(component: wiring.Component, name: str, technology: str = "generic", *,
                  axi_clock: bool = False) -> tuple[str, dict[str, str]]:
    """Return the Verilog of the generated modules, and the hand-written modules by name.

    The parameters are those of :func:`rtlil`.
    """
    text, macros = rtlil(component, name, technology, axi_clock=axi_clock)
    text = _convert_rtlil_text(text, strip_internal_attrs=True)
    return _STARTER.sub(r"\\$starter ", text), macros


def verilog(component: wiring.Component, name: str, technology: str = "generic", *,
            axi_clock: bool = False) -> str:
    """Return the Verilog of a component and all modules below it.

    The parameters are those of :func:`rtlil`.
    """
    text, macros = verilog_parts(component, name, technology, axi_clock=axi_clock)
    return "\n".join([*macros.values(), text])
