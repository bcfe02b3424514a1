"""What the flow of a board is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from ..rtl.geometry import Geometry

__all__ = ["Board"]


class Board(ABC):
    """A board, and the flow that makes its bitstream in a folder."""

    name: str
    """As it is called on the command line."""
    geometry: str
    """The preset that is meant for it."""

    @abstractmethod
    def write(self, geometry: Geometry, folder: Path, clock_mhz: float) -> list[Path]:
        """Write into a folder, which exists, all that the tools need, and return the files.

        The folder may be moved, and the flow run in it by hand.

        Raises
        ------
        ValueError
            If the geometry does not fit the board, or the clock cannot be made.
        """

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Run the tools in a folder that :meth:`write` has filled.

        They leave the bitstream and ``summary.json``, a
        :class:`~heddle.boards.summary.Summary`. That lists the problems of a bitstream that must
        not be used, whose name then ends in ``_bad_timing``.

        Raises
        ------
        RuntimeError
            If a tool is missing or fails. The message says where to go on.
        """
