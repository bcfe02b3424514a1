"""Attributes by which Vivado's block designs know the ports of the accelerator.

See UG994, "Inferring Control Signals in an RTL Module". There is no frequency among them: a block
design takes that from the clock which it connects.
"""

from __future__ import annotations

import re

from ..rtl.accelerator import Accelerator

__all__ = ["annotate"]


def annotate(verilog: str, top: str, accelerator: Accelerator) -> str:
    """Return the Verilog of an accelerator with attributes on the ports of its top module.

    They are added to the text because Amaranth, which keeps attributes by value, gives those of one
    port to another if both are the same constant.
    """
    before, start, rest = verilog.partition(f"\nmodule {top}(")
    body, end, after = rest.partition("\nendmodule")
    attributes = _attributes(accelerator)

    def declaration(match: re.Match[str]) -> str:
        lines = [f'  (* {name} = "{text}" *)' for name, text in attributes[match["port"]].items()]
        return "\n".join([*lines, match[0]])

    body = re.sub(r"^  (?:input|output) (?:\[\d+:0\] )?(?P<port>\w+);$", declaration, body,
                  flags=re.MULTILINE)
    return "".join([before, start, body, end, after])


def _attributes(accelerator: Accelerator) -> dict[str, dict[str, str]]:
    """Return the attributes of all ports by name."""
    geometry = accelerator.geometry
    buses = {"s_axi": accelerator.s_axi} | {
        f"m_axi_{number}": port for number, port in enumerate(accelerator.m_axi)}
    memory = {"PROTOCOL": "AXI4", "ID_WIDTH": 1, "SUPPORTS_NARROW_BURST": 0,
              "MAX_BURST_LENGTH": geometry.burst_beats,
              "NUM_READ_OUTSTANDING": geometry.outstanding,
              "NUM_WRITE_OUTSTANDING": geometry.outstanding}
    attributes = {
        "aclk": _port("signal:clock", "aclk", "CLK", ASSOCIATED_BUSIF=":".join(buses),
                      ASSOCIATED_RESET="aresetn"),
        "aresetn": _port("signal:reset", "aresetn", "RST", POLARITY="ACTIVE_LOW"),
        "interrupt": _port("signal:interrupt", "interrupt", "INTERRUPT", SENSITIVITY="LEVEL_HIGH"),
    }
    for name, bus in buses.items():
        for member in bus.signature.members:
            attributes[f"{name}_{member}"] = _port("interface:aximm", name, member.upper())
        attributes[f"{name}_awaddr"] = _port(
            "interface:aximm", name, "AWADDR", ADDR_WIDTH=len(bus.awaddr),
            DATA_WIDTH=len(bus.wdata), **({"PROTOCOL": "AXI4LITE"} if name == "s_axi" else memory))
    return attributes


def _port(kind: str, name: str, role: str, **parameters: str | int) -> dict[str, str]:
    """Return the attributes of a port that plays a role in an interface."""
    attributes = {"X_INTERFACE_INFO": f"xilinx.com:{kind}:1.0 {name} {role}"}
    if parameters:
        attributes["X_INTERFACE_PARAMETER"] = ", ".join(
            [f"XIL_INTERFACENAME {name}", *(f"{key} {value}" for key, value in parameters.items())])
    return attributes
