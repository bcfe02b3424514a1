"""Plays vectors through a single component in Verilator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.export import verilog
from ..rtl.target import flat_ports
from .verilator import build_program

__all__ = ["DSP48E2", "play_vectors"]

DSP48E2 = Path(__file__).with_name("dsp48e2.v")
"""Functional model of the primitive, which designs for technology ``xilinx`` need."""

_DRIVER = Path(__file__).with_name("vectors.cpp")


class _Packed(wiring.Component):
    """A component with all inputs in one port and all outputs in another, as wide as it takes."""

    def __init__(self, component: wiring.Component):
        self.component = component
        self.inputs, self.outputs = (
            {name: value for name, (value, flow) in flat_ports(component).items()
             if flow.value == direction} for direction in ("input", "output"))
        # Verilator's type of the ports differs up to 64 bits.
        super().__init__({name: flow(max(65, sum(map(len, values.values()))))
                          for name, flow, values in (("i", In, self.inputs),
                                                     ("o", Out, self.outputs))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.component = self.component
        m.d.comb += [
            Cat(self.inputs.values()).eq(self.i),
            self.o.eq(Cat(self.outputs.values())),
        ]

        return m


def play_vectors(component: wiring.Component, vectors: Iterable[Mapping[str, int]],
                 technology: str = "generic", sources: Sequence[Path] = ()
                 ) -> list[dict[str, int]]:
    """Return what the outputs of a component show after each clock edge.

    Parameters
    ----------
    component : :class:`~amaranth.lib.wiring.Component`
        The component, with at least one register.
    vectors
        Inputs of each cycle, by flat port name and as unsigned numbers; those left out are 0.
    technology : :class:`str`
        Technology to export the component for.
    sources
        Verilog files that the component needs.
    """
    packed = _Packed(component)
    program = build_program(verilog(packed, "vectors", technology), "vectors", [_DRIVER, *sources])
    size = {name: -(-len(port) // 32) * 4 for name, port in (("i", packed.i), ("o", packed.o))}
    played = subprocess.run([program], check=True, stdout=subprocess.PIPE, input=b"".join(
        _pack(vector, packed.inputs).to_bytes(size["i"], "little") for vector in vectors)).stdout
    return [_unpack(int.from_bytes(played[n:n + size["o"]], "little"), packed.outputs)
            for n in range(0, len(played), size["o"])]


def _pack(vector: Mapping[str, int], ports: Mapping[str, Value]) -> int:
    if unknown := set(vector) - set(ports):
        raise ValueError(f"The component has no input named {sorted(unknown)[0]!r}")
    packed = offset = 0
    for name, port in ports.items():
        packed |= (vector.get(name, 0) & (1 << len(port)) - 1) << offset
        offset += len(port)
    return packed


def _unpack(packed: int, ports: Mapping[str, Value]) -> dict[str, int]:
    values = {}
    for name, port in ports.items():
        values[name] = packed & (1 << len(port)) - 1
        packed >>= len(port)
    return values
