"""LUT levels between registers: a static analysis of the netlist that Yosys maps.

A module is analysed once, however often it is used: to those that use it it is one more primitive,
whose outputs begin so many levels after a register, whose inputs have so many levels to go to one,
and which some paths cross. `docs/synthesis.md` says what counts as a level, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["ADDER", "CHAIN", "DSP", "RAM", "Levels", "Path", "Pin", "Timing"]

CHAIN = 8
"""CARRY4, of 4 bits each, in a level of a carry chain."""

DSP = 4
"""Levels of a multiplier without registers."""

ADDER = 2
"""Levels of the adder of a DSP, from an input without register."""

RAM = 2
"""Levels until a block RAM without output register has read."""

Pin = tuple[str, int]
"""A bit of a port."""

_REGISTERS = ("FDRE", "FDSE", "FDCE", "FDPE")
_CLOCKS = ("CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK")


class Path(NamedTuple):
    """A path, as its last place."""

    level: float
    """Levels so far; within a carry chain a fraction."""
    place: str
    """Name of the register, or of the instance and what it drives."""
    before: Path | None = None
    """The path up to here; none at the start."""
    inside: Path | None = None
    """If the place is an instance of a module, the path in this module."""

    def places(self, prefix: str = "") -> Iterator[str]:
        """Yield the places from the start on, with those inside modules."""
        if self.before is not None:
            yield from self.before.places(prefix)
        if self.inside is None:
            yield prefix + self.place
        else:
            yield from self.inside.places(f"{prefix}{self.place}.")

    def end(self, prefix: str = "") -> str:
        """Return the last place, with the instances around it."""
        if self.inside is None:
            return prefix + self.place
        return self.inside.end(f"{prefix}{self.place}.")

    def extended(self, levels: float, place: str, inside: Path | None = None) -> Path:
        """Return the path with one more place, outside of any carry chain."""
        return Path(math.ceil(self.level) + levels, place, self, inside)


@dataclass(frozen=True)
class Timing:
    """What those that use a module see of it, and the longest paths within."""

    starts: dict[Pin, Path]
    """For outputs: the longest path that comes from a register."""
    ends: dict[Pin, Path]
    """For inputs: the longest path that goes to a register."""
    through: dict[Pin, dict[Pin, Path]]
    """For outputs: for inputs with a path to them the longest one."""
    longest: dict[str, Path]
    """For registers and instances, by name: the longest path from a register that ends there."""


Arrivals = dict[Pin | None, Path]
"""The longest paths to a net: of those from registers, and of those from each input."""


def _arcs(kind: str, pin: str, index: int, parameters: Mapping[str, str]
          ) -> tuple[float | None, Callable[[str, int], float | None]]:
    """Return how an output of a primitive comes about.

    That is the level at which it starts from a clock, if it does, and the levels from an input.
    """
    if kind.startswith("LUT") or kind == "INV":
        return None, lambda name, n: float(kind != "INV")
    if kind.startswith("MUXF"):
        # In the slice of the LUTs that it chooses from; only the choice comes from afar.
        return None, lambda name, n: float(name == "S")
    if kind == "CARRY4":
        return None, lambda name, n: 1 / CHAIN if n <= index else None
    if kind in _REGISTERS:
        return 0, lambda name, n: None
    if kind.startswith("SRL"):
        return 1, lambda name, n: 1 if name.startswith("A") else None
    if kind.startswith("RAMB"):
        registered = int(parameters[f"DO{'A' if 'DOUTA' in pin or 'PA' in pin else 'B'}_REG"], 2)
        return 0 if registered else RAM, lambda name, n: None
    if kind.startswith("RAM"):
        address = {"DPO": "DPRA", "SPO": "A"}.get(pin, pin.replace("DO", "ADDR"))
        return 1, lambda name, n: 1 if name.rstrip("0123456789") == address else None
    if kind == "DSP48E2":
        if int(parameters["PREG"], 2):
            return 0, lambda name, n: None
        return None, lambda name, n: DSP
    if kind in ("GND", "VCC"):
        return None, lambda name, n: None
    raise RuntimeError(f"Each primitive must be one whose levels are known, and {kind} is not")


def _rest(kind: str, pin: str, parameters: Mapping[str, str]) -> float | None:
    """Return the levels from an input of a primitive to a register in it, if it has one."""
    if pin in _CLOCKS or (kind in _REGISTERS and pin == "C"):
        return None
    if kind in _REGISTERS or kind.startswith(("SRL", "RAM")):
        return 0
    if kind == "DSP48E2" and int(parameters["PREG"], 2):
        if pin in ("A", "B"):
            return 0 if int(parameters[f"{pin}REG"], 2) else DSP
        # Beyond the multiplier there is only the adder of 48 bits.
        return 0 if pin == "PCIN" or int(parameters.get(f"{pin}REG", "0"), 2) else ADDER
    return None


class Levels:
    """The analysis of a netlist.

    Parameters
    ----------
    modules : mapping
        Modules of the netlist, as Yosys writes them in JSON; those without contents are primitives.
    """

    def __init__(self, modules: Mapping[str, Any]):
        self._modules = modules
        self._timings: dict[str, Timing] = {}

    def timing(self, name: str) -> Timing:
        """Return the timing of a module.

        Raises
        ------
        RuntimeError
            If a primitive is not known, or a path of logic leads back to its own beginning.
        """
        if name not in self._timings:
            self._timings[name] = _Module(self, self._modules[name]).timing()
        return self._timings[name]

    def known(self, kind: str) -> bool:
        """Return whether a cell is an instance of a module."""
        return kind in self._modules


class _Module:
    def __init__(self, levels: Levels, module: Mapping[str, Any]):
        self._levels = levels
        self._ports = module["ports"]
        self._cells = module["cells"]
        self._names = dict(self._name_nets(module["netnames"]))
        self._arrivals: dict[int, Arrivals] = {}
        self._drivers = {bit: (name, pin, n) for name, cell in self._cells.items()
                         for pin, bits in cell["connections"].items()
                         if cell["port_directions"][pin] == "output"
                         for n, bit in enumerate(bits)}
        for port, ins in self._ports.items():
            if ins["direction"] == "input":
                for n, bit in enumerate(ins["bits"]):
                    self._arrivals[bit] = {(port, n): Path(0, f"{port}[{n}]")}

    @staticmethod
    def _name_nets(names: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        # A name that the source gave comes last, so that it stays.
        for name, net in sorted(names.items(), key=lambda item: -item[1]["hide_name"]):
            if not net["hide_name"]:
                for n, bit in enumerate(net["bits"]):
                    yield bit, f"{name}[{n}]" if len(net["bits"]) > 1 else name

    def _place(self, name: str, bit: object) -> str:
        kind = self._cells[name]["type"]
        if self._levels.known(kind):
            return name
        net = self._names.get(bit)
        return f"{net} ({kind})" if net else kind

    def _inputs(self, name: str) -> Iterator[tuple[str, int, int]]:
        cell = self._cells[name]
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input":
                for n, bit in enumerate(bits):
                    if isinstance(bit, int):
                        yield pin, n, bit

    def _sources(self, bit: int) -> tuple[Path | None, list[tuple[int, str, float, Path | None]]]:
        """Return the start of a net at a register, and the nets that it depends on.

        Each with its pin, the levels in between and the path in a module.
        """
        if bit not in self._drivers:
            return None, []
        name, pin, index = self._drivers[bit]
        cell = self._cells[name]
        place = self._place(name, bit)
        if self._levels.known(cell["type"]):
            timing = self._levels.timing(cell["type"])
            start = timing.starts.get((pin, index))
            through = timing.through.get((pin, index), {})
            return (Path(start.level, place, None, start) if start else None,
                    [(source, port, inside.level, inside)
                     for (port, n), inside in through.items()
                     if isinstance(source := cell["connections"][port][n], int)])
        level, arc = _arcs(cell["type"], pin, index, cell["parameters"])
        return (None if level is None else Path(level, place),
                [(source, port, levels, None) for port, n, source in self._inputs(name)
                 if (levels := arc(port, n)) is not None])

    def _arrive(self, bit: int) -> Arrivals:
        """Return the longest paths to a net, after those to all that it depends on."""
        stack, open_nets = [bit], set()
        while stack:
            net = stack[-1]
            if net in self._arrivals:
                stack.pop()
                continue
            start, sources = self._sources(net)
            missing = [source for source, *_ in sources if source not in self._arrivals]
            if missing:
                if net in open_nets:
                    raise RuntimeError("Logic must not lead back to its own beginning, but does "
                                       f"at {self._names.get(net, self._drivers[net][0])}")
                open_nets.add(net)
                stack += missing
                continue
            self._arrivals[net] = self._merge(net, start, sources)
            stack.pop()
        return self._arrivals[bit]

    def _merge(self, bit: int, start: Path | None,
               sources: list[tuple[int, str, float, Path | None]]) -> Arrivals:
        paths: Arrivals = {} if start is None else {None: start}
        place = self._place(self._drivers[bit][0], bit) if sources else ""
        for source, pin, levels, inside in sources:
            for origin, path in self._arrivals[source].items():
                # Only within a chain does a fraction of a level go on.
                level = (path.level if pin == "CI" else math.ceil(path.level)) + levels
                if origin not in paths or paths[origin].level < level:
                    paths[origin] = Path(level, place, path, inside)
        return paths

    def _all_ends(self) -> Iterator[tuple[str, int, Path]]:
        """Yield where paths end: the register or instance, the net, and the rest of the path."""
        for name, cell in self._cells.items():
            kind = cell["type"]
            if self._levels.known(kind):
                for (port, n), inside in self._levels.timing(kind).ends.items():
                    bit = cell["connections"][port][n]
                    if isinstance(bit, int):
                        yield name, bit, Path(inside.level, name, None, inside)
                continue
            for pin, _, bit in self._inputs(name):
                rest = _rest(kind, pin, cell["parameters"])
                if rest is not None:
                    output = cell["connections"].get("Q", [None])[0]
                    register = self._names.get(output, name)
                    yield register.partition("[")[0], bit, Path(rest, f"{register} ({kind}.{pin})")

    def timing(self) -> Timing:
        starts, through = {}, {}
        ends: dict[Pin, Path] = {}
        longest: dict[str, Path] = {}
        for end, bit, rest in self._all_ends():
            for origin, path in self._arrive(bit).items():
                whole = path.extended(rest.level, rest.place, rest.inside)
                kept, key = (longest, end) if origin is None else (ends, origin)
                if key not in kept or kept[key].level < whole.level:
                    kept[key] = whole
        for port, outs in self._ports.items():
            if outs["direction"] != "output":
                continue
            for n, bit in enumerate(outs["bits"]):
                paths = dict(self._arrive(bit)) if isinstance(bit, int) else {}
                if None in paths:
                    starts[port, n] = _left(paths.pop(None))
                through[port, n] = {origin: _left(path) for origin, path in paths.items()}
        return Timing(starts, ends, through, longest)


def _left(path: Path) -> Path:
    return path._replace(level=math.ceil(path.level))
