"""A session: what is open, and the objects and properties that commands name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .block_design import BlockDesign
from .cells import Processors
from .commands import Call, split, syntax

__all__ = ["Result", "Run", "Session"]

_KINDS = {"cells": "cell", "pins": "pin", "interfaces": "interface", "spaces": "space",
          "segments": "segment"}

_GETTERS = {"get_bd_cells": "cells", "get_bd_pins": "pins", "get_bd_intf_pins": "interfaces",
            "get_bd_addr_spaces": "spaces", "get_bd_addr_segs": "segments"}

_STRATEGIES = {
    "synth_1": {"Vivado Synthesis Defaults", "Flow_AreaOptimized_high", "Flow_AlternateRoutability",
                "Flow_PerfOptimized_high", "Flow_PerfThresholdCarry", "Flow_RuntimeOptimized"},
    "impl_1": {"Vivado Implementation Defaults", "Performance_Explore",
               "Performance_ExplorePostRoutePhysOpt", "Performance_ExtraTimingOpt",
               "Performance_NetDelay_high", "Performance_Retiming", "Congestion_SpreadLogic_high"},
}


@dataclass
class Result:
    """What the stand-in is to say."""

    setup: float | None = 0.107
    """Worst slack in ns; ``None`` if there is no path."""
    hold: float | None = 0.012
    pulse_width: float | None = 0.8
    met: bool = True
    """Whether the report says that all constraints are met, if they are."""
    unclocked: int = 0
    unrouted: int = 0
    violations: tuple[str, ...] = ()
    version: str = "2023.2"
    boards: tuple[str, ...] = ("xilinx.com:zcu102:part0:3.3", "xilinx.com:zcu102:part0:3.4")
    parts: tuple[str, ...] = ("xczu9eg-ffvb1156-2-e",)
    failing: tuple[str, ...] = ()
    """Runs, and commands, that fail."""


@dataclass
class Run:
    """A run of synthesis or implementation."""

    progress: str = "0%"
    properties: dict[str, str] = field(default_factory=dict)
    bitstream: bool = False


class Session:
    """One session in a folder. :meth:`answer` is called with each command.

    An object is its kind, a colon, and its name; a command that wants one takes no bare name. The
    attribute ``log`` has the commands in their order.
    """

    def __init__(self, folder: Path, result: Result | None = None) -> None:
        self.folder = folder
        self.result = result or Result()
        self.log: list[str] = []
        self.project: dict[str, str] | None = None
        self.files: list[str] = []
        self.ordered = self.generated = self.wrapped = False
        self.top = ""
        self.design: BlockDesign | None = None
        self.runs = {"synth_1": Run(), "impl_1": Run()}
        self.opened = False
        self.drc: list[str] = []

    @classmethod
    def commands(cls) -> list[str]:
        """Return the commands that there are."""
        return [*_GETTERS, *(name.removeprefix("do_") for name in dir(cls)
                             if name.startswith("do_"))]

    def answer(self, name: str, *words: str) -> str:
        """Answer a command, or raise a ``ValueError`` if Vivado would refuse it."""
        self.log.append(" ".join((name, *words)))
        call = syntax(name).parse(words)
        if name in self.result.failing:
            raise ValueError(f"{name} fails")
        if name in _GETTERS:
            return self._get(_GETTERS[name], call)
        return getattr(self, f"do_{name}")(call) or ""

    # -- objects -----------------------------------------------------------------------------------

    def object(self, text: str, *kinds: str) -> str:
        """Return the name of an object, which must be of one of these kinds."""
        kind, _, name = text.partition(":")
        if kind not in kinds:
            raise ValueError(f"An object must be a {' or a '.join(kinds)}, not {text!r}")
        return name

    def needs_project(self) -> dict[str, str]:
        """Return the project's properties."""
        if self.project is None:
            raise ValueError("No project is open")
        return self.project

    def needs_design(self) -> BlockDesign:
        """Return the block design."""
        if self.design is None:
            raise ValueError("No block design is open")
        return self.design

    def needs_run(self) -> None:
        """Refuse to go on without an implemented design."""
        if not self.opened:
            raise ValueError("No implemented design is open")

    def run(self, call: Call) -> str:
        """Return the name of the run that is the operand."""
        [name] = call.operands
        if name not in self.runs:
            raise ValueError(f"There is no run {name}")
        return name

    def run_folder(self, run: str) -> Path:
        """Return where a run leaves its files."""
        return self.folder / "project" / "heddle.runs" / run

    def _get(self, kind: str, call: Call) -> str:
        [path] = call.operands
        found = self.needs_design().find(kind, path)
        if found is None:
            raise ValueError(f"There is no {_KINDS[kind]} {path}")
        return f"{_KINDS[kind]}:{found}"

    def do_current_project(self, call: Call) -> str:
        self.needs_project()
        return "project:heddle"

    def do_current_fileset(self, call: Call) -> str:
        self.needs_project()
        return "fileset:sources_1"

    def do_get_runs(self, call: Call) -> str:
        return f"run:{self.run(call)}"

    def do_get_files(self, call: Call) -> str:
        [name] = call.operands
        if name != "system.bd" or self.design is None:
            raise ValueError(f"There is no file {name}")
        return f"file:{name}"

    def do_get_clocks(self, call: Call) -> str:
        self.needs_run()
        if call.operands != ["clk_pl_0"]:
            raise ValueError(f"There is no clock {call.operands}")
        return "clock:clk_pl_0"

    def do_current_design(self, call: Call) -> str:
        if "quiet" not in call.options:
            self.needs_run()
        return "design:impl_1" if self.opened else ""

    # -- properties --------------------------------------------------------------------------------

    def do_set_param(self, call: Call) -> None:
        name, value = call.operands
        if name != "general.maxThreads" or not 1 <= int(value) <= 8:
            raise ValueError(f"There is no parameter {name}, or it cannot be {value}")

    def do_set_property(self, call: Call) -> None:
        if "dict" in call.options:
            words = split(call.options["dict"])
            pairs, objects = list(zip(words[::2], words[1::2], strict=True)), call.operands
        else:
            name, value, *objects = call.operands
            pairs = [(name, value)]
        for text in objects:
            kind, _, of = text.partition(":")
            for name, value in pairs:
                self._set(kind, of, name, value)

    def _set(self, kind: str, of: str, name: str, value: str) -> None:
        if kind == "cell":
            self.needs_design().cells[of.removeprefix("/")].set(name, value)
            return
        allowed = self._properties(kind, of)
        if allowed is None:
            raise ValueError(f"set_property: {kind}:{of} is no object that has properties")
        if value not in allowed.get(name, ()):
            raise ValueError(f"{kind}:{of} has no property {name}, or it cannot be {value}")
        if kind == "project":
            self.needs_project()[name] = value
        elif kind == "fileset":
            self.top = value
        elif kind == "run":
            self.runs[of].properties[name] = value

    def _properties(self, kind: str, of: str) -> dict[str, tuple[str, ...] | set[str]] | None:
        """Return the values that properties of an object may have."""
        post_route = {"STEPS.POST_ROUTE_PHYS_OPT_DESIGN.IS_ENABLED": {"true", "false"}}
        return {
            "project": {"board_part": self.result.boards, "target_language": {"Verilog", "VHDL"}},
            "fileset": {"top": {"system_wrapper"} if self.wrapped else set()},
            "file": {"synth_checkpoint_mode": {"None", "Singular", "Hierarchical"}},
            "run": {"strategy": _STRATEGIES.get(of, ())} | (post_route if of == "impl_1" else {}),
            "design": {"BITSTREAM.GENERAL.COMPRESS": {"TRUE", "FALSE"}},
        }.get(kind)

    def do_get_property(self, call: Call) -> str:
        name, text = call.operands
        of = self.object(text, "cell", "run", "clock")
        getters: dict[str, Callable[[], dict[str, str]]] = {
            "run": lambda: {
                "PROGRESS": self.runs[of].progress, "DIRECTORY": f"{self.run_folder(of)}",
                "STATUS": "failed" if of in self.result.failing else f"{of} Complete!"},
            "clock": lambda: {"PERIOD": f"{1000 / self._clock_mhz():.3f}"},
        }
        kind = text.partition(":")[0]
        if kind == "cell":
            return self.needs_design().cells[of.removeprefix("/")].get(name)
        if name not in getters[kind]():
            raise ValueError(f"A {kind} has no property {name}")
        return getters[kind]()[name]

    def _clock_mhz(self) -> float:
        [processors] = (cell for cell in self.needs_design().cells.values()
                        if isinstance(cell, Processors))
        return processors.clock_mhz
