"""Plays vectors through a single component, in Verilator or in Amaranth's own simulator."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from ..rtl.export import verilog
from ..rtl.target import flat_ports
from .verilator import MODELS, build_program

__all__ = ["play_vectors"]

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
                 technology: str | None = None) -> list[dict[str, int]]:
    """Return what the outputs of a component show after each clock edge.

    Parameters
    ----------
    component : :class:`~amaranth.lib.wiring.Component`
        The component, with at least one register.
    vectors
        Inputs of each cycle, by flat port name and as unsigned numbers; those left out are 0.
    technology : :class:`str`, optional
        Technology to export the component for, to be simulated by Verilator; if there is none,
        Amaranth simulates it, which is slower but needs no build.
    """
    packed = _Packed(component)
    words = [_pack(vector, packed.inputs) for vector in vectors]
    if technology is None:
        played = _simulate(packed, words)
    else:
        text = verilog(packed, "vectors", technology)
        played = _run(build_program(text, "vectors", [_DRIVER, *MODELS[technology]]), packed, words)
    return [_unpack(word, packed.outputs) for word in played]


def _simulate(packed: _Packed, words: list[int]) -> list[int]:
    played = []

    async def bench(ctx):
        for word in words:
            ctx.set(packed.i, word)
            await ctx.tick()
            played.append(ctx.get(packed.o))

    simulator = Simulator(packed)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return played


def _run(program: Path, packed: _Packed, words: list[int]) -> list[int]:
    size = {name: -(-len(port) // 32) * 4 for name, port in (("i", packed.i), ("o", packed.o))}
    played = subprocess.run([program], check=True, stdout=subprocess.PIPE, input=b"".join(
        word.to_bytes(size["i"], "little") for word in words)).stdout
    return [int.from_bytes(played[n:n + size["o"]], "little")
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
