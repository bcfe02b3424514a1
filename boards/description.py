"""What a tool that takes over the Verilog must know of it, as JSON: ports, sizes, registers."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..rtl.accelerator import Accelerator
from ..rtl.geometry import Geometry
from ..rtl.registers import ADDRESS_BITS, REGISTERS
from ..rtl.target import flat_ports

__all__ = ["describe"]

_CHANNELS = {"ar": "read address", "aw": "write address", "r": "read data", "w": "write data",
             "b": "write response"}
"""The channels of AXI by the prefix of their signals; one of two letters goes before its first."""

_OWN = {
    "aclk": "Clock of everything, rising edge.",
    "aresetn": "Reset, active low, synchronous to aclk.",
    "interrupt": "A run has ended; active high, until software clears STATUS.interrupt.",
}


def describe(accelerator: Accelerator, top: str, technology: str, text: str,
             files: Mapping[str, str]) -> dict[str, Any]:
    """Return the description of an exported accelerator.

    Parameters
    ----------
    accelerator : :class:`~heddle.rtl.accelerator.Accelerator`
    top : str
        Name of the top module.
    technology : str
        What it was exported for.
    text : str
        Its Verilog.
    files : mapping of str to str
        What each file of the export is, by name.
    """
    geometry = accelerator.geometry
    return {
        "top": top,
        "generator": f"heddle {importlib.metadata.version('heddle')}",
        "technology": technology,
        "geometry": geometry.as_dict(),
        "fingerprint": geometry.fingerprint,
        "files": dict(files),
        "clock": {"port": "aclk", "edge": "rising", "mhz_assumed": geometry.clock_mhz_assumed},
        "reset": {"port": "aresetn", "active": "low", "synchronous": True},
        "interrupt": {"port": "interrupt", "active": "high", "sensitivity": "level"},
        "interfaces": list(_interfaces(geometry)),
        "ports": list(_ports(accelerator)),
        "memories": _memories(text),
        "registers": [{
            "name": register.name, "offset": register.offset, "description": register.doc,
            "fields": [{"name": field.name, "offset": field.offset, "width": field.width,
                        "access": field.access, "description": field.doc}
                       for field in register.fields],
        } for register in REGISTERS],
    }


def _interfaces(geometry: Geometry) -> Iterator[dict[str, str | int]]:
    yield {"name": "s_axi", "protocol": "AXI4-Lite", "role": "subordinate",
           "address_bits": ADDRESS_BITS, "data_bits": 32}
    for number in range(geometry.dma_ports):
        yield {"name": f"m_axi_{number}", "protocol": "AXI4", "role": "manager",
               "address_bits": geometry.address_bits, "data_bits": 8 * geometry.dma_bytes,
               "burst_beats": geometry.burst_beats, "outstanding": geometry.outstanding}


def _ports(accelerator: Accelerator) -> Iterator[dict[str, str | int]]:
    for name in ("aclk", "aresetn"):
        yield {"name": name, "direction": "input", "width": 1, "meaning": _OWN[name]}
    for name, (value, direction) in flat_ports(accelerator).items():
        yield {"name": name, "direction": direction.value, "width": len(value),
               "meaning": _OWN.get(name) or _meaning(name)}


def _meaning(port: str) -> str:
    """Say to which signal of which bus a port belongs."""
    bus, signal = port.rsplit("_", 1)
    channel = next(channel for prefix, channel in _CHANNELS.items() if signal.startswith(prefix))
    return f"{signal.upper()} of {bus}, {channel} channel."


def _memories(text: str) -> list[dict[str, str | int]]:
    """Return which sizes of which memory macros occur in the Verilog."""
    found = re.findall(r"^  (heddle_ram_\w+) #\(\s*\.ADDR\(32'd(\d+)\),\s*\.DEPTH\(32'd(\d+)\),"
                       r"\s*\.WIDTH\(32'd(\d+)\)\s*\)", text, re.MULTILINE)
    return [{"module": module, "depth": int(depth), "width": int(width)}
            for module, _, depth, width in sorted(set(found))]
