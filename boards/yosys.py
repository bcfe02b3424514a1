"""Yosys from its Python package, with those of its arguments that Amaranth's scripts give it.

``python -m heddle.boards.yosys [-q] [-l LOG] SCRIPT`` runs a script.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run a script of Yosys commands; Yosys ends the process if one fails."""
    from pyosys import libyosys

    parser = argparse.ArgumentParser(prog="yosys")
    parser.add_argument("-q", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("-l", dest="log", type=Path, help="file for all that is said")
    parser.add_argument("script", type=Path)
    arguments = parser.parse_args()
    command = f"script {arguments.script}"
    if arguments.log:
        command = f"tee {'-q ' if arguments.q else ''}-o {arguments.log} {command}"
    libyosys.run_pass(command, libyosys.Design())


if __name__ == "__main__":
    main()
