"""The options and operands of Vivado's commands, from its own help.

The help texts come from the package xilinx-language-server, which is installed for tests alone and
of which nothing but this file is used.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ALIASES", "Call", "Syntax", "documented", "names", "split", "syntax"]

_PACKAGE = "xilinx_language_server"

ALIASES = {"wait_on_run": "wait_on_runs", "reset_run": "reset_runs"}
"""Older names, which every version takes, by the names that the help has."""


def split(text: str) -> list[str]:
    """Return the items of a Tcl list of plain words, in braces or quotes or without."""
    return [next(filter(None, groups), "") for groups in
            re.findall(r'\{([^{}]*)\}|"([^"]*)"|(\S+)', text)]


@dataclass(frozen=True)
class Call:
    """A command with its options, which are the empty text if they take none, and operands."""

    options: dict[str, str]
    operands: list[str]


@dataclass(frozen=True)
class Syntax:
    """What a command takes."""

    name: str
    options: dict[str, bool]
    """For each option whether an argument follows."""
    operands: list[tuple[str, bool, bool]]
    """For each operand its name, whether it must be there, and whether more may follow."""

    def parse(self, words: tuple[str, ...]) -> Call:
        """Sort words into options and operands, and refuse those that the command does not take."""
        options: dict[str, str] = {}
        operands: list[str] = []
        named = {name for name, _, _ in self.operands}
        left = list(words)
        while left:
            word = left.pop(0)
            if not re.match(r"-[A-Za-z]", word):
                operands.append(word)
                continue
            option = word[1:]
            if option not in self.options and option not in named:
                raise ValueError(f"{self.name}: unknown option {word}")
            if option in options:
                raise ValueError(f"{self.name}: option {word} is given twice")
            options[option] = ""
            if option in named or self.options[option]:
                if not left:
                    raise ValueError(f"{self.name}: option {word} needs an argument")
                options[option] = left.pop(0)
        self._count(options, operands)
        return Call(options, [*operands, *(options.pop(name) for name in named if name in options)])

    def _count(self, options: dict[str, str], operands: list[str]) -> None:
        names = [item for item in self.operands if item[0] not in options]
        if self.name == "set_property" and "dict" in options:
            names = names[2:]  # in place of name and value
        least = sum(needed for _, needed, _ in names)
        if not least <= len(operands) or (
                len(operands) > len(names) and not any(more for _, _, more in names)):
            raise ValueError(f"{self.name}: operands must be {' '.join(name for name, *_ in names)}"
                             f", not {operands}")


def documented() -> bool:
    """Return whether the help texts are there."""
    return importlib.util.find_spec(_PACKAGE) is not None


@cache
def _help() -> dict[str, str]:
    [folder] = importlib.util.find_spec(_PACKAGE).submodule_search_locations
    return json.loads(Path(folder, "assets", "json", "vivado.json").read_text())


def names() -> list[str]:
    """Return the names of all commands of Vivado."""
    return [*_help(), *ALIASES]


@cache
def syntax(name: str) -> Syntax:
    """Return the syntax of a command as its help has it."""
    text = _help()[ALIASES.get(name, name)]
    found = re.search(r"Syntax:\s*\n\S+(.*?)\n\s*\n", text, re.DOTALL)
    assert found, name
    options, operands = {}, []
    for optional, option, argument, operand, more in re.findall(
            r"(\[)?(?:-(\w+)( <args?>)?|<(\w+)>)\]?(\.\.\.)?", found[1]):
        if option:
            options[option] = bool(argument)
        else:
            operands.append((operand, not optional, bool(more)))
    return Syntax(name, options, operands)
