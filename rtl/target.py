"""What a design is generated for, and the modules that it shares between equal components."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["TECHNOLOGIES", "ElaboratedModule", "Target", "flat_ports", "place", "technology"]

TECHNOLOGIES = ("generic", "xilinx", "ecp5")
"""Plain RTL for any tool, or explicit primitives of UltraScale+ or ECP5 where they are worth it."""


def flat_ports(component: wiring.Component) -> dict[str, tuple[Value, PortDirection]]:
    """Return the ports of a component by name, the parts of each path joined by ``_``.

    An AXI interface ``m_axi`` whose members have AMBA names so gets its usual port names.
    """
    directions = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}
    return {"_".join(map(str, path)): (Value.cast(value), directions[member.flow])
            for path, member, value in component.signature.flatten(component)}


@dataclass(frozen=True)
class ElaboratedModule:
    """A module in its final form."""

    elaboratable: Elaboratable
    """What it was elaborated from; of a shared module the first component that was placed."""
    ports: frozenset[str]
    """Names of all ports, ``clk`` and ``rst`` among them if the module has registers."""
    rtlil: str
    """The module and its own submodules as RTLIL."""


class Target:
    """The platform that components are elaborated for when they become Verilog.

    Attributes
    ----------
    modules : dict of :class:`ElaboratedModule`
        The shared modules that :func:`place` has met so far, by name. A module comes after those
        that it uses itself.
    macros : dict of str
        Verilog sources of the hand-written modules in use, by name.

    Parameters
    ----------
    technology : str
        One of :data:`TECHNOLOGIES`.

    Raises
    ------
    ValueError
        If there is no such technology.
    """

    def __init__(self, technology: str = "generic"):
        if technology not in TECHNOLOGIES:
            raise ValueError(f"Technology must be one of {', '.join(TECHNOLOGIES)}, "
                             f"not {technology!r}")
        self.technology = technology
        self.modules: dict[str, ElaboratedModule] = {}
        self.macros: dict[str, str] = {}

    def elaborate(self, elaboratable: Elaboratable, ports: dict[str, tuple[Value, PortDirection]],
                  name: str) -> ElaboratedModule:
        """Elaborate a module of its own, with these ports and those that its clock domains need."""
        design = Fragment.get(elaboratable, self).prepare(ports, hierarchy=(name,))
        text, _ = rtlil.convert_fragment(design, emit_src=False)
        return ElaboratedModule(elaboratable, frozenset(port for port, _, _ in design.ports), text)

    def macro(self, name: str, source: str, **ports: object) -> Instance:
        """Return an instance of a module that is written by hand, and keep its source."""
        self.macros[name] = source
        return Instance(name, **ports)

    def instance(self, component: wiring.Component) -> Instance:
        """Return an instance of the module that stands for this component and all equal ones."""
        name = component.module_name
        if name not in self.modules:
            self.modules[name] = self.elaborate(component, flat_ports(component), name)
        module = self.modules[name]
        first = module.elaboratable
        if type(first) is not type(component) or first.signature != component.signature:
            raise ValueError(f"Module name {name!r} stands for {first!r}, so not for "
                             f"{component!r}, which differs")
        component._MustUse__used = True  # the module was elaborated in its place
        ports = [("i" if direction is PortDirection.Input else "o", port, value)
                 for port, (value, direction) in flat_ports(component).items()]
        for port, signal in ("clk", ClockSignal()), ("rst", ResetSignal()):
            if port in module.ports:
                ports.append(("i", port, signal))
        return Instance(name, *ports)


def place(component: wiring.Component, platform) -> Elaboratable | Fragment:
    """Return what a parent adds to its submodules in order to use ``component``.

    That is the component itself, except for a :class:`Target`: there it is an instance of a module
    that all equal components share, so that each distinct one is elaborated and written once. The
    parent connects the interface of the component in both cases.

    A component can be shared if it has a property ``module_name``, which names its class and all
    its parameters, and uses no clock domain but ``sync``. ``ResetInserter`` and ``EnableInserter``
    do not reach into a shared module.

    Raises
    ------
    ValueError
        If components with different classes or signatures have the same module name.
    """
    return platform.instance(component) if isinstance(platform, Target) else component


def technology(platform) -> str:
    """Return the technology to elaborate for; ``generic`` on any platform but a :class:`Target`."""
    return platform.technology if isinstance(platform, Target) else "generic"
