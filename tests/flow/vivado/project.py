"""The commands that make a project with a block design."""

from __future__ import annotations

import fnmatch
import re

from .block_design import BlockDesign
from .cells import IP, Module, Processors
from .commands import Call, split
from .session import Session

__all__ = ["Project"]

_PRIMITIVES = {"DSP48E2", "LUT6_2"}


class Project(Session):
    """A session in which projects can be made."""

    def do_version(self, call: Call) -> str:
        return self.result.version

    def do_get_parts(self, call: Call) -> str:
        return " ".join(part for part in self.result.parts if part in call.operands)

    def do_get_board_parts(self, call: Call) -> str:
        [pattern] = call.operands
        found = fnmatch.filter(self.result.boards, pattern)
        return " ".join(found[-1:] if "latest_file_version" in call.options else found)

    def do_create_project(self, call: Call) -> None:
        if call.options.get("part") not in self.result.parts:
            raise ValueError(f"There is no part {call.options.get('part')}")
        name, folder = call.operands
        self.project = {"part": call.options["part"]}
        file = self.folder / folder / f"{name}.xpr"
        file.parent.mkdir(exist_ok=True)
        file.touch()

    def do_open_project(self, call: Call) -> None:
        if not (self.folder / call.operands[0]).exists() or self.project is None:
            raise ValueError(f"There is no project {call.operands[0]}")

    def do_add_files(self, call: Call) -> None:
        self.needs_project()
        fileset = call.options.get("fileset", "sources_1")
        suffix = {"constrs_1": ".xdc", "sources_1": ".v"}.get(fileset)
        if suffix is None:
            raise ValueError(f"There is no fileset {fileset}")
        for name in (name for operand in call.operands for name in split(operand)):
            if not (self.folder / name).is_file() or not name.endswith(suffix):
                raise ValueError(f"There is no file {name}, or it is of another kind")
            self.files.append(name)

    def do_update_compile_order(self, call: Call) -> None:
        if call.options.get("fileset") != "sources_1":
            raise ValueError("update_compile_order needs a fileset")
        self.ordered = bool(self.needs_project())

    def do_create_bd_design(self, call: Call) -> None:
        if "board_part" not in self.needs_project():
            raise ValueError("The project has no board")
        self.design = BlockDesign()

    def do_create_bd_cell(self, call: Call) -> str:
        design = self.needs_design()
        [name] = call.operands
        options = call.options
        if options.get("type") == "module":
            if not self.ordered:
                raise ValueError("The compile order is not up to date")
            verilog = "\n".join((self.folder / file).read_text() for file in self.files
                                if file.endswith(".v"))
            _check_modules(verilog)
            design.add(Module(name, verilog, options["reference"]))
        else:
            vendor, library, kind, *version = options["vlnv"].split(":")
            if options.get("type") != "ip" or (vendor, library) != ("xilinx.com", "ip") or (
                    kind not in IP or version):
                raise ValueError(f"There is no IP {options['vlnv']}")
            design.add(IP[kind](name))
        return f"cell:/{name}"

    def do_apply_bd_automation(self, call: Call) -> None:
        [text] = call.operands
        cell = self.needs_design().cells[self.object(text, "cell").removeprefix("/")]
        if call.options["rule"] != "xilinx.com:bd_rule:zynq_ultra_ps_e" or not isinstance(
                cell, Processors):
            raise ValueError(f"Rule {call.options['rule']} does not apply to {text}")
        if split(call.options["config"]) != ["apply_board_preset", "1"]:
            raise ValueError(f"The rule has no parameters {call.options['config']}")
        cell.apply_preset()

    def do_connect_bd_net(self, call: Call) -> None:
        self.needs_design().connect([self.object(text, "pin") for text in call.operands])

    def do_connect_bd_intf_net(self, call: Call) -> None:
        one, other = (self.object(text, "interface") for text in call.operands)
        self.needs_design().link(one, other)

    def do_assign_bd_address(self, call: Call) -> None:
        space = self.object(call.options["target_address_space"], "space")
        self.needs_design().assign(space, self.object(*call.operands, "segment"),
                                   _number(call.options["offset"]), _number(call.options["range"]))

    def do_validate_bd_design(self, call: Call) -> None:
        self.needs_design().validate()

    def do_save_bd_design(self, call: Call) -> None:
        self.needs_design()

    def do_generate_target(self, call: Call) -> None:
        target, file = call.operands
        if target != "all" or not self.needs_design().valid:
            raise ValueError(f"Target {target} of {self.object(file, 'file')} must be all, and "
                             "the block design must be valid")
        self.generated = True
        handoff = self.folder / "project/heddle.gen/sources_1/bd/system/hw_handoff"
        handoff.mkdir(parents=True, exist_ok=True)
        (handoff / "system.hwh").write_text("hwh")

    def do_make_wrapper(self, call: Call) -> None:
        self.object(*call.operands, "file")
        if {"import", "top"} - set(call.options) or call.options.get("fileset") != "sources_1":
            raise ValueError("The wrapper must be the top, and become part of the sources")
        self.wrapped = self.generated


def _check_modules(verilog: str) -> None:
    """Refuse Verilog in which modules are missing, defined twice, or those of the device."""
    defined = re.findall(r"^module (\\\S+|\w+)", verilog, re.MULTILINE)
    for name in sorted({*defined, *_PRIMITIVES}):
        if defined.count(name) > (name not in _PRIMITIVES):
            raise ValueError(f"Module {name} must be defined once, or not if it is a primitive")
    used = re.findall(r"^  (\\\S+|[A-Za-z]\w*) +(?:\w+ \(|#\()", verilog, re.MULTILINE)
    missing = sorted(set(used) - set(defined) - _PRIMITIVES)
    if missing:
        raise ValueError(f"Module {missing[0]} must be defined in the files of the project")


def _number(text: str) -> int:
    found = re.fullmatch(r"(0x[0-9A-Fa-f]+|\d+)([KMG]?)", text)
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes")
    return int(found[1], 0) << 10 * " KMG".index(found[2] or " ")
