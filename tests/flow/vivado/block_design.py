"""A block design: cells, nets, connections of interfaces, and addresses."""

from __future__ import annotations

from .cells import Cell, Interface, Module, Pin, Processors

__all__ = ["BlockDesign"]

_WINDOWS = {"M_AXI_HPM0_FPD": (0xA000_0000, 0xB000_0000),
            "M_AXI_HPM1_FPD": (0xB000_0000, 0xC000_0000),
            "M_AXI_HPM0_LPD": (0x8000_0000, 0xA000_0000)}
"""The addresses below 4 GiB that the masters of the processors have."""


class BlockDesign:
    """Refuses what Vivado refuses when it is built or validated. Paths begin with ``/``."""

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.nets: list[set[str]] = []
        self.links: dict[str, str] = {}
        self.addresses: dict[str, list[tuple[int, int, str]]] = {}
        self.valid = False

    def add(self, cell: Cell) -> None:
        """Add a cell."""
        if cell.name in self.cells:
            raise ValueError(f"There is a cell {cell.name} already")
        self.cells[cell.name] = cell
        self.valid = False

    def _owner(self, path: str) -> tuple[Cell, str]:
        cell, _, rest = path.removeprefix("/").partition("/")
        if cell not in self.cells:
            raise ValueError(f"There is no cell {cell}")
        return self.cells[cell], rest

    def find(self, kind: str, path: str) -> str | None:
        """Return the full path of a pin, an interface and so on, or ``None`` if there is none."""
        if kind == "cells":
            return f"/{path}" if path.removeprefix("/") in self.cells else None
        cell, rest = self._owner(path)
        return f"/{cell.name}/{rest}" if rest in getattr(cell, kind)() else None

    def pin(self, path: str) -> Pin:
        """Return a pin."""
        cell, name = self._owner(path)
        return cell.pins()[name]

    def interface(self, path: str) -> Interface:
        """Return an interface."""
        cell, name = self._owner(path)
        return cell.interfaces()[name]

    def connect(self, pins: list[str]) -> None:
        """Connect pins with each other and with what each is connected to."""
        if len(set(pins)) < 2:
            raise ValueError(f"A net must have two pins at least, not {pins}")
        net = set(pins).union(*(other for other in self.nets if other & set(pins)))
        drivers = sorted(pin for pin in net if self.pin(pin).output)
        if len(drivers) > 1:
            raise ValueError(f"Pins {' and '.join(drivers)} drive the same net")
        kinds = {self.pin(pin).kind for pin in net}
        if len(kinds - {"reset"}) > 1 or ("reset" in kinds
                                          and not all(kind.startswith("reset") for kind in kinds)):
            raise ValueError(f"Pins {sorted(net)} must be of one kind, not {sorted(kinds)}")
        self.nets = [other for other in self.nets if not other & net] + [net]
        self.valid = False

    def link(self, one: str, other: str) -> None:
        """Connect two interfaces."""
        for path in (one, other):
            if path in self.links:
                raise ValueError(f"Interface {path} is connected to {self.links[path]} already")
        ends = self.interface(one), self.interface(other)
        if ends[0].master == ends[1].master:
            raise ValueError(f"Of {one} and {other} one must be a master, and one a slave")
        protocols = {end.protocol for end in ends} - {"any"}
        if len(protocols) > 1:
            raise ValueError(f"{one} and {other} must have one protocol, not {sorted(protocols)}")
        self.links |= {one: other, other: one}
        self.valid = False

    def _reach(self, master: str) -> list[str]:
        """Return the slaves at the ends of the ways from a master."""
        if master not in self.links:
            return []
        slave = self.links[master]
        cell, name = self._owner(slave)
        further = cell.through(name)
        return [end for out in further for end in self._reach(f"/{cell.name}/{out}")] or [slave]

    def assign(self, space: str, segment: str, offset: int, size: int) -> None:
        """Give a segment a place in an address space."""
        owner, name = self._owner(space)
        cell, inner = self._owner(segment)
        slave, place, full = cell.segments()[inner]
        masters = [master for master in owner.spaces()[name]
                   if f"/{cell.name}/{slave}" in self._reach(f"/{owner.name}/{master}")]
        if not masters:
            raise ValueError(f"{segment} cannot be reached from {space}")
        if full < 4096:
            raise ValueError(f"{segment} must have 4K at least, not {full} bytes")
        if size & (size - 1) or offset % size or size < 4096:
            raise ValueError(f"Range {size:#x} must be a power of two from 4K on, and divide "
                             f"offset {offset:#x}")
        low, high = _WINDOWS[masters[0]] if isinstance(owner, Processors) else (
            0, 1 << owner.address_bits(masters[0]))
        if place >= 0:
            low, high = max(low, place), min(high, place + full)
        if not low <= offset < offset + size <= high:
            raise ValueError(f"{segment} must lie between {low:#x} and {high:#x} of {space}, not "
                             f"at {offset:#x} with range {size:#x}")
        for start, length, other in self.addresses.setdefault(space, []):
            if offset < start + length and start < offset + size:
                raise ValueError(f"{segment} must not overlap {other} in {space}")
        self.addresses[space].append((offset, size, segment))

    def clock(self, pin: str) -> str | None:
        """Return which pin drives a pin."""
        for net in self.nets:
            if pin in net:
                return next((other for other in net if self.pin(other).output), None)
        return None

    def validate(self) -> None:
        """Refuse a design with loose ends."""
        for cell in self.cells.values():
            if isinstance(cell, Processors) and not cell.preset:
                raise ValueError(f"{cell.name} must have the preset of the board, or its memory "
                                 "does not work")
            for name, pin in cell.pins().items():
                if pin.required and not pin.output and self.clock(f"/{cell.name}/{name}") is None:
                    raise ValueError(f"Pin /{cell.name}/{name} must be driven")
            if isinstance(cell, Module):
                self._check_module(cell)
            for name in cell.interfaces():
                self._check_interface(cell, name)
        self.valid = True

    def _check_module(self, cell: Module) -> None:
        """Refuse loose outputs, and memory ports and registers without an address."""
        for name, pin in cell.pins().items():
            if pin.output and not any(f"/{cell.name}/{name}" in net for net in self.nets):
                raise ValueError(f"Pin /{cell.name}/{name} must be connected")
        for name in cell.spaces():
            if not any("DDR_LOW" in segment for _, _, segment in
                       self.addresses.get(f"/{cell.name}/{name}", [])):
                raise ValueError(f"/{cell.name}/{name} must have the memory in its address space")
        placed = {segment for space in self.addresses.values() for _, _, segment in space}
        for name in cell.segments():
            if f"/{cell.name}/{name}" not in placed:
                raise ValueError(f"/{cell.name}/{name} must have an address")

    def _check_interface(self, cell: Cell, name: str) -> None:
        path = f"/{cell.name}/{name}"
        if path not in self.links:
            raise ValueError(f"Interface {path} must be connected")
        other, far = self._owner(self.links[path])
        clocks = {self.clock(f"/{end.name}/{end.interfaces()[at].clock}")
                  for end, at in ((cell, name), (other, far))}
        if len(clocks) > 1:
            raise ValueError(f"{path} and {self.links[path]} must have one clock, not "
                             f"{sorted(map(str, clocks))}")
