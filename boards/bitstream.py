"""Bitstreams: from a geometry to the files that configure a board."""

from __future__ import annotations

from pathlib import Path

from ..rtl.geometry import Geometry, preset
from .board import Board
from .summary import Summary
from .ulx3s.flow import Ulx3s
from .zcu102.flow import Zcu102

__all__ = ["BOARDS", "bitstream"]

BOARDS: dict[str, Board] = {board.name: board for board in (Zcu102(), Ulx3s())}
"""The boards by name."""


def bitstream(name: str, folder: Path, *, geometry: str | Geometry | None = None,
              clock_mhz: float | None = None) -> Summary:
    """Build a bitstream in a folder, which is made if need be, and return what came out.

    Parameters
    ----------
    name : str
        One of :data:`BOARDS`.
    folder : path
    geometry : str, :class:`~heddle.rtl.geometry.Geometry` or ``None``
        A preset; by default the one that is meant for the board.
    clock_mhz : float or ``None``
        The clock to reach; by default what the geometry assumes.

    Raises
    ------
    ValueError
        If there is no such board or geometry, or they do not fit.
    RuntimeError
        If a tool is missing or fails, or the bitstream must not be used. The folder has been
        written in full by then.
    """
    if name not in BOARDS:
        raise ValueError(f"Board must be one of {', '.join(BOARDS)}, not {name!r}")
    board = BOARDS[name]
    sizes = preset(geometry or board.geometry)
    folder.mkdir(parents=True, exist_ok=True)
    board.write(sizes, folder, clock_mhz or sizes.clock_mhz_assumed)
    board.build(folder)
    summary = Summary.read(folder)
    if summary.problems:
        raise RuntimeError(f"The bitstream in {folder} must not be used: "
                           f"{' '.join(summary.problems)}")
    return summary
