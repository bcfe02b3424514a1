"""Projects, runs and reports; the commands themselves."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import reports
from .block_design import BlockDesign
from .cells import IP, Module, Processors
from .commands import Call, split, syntax

__all__ = ["Result", "Vivado"]

_OBJECTS = {"cells": "cell", "pins": "pin", "interfaces": "interface", "spaces": "space",
            "segments": "segment"}

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
class _Run:
    progress: str = "0%"
    properties: dict[str, str] = field(default_factory=dict)
    bitstream: bool = False


class Vivado:
    """One session in a folder. :meth:`answer` is called with each command.

    ``log`` has the commands in their order.
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
        self.runs = {"synth_1": _Run(), "impl_1": _Run()}
        self.opened = False
        self.drc: list[str] = []

    @classmethod
    def commands(cls) -> list[str]:
        """Return the commands that there are."""
        return [name.removeprefix("do_") for name in dir(cls) if name.startswith("do_")]

    def answer(self, name: str, *words: str) -> str:
        """Answer a command."""
        self.log.append(" ".join((name, *words)))
        call = syntax(name).parse(words)
        if name in self.result.failing:
            raise ValueError(f"{name} fails")
        return getattr(self, f"do_{name}")(call) or ""

    # -- objects -----------------------------------------------------------------------------------

    def _object(self, text: str, *kinds: str) -> str:
        kind, _, name = text.partition(":")
        if kind not in kinds:
            raise ValueError(f"An object must be a {' or a '.join(kinds)}, not {text!r}")
        return name

    def _needs_project(self) -> dict[str, str]:
        if self.project is None:
            raise ValueError("No project is open")
        return self.project

    def _needs_design(self) -> BlockDesign:
        if self.design is None:
            raise ValueError("No block design is open")
        return self.design

    def _needs_run(self) -> None:
        if not self.opened:
            raise ValueError("No implemented design is open")

    def _get(self, kind: str, call: Call) -> str:
        [path] = call.operands
        found = self._needs_design().find(kind, path)
        if found is None:
            if "quiet" in call.options:
                return ""
            raise ValueError(f"There is no {_OBJECTS[kind]} {path}")
        return f"{_OBJECTS[kind]}:{found}"

    def do_get_bd_cells(self, call): return self._get("cells", call)
    def do_get_bd_pins(self, call): return self._get("pins", call)
    def do_get_bd_intf_pins(self, call): return self._get("interfaces", call)
    def do_get_bd_addr_spaces(self, call): return self._get("spaces", call)
    def do_get_bd_addr_segs(self, call): return self._get("segments", call)
    def do_current_project(self, call): return self._needs_project() and "project:heddle"
    def do_current_fileset(self, call): return self._needs_project() and "fileset:sources_1"

    def _run(self, call: Call) -> str:
        [name] = call.operands
        if name not in self.runs:
            raise ValueError(f"There is no run {name}")
        return name

    def do_get_runs(self, call):
        return f"run:{self._run(call)}"

    def do_get_files(self, call):
        [name] = call.operands
        if name != "system.bd" or self.design is None:
            raise ValueError(f"There is no file {name}")
        return f"file:{name}"

    def do_get_clocks(self, call):
        self._needs_run()
        if call.operands != ["clk_pl_0"]:
            raise ValueError(f"There is no clock {call.operands}")
        return "clock:clk_pl_0"

    def do_current_design(self, call):
        if not self.opened and "quiet" not in call.options:
            self._needs_run()
        return "design:impl_1" if self.opened else ""

    # -- properties --------------------------------------------------------------------------------

    def do_set_param(self, call):
        name, value = call.operands
        if name != "general.maxThreads" or not 1 <= int(value) <= 8:
            raise ValueError(f"There is no parameter {name}, or it cannot be {value}")

    def do_set_property(self, call):
        if "dict" in call.options:
            words = split(call.options["dict"])
            if len(words) % 2:
                raise ValueError(f"set_property: -dict must have pairs, not {words}")
            pairs = list(zip(words[::2], words[1::2], strict=True))
            objects = call.operands
        else:
            name, value, *objects = call.operands
            pairs = [(name, value)]
        for text in objects:
            for name, value in pairs:
                kind = text.partition(":")[0]
                setter = getattr(self, f"_set_{kind}", None)
                if setter is None:
                    raise ValueError(f"set_property: {text!r} is no object that has properties")
                setter(self._object(text, kind), name, value)

    def _set_cell(self, path, name, value):
        self._needs_design().cells[path.removeprefix("/")].set(name, value)

    def _set_project(self, _, name, value):
        values = {"board_part": self.result.boards, "target_language": ("Verilog", "VHDL")}
        if value not in values.get(name, ()):
            raise ValueError(f"A project has no property {name}, or it cannot be {value}")
        self.project[name] = value

    def _set_fileset(self, _, name, value):
        if name != "top" or value != "system_wrapper" or not self.wrapped:
            raise ValueError(f"A fileset has no property {name}, or it cannot be {value}")
        self.top = value

    def _set_file(self, _, name, value):
        if name != "synth_checkpoint_mode" or value not in ("None", "Singular", "Hierarchical"):
            raise ValueError(f"A file has no property {name}, or it cannot be {value}")

    def _set_run(self, run, name, value):
        values = {"strategy": _STRATEGIES[run]}
        if run == "impl_1":
            values["STEPS.POST_ROUTE_PHYS_OPT_DESIGN.IS_ENABLED"] = {"true", "false"}
        if value not in values.get(name, ()):
            raise ValueError(f"Run {run} has no property {name}, or it cannot be {value}")
        self.runs[run].properties[name] = value

    def _set_design(self, _, name, value):
        if (name, value) != ("BITSTREAM.GENERAL.COMPRESS", "TRUE"):
            raise ValueError(f"A design has no property {name}, or it cannot be {value}")

    def do_get_property(self, call):
        name, text = call.operands
        kind = text.partition(":")[0]
        of = self._object(text, "cell", "run", "clock")
        if kind == "cell":
            return self._needs_design().cells[of.removeprefix("/")].get(name)
        values = {"PERIOD": f"{1000 / self._clock_mhz():.3f}"} if kind == "clock" else {
            "PROGRESS": self.runs[of].progress, "DIRECTORY": self._run_folder(of),
            "STATUS": "failed" if of in self.result.failing else f"{of} Complete!"}
        if name not in values:
            raise ValueError(f"A {kind} has no property {name}")
        return values[name]

    def _clock_mhz(self) -> float:
        [processors] = (cell for cell in self._needs_design().cells.values()
                        if isinstance(cell, Processors))
        return processors.clock_mhz

    def _run_folder(self, run: str) -> str:
        return str(self.folder / "project" / "heddle.runs" / run)

    # -- project -----------------------------------------------------------------------------------

    def do_version(self, call): return self.result.version

    def do_get_parts(self, call):
        return " ".join(part for part in self.result.parts if part in call.operands)

    def do_get_board_parts(self, call):
        [pattern] = call.operands
        found = fnmatch.filter(self.result.boards, pattern)
        return " ".join(found[-1:] if "latest_file_version" in call.options else found)

    def do_create_project(self, call):
        if call.options.get("part") not in self.result.parts:
            raise ValueError(f"There is no part {call.options.get('part')}")
        name, folder = call.operands
        self.project = {"part": call.options["part"]}
        file = self.folder / folder / f"{name}.xpr"
        file.parent.mkdir(exist_ok=True)
        file.touch()

    def do_open_project(self, call):
        if not (self.folder / call.operands[0]).exists() or self.project is None:
            raise ValueError(f"There is no project {call.operands[0]}")

    def do_add_files(self, call):
        self._needs_project()
        fileset = call.options.get("fileset", "sources_1")
        suffix = {"constrs_1": ".xdc", "sources_1": ".v"}.get(fileset)
        if suffix is None:
            raise ValueError(f"There is no fileset {fileset}")
        for name in call.operands:
            if not (self.folder / name).is_file() or not name.endswith(suffix):
                raise ValueError(f"There is no file {name}, or it is of another kind")
            self.files.append(name)

    def do_update_compile_order(self, call):
        if call.options.get("fileset") != "sources_1":
            raise ValueError("update_compile_order needs a fileset")
        self.ordered = bool(self._needs_project())

    # -- block design ------------------------------------------------------------------------------

    def do_create_bd_design(self, call):
        if "board_part" not in self._needs_project():
            raise ValueError("The project has no board")
        self.design = BlockDesign()

    def do_create_bd_cell(self, call):
        design = self._needs_design()
        [name] = call.operands
        options = call.options
        if options.get("type") == "module":
            if not self.ordered:
                raise ValueError("The compile order is not up to date")
            texts = [(self.folder / file).read_text() for file in self.files if file[-2:] == ".v"]
            design.add(Module(name, "\n".join(texts), options["reference"]))
        else:
            vendor, library, kind, *version = options["vlnv"].split(":")
            if options.get("type") != "ip" or (vendor, library) != ("xilinx.com", "ip") or (
                    kind not in IP or version):
                raise ValueError(f"There is no IP {options['vlnv']}")
            design.add(IP[kind](name))
        return f"cell:/{name}"

    def do_apply_bd_automation(self, call):
        [text] = call.operands
        cell = self._needs_design().cells[self._object(text, "cell").removeprefix("/")]
        if call.options["rule"] != "xilinx.com:bd_rule:zynq_ultra_ps_e" or not isinstance(
                cell, Processors):
            raise ValueError(f"Rule {call.options['rule']} does not apply to {text}")
        if split(call.options["config"]) != ["apply_board_preset", "1"]:
            raise ValueError(f"The rule has no parameters {call.options['config']}")
        cell.apply_preset()

    def do_connect_bd_net(self, call):
        self._needs_design().connect([self._object(text, "pin") for text in call.operands])

    def do_connect_bd_intf_net(self, call):
        one, other = (self._object(text, "interface") for text in call.operands)
        self._needs_design().link(one, other)

    def do_assign_bd_address(self, call):
        numbers = [_number(call.options[name]) for name in ("offset", "range")]
        self._needs_design().assign(self._object(call.options["target_address_space"], "space"),
                                    self._object(*call.operands, "segment"), *numbers)

    def do_validate_bd_design(self, call):
        self._needs_design().validate()

    def do_save_bd_design(self, call):
        handoff = self.folder / "project/heddle.gen/sources_1/bd/system/hw_handoff"
        handoff.mkdir(parents=True, exist_ok=True)
        (handoff / "system.hwh").write_text("hwh")
        self._needs_design()

    def do_generate_target(self, call):
        target, file = call.operands
        if target != "all" or not self._needs_design().valid:
            raise ValueError(f"Target {target} of {self._object(file, 'file')} must be all, and "
                             "the block design must be valid")
        self.generated = True

    def do_make_wrapper(self, call):
        self._object(*call.operands, "file")
        if {"import", "top"} - set(call.options) or call.options.get("fileset") != "sources_1":
            raise ValueError("The wrapper must be the top, and become part of the sources")
        self.wrapped = self.generated

    # -- runs --------------------------------------------------------------------------------------

    def do_reset_run(self, call):
        name = self._run(call)
        self.runs[name] = _Run(properties=self.runs[name].properties)

    def do_launch_runs(self, call):
        name = self._run(call)
        if not (self.top and self.wrapped and self._needs_design().valid):
            raise ValueError("The project has no top")
        if "strategy" not in self.runs[name].properties:
            raise ValueError(f"Run {name} has no strategy")
        if name == "impl_1" and self.runs["synth_1"].progress != "100%":
            raise ValueError("synth_1 must be complete before impl_1")
        run = self.runs[name]
        step = call.options.get("to_step")
        if step not in (None, "write_bitstream") or (run.progress != "0%" and step is None):
            raise ValueError(f"Run {name} must be reset first, or has no step {step}")
        run.progress = "42%" if name in self.result.failing else "100%"
        if step == "write_bitstream" and run.progress == "100%":
            run.bitstream = True
            folder = Path(self._run_folder(name))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{self.top}.bit").write_bytes(reports.BIT)

    def do_wait_on_run(self, call):
        self._run(call)

    def do_open_run(self, call):
        if call.operands != ["impl_1"] or self.runs["impl_1"].progress != "100%":
            raise ValueError(f"Run {call.operands} is not complete")
        self.opened = True

    # -- reports and results -----------------------------------------------------------------------

    def _report(self, call: Call, text: str) -> str:
        self._needs_run()
        if "file" in call.options:
            (self.folder / call.options["file"]).write_text(text)
        elif "return_string" in call.options:
            return text
        elif "name" not in call.options:
            raise ValueError("The report would go to the log")
        return ""

    def do_report_timing_summary(self, call):
        return self._report(call, reports.timing(self.result))

    def do_report_utilization(self, call): return self._report(call, reports.UTILISATION)
    def do_report_power(self, call): return self._report(call, reports.POWER)
    def do_report_clocks(self, call): return self._report(call, "clocks")
    def do_report_clock_utilization(self, call): return self._report(call, "clocks")
    def do_report_methodology(self, call): return self._report(call, "methodology")
    def do_report_route_status(self, call): return self._report(call, reports.route(self.result))

    def do_check_timing(self, call):
        if call.options.get("override_defaults") != "no_clock":
            raise ValueError("check_timing knows no such check")
        return self._report(call, reports.unclocked(self.result))

    def do_report_drc(self, call):
        if call.options.get("ruledecks") != "bitstream_checks":
            raise ValueError(f"There is no ruledeck {call.options.get('ruledecks')}")
        if "name" in call.options:
            self.drc.append(call.options["name"])
        return self._report(call, "rules")

    def do_get_drc_violations(self, call):
        if call.options["name"] not in self.drc or not re.fullmatch(
                r"SEVERITY == Error", call.options["filter"]):
            raise ValueError(f"There are no such violations: {call.options}")
        return " ".join(self.result.violations)

    def do_write_bitstream(self, call):
        self._needs_run()
        if self.result.violations or self.result.unrouted:
            raise ValueError("ERROR: [DRC RTSTAT-1] Unrouted nets")
        (self.folder / call.operands[0]).write_bytes(reports.BIT)

    def do_write_hw_platform(self, call):
        self._needs_run()
        if "include_bit" in call.options and not self.runs["impl_1"].bitstream:
            raise ValueError("Unable to get BIT file from implementation run")
        (self.folder / call.operands[0]).write_text("xsa")

    def do_validate_hw_platform(self, call):
        if not (self.folder / call.operands[0]).exists():
            raise ValueError(f"There is no platform {call.operands[0]}")


def _number(text: str) -> int:
    found = re.fullmatch(r"(0x[0-9A-Fa-f]+|\d+)([KMG]?)", text)
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes")
    return int(found[1], 0) << 10 * " KMG".index(found[2] or " ")
