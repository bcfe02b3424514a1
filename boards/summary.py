"""What came out of a board's flow: ``summary.json``, written by the flow, read by people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["FILE", "Summary"]

FILE = "summary.json"
"""Name of the file in the folder of a build."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The outcome of one build.

    Every board's flow writes the same names, so :meth:`read` needs not know which it was.
    """

    board: str
    part: str
    geometry: str
    fingerprint: int
    """What the register ``GEOMETRY`` shows."""
    tool: str
    """The tool that placed and routed, with its version."""
    clock_mhz: float
    """The clock that the design is constrained to, and at which it runs on the board."""
    clock_mhz_reached: float | None
    """The fastest clock that the timing analysis admits; ``None`` if it found no path."""
    slack_ns: Mapping[str, float]
    """The worst slack of each kind of check of which the tool found any, such as ``setup``."""
    resources: Mapping[str, Mapping[str, float]]
    """How much of each resource is ``used``, and how much is ``available``."""
    power_watt: float | None
    """Estimate of the tool, if it has one."""
    problems: tuple[str, ...]
    """Why the bitstream must not be used, one sentence each; none if all is well."""
    files: tuple[str, ...]
    """What was made, relative to the folder."""

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Summary:
        """Read the file of a folder.

        Raises
        ------
        ValueError
            If there is none, or it is not what a flow writes.
        """
        file = folder / FILE
        if not file.is_file():
            raise ValueError(f"{folder} must be a folder in which a bitstream was built, and it "
                             f"has no {FILE}")
        try:
            values = json.loads(file.read_text())
        except ValueError as error:  # JSON or UTF-8
            raise ValueError(f"{file} must be JSON as a flow writes it, and it is not: "
                             f"{error}") from error
        wanted = {field.name: _CHECKS[field.name] for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != set(wanted):
            found = ", ".join(sorted(values)) if isinstance(values, dict) else repr(values)
            raise ValueError(f"{file} must have the entries {', '.join(wanted)}, not {found}")
        for name, (kind, holds) in wanted.items():
            if not holds(values[name]):
                raise ValueError(f"{name} in {file} must be {kind}, not {values[name]!r}")
        slacks, problems = values["slack_ns"], values["problems"]
        if not problems and ("setup" not in slacks or min(slacks.values()) < 0):
            raise ValueError(f"{file} must have a problem, as its slack is {slacks}, and it has "
                             "none")
        return cls(**values | {"problems": tuple(problems), "files": tuple(values["files"])})

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the lines of a table: what, and how much."""
        yield "board", f"{self.board} ({self.part})"
        yield "geometry", f"{self.geometry} ({self.fingerprint:#010x})"
        yield "tool", self.tool
        yield "clock", f"{self.clock_mhz:.4g} MHz"
        reached = self.clock_mhz_reached
        yield "clock by timing", "–" if reached is None else f"{reached:.4g} MHz"
        for check, slack in self.slack_ns.items():
            yield f"slack, {check.replace('_', ' ')}", f"{slack:+.3f} ns"
        for name, amount in self.resources.items():
            used, available = amount["used"], amount["available"]
            yield name, f"{used:,g} of {available:,g} ({used / available:.1%})"
        yield "power", "–" if self.power_watt is None else f"{self.power_watt:.2f} W (estimate)"
        yield "files", ", ".join(self.files) or "–"
        yield "problems", " ".join(self.problems) or "none"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _slacks(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _resources(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(amount, dict) and set(amount) == {"used", "available"}
        and all(map(_number, amount.values())) and amount["available"] > 0
        for amount in value.values())


_CHECKS = {
    **dict.fromkeys(("board", "part", "geometry", "tool"), ("a text", _text)),
    "fingerprint": ("an integer of 32 bits", lambda value: isinstance(value, int)
                    and not isinstance(value, bool) and 0 <= value < 1 << 32),
    "clock_mhz": ("a positive number", lambda value: _number(value) and value > 0),
    "clock_mhz_reached": ("a positive number or null",
                          lambda value: value is None or (_number(value) and value > 0)),
    "slack_ns": ("numbers by name", _slacks),
    "resources": ("pairs of used and available by name", _resources),
    "power_watt": ("a number or null", lambda value: value is None or _number(value)),
    **dict.fromkeys(("problems", "files"), ("a list of texts", _texts)),
}
"""For each entry how to say what it must be, and how to tell."""
