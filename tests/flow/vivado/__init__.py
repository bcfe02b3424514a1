"""A strict stand-in for Vivado, in which the Tcl of the ZCU102's flow runs.

It knows the commands that the flow uses, their options from Vivado's own help, and as much of
projects and block designs as is needed to refuse what Vivado would: names that do not exist, values
out of range, pins that are driven twice or not at all, clocks that do not belong together,
addresses that overlap or cannot be reached, stages out of order. What cannot be known without
Vivado is whether the parameters of IP mean what they should, and anything about timing; the reports
say what the test wants.
"""

from pathlib import Path

from .commands import documented, names
from .interpreter import Outcome, interpreter, run
from .runs import Vivado
from .session import Result

__all__ = ["Outcome", "Result", "Vivado", "batch", "interpreter", "missing", "run"]


def batch(folder: Path, result: Result | None = None, stage: str = "",
          session: Vivado | None = None) -> tuple[Outcome, Vivado]:
    """Build in a folder as ``vivado -mode batch`` does; return how that ended, and the session."""
    session = session or Vivado(folder, result)
    return run(folder / "build.tcl", session.answer, session.commands(), names(), stage), session


def missing() -> str | None:
    """Return why the stand-in cannot run here, or ``None`` if it can."""
    if interpreter() is None:
        return "there is neither tclsh nor tkinter to run Tcl"
    if not documented():
        return "the package xilinx-language-server, which make installs, is not there"
    return None
