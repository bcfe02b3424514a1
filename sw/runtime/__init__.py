"""Accelerators on boards: the ways to their registers and memory, and the device that uses them."""

from __future__ import annotations

from collections.abc import Callable

from ..outcome import DeviceError
from .board import Board, probe
from .transport import Transport

__all__ = ["TRANSPORTS", "Board", "Transport", "open_transport", "probe"]


def _uio(place: str) -> Transport:
    from .uio import Uio

    return Uio(place) if place else Uio()


def _pynq(place: str) -> Transport:
    from .pynq import Pynq

    return Pynq(place)


def _uart(place: str) -> Transport:
    from .uart import Uart

    if not place:
        raise DeviceError("A board at a serial port must be named with its port, as "
                          "uart:/dev/ttyUSB0")
    return Uart(place)


TRANSPORTS: dict[str, Callable[[str], Transport]] = {"uio": _uio, "pynq": _pynq, "uart": _uart}
"""The ways by name; each takes what follows the name and a colon: a device, a file or a port."""


def open_transport(name: str) -> Transport:
    """Return the way to an accelerator: ``uio``, ``uio:NAME``, ``pynq:FILE.bit`` or ``uart:PORT``.

    Raises
    ------
    DeviceError
        If the way is not open.
    ValueError
        If there is no such way.
    """
    kind, _, place = name.partition(":")
    if kind not in TRANSPORTS:
        raise ValueError(f"The way to a board must be one of {', '.join(TRANSPORTS)}, not {name!r}")
    return TRANSPORTS[kind](place)
