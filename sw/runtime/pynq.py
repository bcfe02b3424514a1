"""An accelerator on a board with PYNQ, whose library then does what Linux would be asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..outcome import DeviceError
from ..rtl.registers import ADDRESS_BITS
from .transport import Transport

__all__ = ["BUFFER_BYTES", "Pynq"]

BUFFER_BYTES = 128 << 20
"""Bytes of memory that are asked for, if not said otherwise."""


class Pynq(Transport):
    """Registers and memory by PYNQ. The run's end is polled.

    Parameters
    ----------
    bitstream : path
        A ``.bit``, with the ``.hwh`` of the same name beside it; it is loaded.
    name : :class:`str`
        Of the accelerator in the block design.
    size : :class:`int`
        Bytes of memory; by default :data:`BUFFER_BYTES`.

    Raises
    ------
    DeviceError
        If PYNQ is not there, or the design has no such block.
    """

    def __init__(self, bitstream: str | Path, *, name: str = "accelerator",
                 size: int | None = None) -> None:
        try:
            pynq = importlib.import_module("pynq")
        except ModuleNotFoundError:
            raise DeviceError("The device pynq needs the package pynq, which works on the board "
                              "alone; without it the device uio does the same") from None
        if not Path(bitstream).is_file():
            raise DeviceError(f"The device pynq must be named with a bitstream, pynq:FILE.bit, and "
                              f"{str(bitstream)!r} is no file")
        blocks = pynq.Overlay(str(bitstream)).ip_dict
        if name not in blocks:
            raise DeviceError(f"The design of {bitstream} must have a block named {name}, and it "
                              f"has {', '.join(blocks) or 'none'}")
        self._registers = pynq.MMIO(blocks[name]["phys_addr"], 1 << ADDRESS_BITS)
        size = size or BUFFER_BYTES
        # So many more that a multiple of 4096 is near the start.
        self._buffer = pynq.allocate(shape=(size + 4095,), dtype=np.uint8)
        self._first = -self._buffer.device_address % 4096
        self.base, self.size = self._buffer.device_address + self._first, size

    def read(self, offset: int) -> int:
        return int(self._registers.read(offset))

    def write(self, offset: int, value: int) -> None:
        self._registers.write(offset, value)

    def upload(self, address: int, data: NDArray[np.uint8]) -> None:
        first = self._first + address - self.base
        self._buffer[first:first + data.size] = data
        self._buffer.flush()

    def download(self, address: int, size: int) -> NDArray[np.uint8]:
        first = self._first + address - self.base
        self._buffer.invalidate()
        return np.array(self._buffer[first:first + size])

    def close(self) -> None:
        self._buffer.freebuffer()
