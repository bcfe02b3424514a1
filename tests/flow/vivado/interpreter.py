"""Tcl interpreters whose Vivado commands are answered in Python: tclsh, or the one of tkinter."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "interpreter", "run"]

Answer = Callable[..., str]
"""Takes a command with its words, and returns its result, or raises ValueError or OSError."""

_NEWER = "lmap try throw tailcall coroutine yield yieldto"
"""Commands of Tcl 8.6 that the Tcl 8.5 of many Vivado versions lacks."""

_PIPE = r"""
fconfigure stdin -encoding utf-8
fconfigure stdout -encoding utf-8
proc vivado_call {args} {
    set words {}
    foreach word $args {
        lappend words [binary encode hex [encoding convertto utf-8 $word]]
    }
    puts "\x01[join $words { }]"
    flush stdout
    lassign [gets stdin] code value
    return [list $code [encoding convertfrom utf-8 [binary decode hex $value]]]
}
"""

_COMMANDS = r"""
foreach name {%s} {
    proc $name args "
        lassign \[vivado_call $name {*}\$args\] code value
        return -code \$code \$value
    "
}
foreach name {%s} {
    rename $name {}
}
rename proc define
set reserved {%s}
define proc {name arguments body} {
    if {$name in $::reserved} {
        error "proc $name would replace a command of Vivado"
    }
    uplevel 1 [list define $name $arguments $body]
}
set argv {%s}
set argc [llength $argv]
source {%s}
"""


@dataclass(frozen=True)
class Outcome:
    """How a script ended."""

    error: str
    """The error message; empty if there is none."""
    output: str
    """What the script printed."""


def interpreter() -> str | None:
    """Return which interpreter there is: ``tclsh``, ``tkinter`` or none."""
    if shutil.which("tclsh"):
        return "tclsh"
    return "tkinter" if importlib.util.find_spec("_tkinter") else None


def run(script: Path, answer: Answer, commands: Iterable[str], reserved: Iterable[str],
        arguments: str = "") -> Outcome:
    """Source a script as ``vivado -mode batch`` does, in the folder of the script.

    Parameters
    ----------
    script : path
    answer : callable
        Answers the commands.
    commands : iterable of str
        Those that are answered.
    reserved : iterable of str
        Names that the script must not give to procedures.
    arguments : str
        Becomes ``argv``.
    """
    prelude = _COMMANDS % (" ".join(commands), _NEWER, " ".join(reserved), arguments, script.name)
    how = _tclsh if interpreter() == "tclsh" else _tkinter
    return how(prelude, script.parent, answer)


def _reply(answer: Answer, words: Iterable[str]) -> tuple[str, str]:
    try:
        return "ok", answer(*words)
    except (ValueError, OSError) as error:
        return "error", str(error)


def _tclsh(prelude: str, folder: Path, answer: Answer) -> Outcome:
    file = folder / "prelude.tcl"
    file.write_text(_PIPE + prelude)
    printed = []
    with subprocess.Popen(["tclsh", file.name], cwd=folder, text=True, encoding="utf-8",
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        for line in process.stdout:
            if not line.startswith("\x01"):
                printed.append(line)
                continue
            words = (bytes.fromhex(word).decode() for word in line[1:-1].split(" "))
            code, value = _reply(answer, words)
            process.stdin.write(f"{code} {value.encode().hex() or '{}'}\n")
            process.stdin.flush()
        error = process.stderr.read()
    file.unlink()
    return Outcome(error.partition("\n    while executing")[0].strip(), "".join(printed))


def _tkinter(prelude: str, folder: Path, answer: Answer) -> Outcome:
    import tkinter

    printed: list[str] = []
    tcl = tkinter.Tcl()
    tcl.createcommand("vivado_call", lambda *words: _reply(answer, map(str, words)))
    tcl.createcommand("puts_line", lambda text: printed.append(f"{text}\n"))
    tcl.eval("rename puts puts_file; proc puts {args} "
             "{if {[llength $args] == 1} {puts_line {*}$args} else {puts_file {*}$args}}")
    tcl.eval(f"cd {{{folder}}}")
    try:
        tcl.eval(prelude)
    except tkinter.TclError as error:
        return Outcome(str(error), "".join(printed))
    finally:
        tcl.eval(f"cd {{{Path.cwd()}}}")
    return Outcome("", "".join(printed))
