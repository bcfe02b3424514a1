"""Accelerators on boards: the ways to their registers and memory, and the device that uses them."""

from .board import Board
from .transport import Transport

__all__ = ["Board", "Transport"]
