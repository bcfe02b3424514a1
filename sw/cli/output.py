"""What the commands print and write: lines, reports, tables of Markdown, and that work goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from ..rtl.geometry import Geometry

__all__ = ["console", "print_markdown", "print_report", "running", "save", "say"]

console = Console()


def say(text: str) -> None:
    """Print a line as it is, neither coloured nor broken."""
    console.print(text, highlight=False, soft_wrap=True)


def save(value: Any, file: Path | None) -> None:
    """Write a value as JSON if a file is named."""
    if file is not None:
        file.write_text(json.dumps(value, indent=2) + "\n")


def running(geometry: Geometry, device: str) -> Status:
    """Show that something goes on, as a context."""
    first = "; the first time its simulator is built, which takes minutes" * (device == "rtl")
    return console.status(f"Running on {geometry.name} ({device}){first}")


def print_report(report: Mapping[str, str | int | float | bool | None],
                 file: Path | None = None) -> None:
    """Print a report, and write it as JSON if a file is named."""
    table = Table(show_header=False, box=box.SIMPLE)
    for name, value in report.items():
        table.add_row(name, _text(value))
    console.print(table)
    save(report, file)


def print_markdown(columns: Sequence[str], names: int, rows: Iterable[Sequence[str]]) -> None:
    """Print a table as Markdown, row by row; the first columns are names, the others numbers."""
    say(_row(columns))
    say(_row(["---"] * names + ["--:"] * (len(columns) - names)))
    with console.status("Running; the first time the simulators are built, which takes minutes"):
        for row in rows:
            say(_row(row))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: str | int | float | bool | None) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}"
        case bool() | str():
            return str(value)
    return f"{value:,}"
