"""An accelerator beside the processors of a Zynq UltraScale+, from Linux user space.

No kernel module of ours is needed. The registers are a UIO device (``generic-uio``), which brings
the interrupt, or a page of ``/dev/mem``. The memory is a buffer of `u-dma-buf
<https://github.com/ikwzm/udmabuf>`_: contiguous, at a physical address that the kernel tells. The
processors cache it and the accelerator does not see their caches, so it is flushed before a run and
invalidated after.
"""

from __future__ import annotations

import mmap
import os
import time
import weakref

import numpy as np
from numpy.typing import NDArray

from ..outcome import DeviceError
from ..rtl.registers import OFFSETS, mask
from .fpga import state
from .linux import Linux
from .transport import Transport

__all__ = ["REGISTERS_ADDRESS", "Uio"]

REGISTERS_ADDRESS = 0xA000_0000
"""Where the processors of the ZCU102 see the registers."""

_CLASSES = ("sys/class/u-dma-buf", "sys/class/udmabuf")
"""Folders of the buffers in sysfs, as new and old versions of the driver have them."""

_DONE = mask("STATUS", "done")


class Uio(Transport):
    """Registers by UIO or ``/dev/mem``, memory by u-dma-buf.

    Parameters
    ----------
    name : :class:`str`
        Of the UIO device.
    buffer : :class:`str`
        Of the u-dma-buf device.
    address : :class:`int`
        Physical address of the registers, for ``/dev/mem`` if there is no UIO device of that name.
    linux : :class:`~heddle.runtime.linux.Linux`

    Raises
    ------
    DeviceError
        If a device is missing, not for this user, or in use; the message says what to do.
    """

    def __init__(self, name: str = "heddle", *, buffer: str = "udmabuf-heddle",
                 address: int = REGISTERS_ADDRESS, linux: Linux | None = None) -> None:
        self._linux = linux or Linux()
        self._files: list[int] = []
        self._closer = weakref.finalize(self, _close, self._files)
        try:
            self._open_buffer(buffer)
            self._interrupts = self._open_registers(name, address)
        except BaseException:
            self.close()
            raise

    def _open_buffer(self, name: str) -> None:
        """Find the memory and map it."""
        linux = self._linux
        folders = [folder for folder in _CLASSES if name in linux.children(folder)]
        self._sysfs = f"{(folders or _CLASSES)[0]}/{name}"
        need = (f"load the driver u-dma-buf and a device tree overlay with a buffer named {name}, "
                "as docs/runtime.md shows")
        self.base = int(linux.read(f"{self._sysfs}/phys_addr", need), 16)
        self.size = int(linux.read(f"{self._sysfs}/size", need))
        self._files.append(linux.open(f"dev/{name}", need))
        self._memory = linux.map(self._files[-1], self.size, np.uint8)

    def _open_registers(self, name: str, address: int) -> bool:
        """Find the registers and map them; return whether there is an interrupt."""
        linux = self._linux
        folder = "sys/class/uio"
        need = "load the device tree overlay of the bitstream, as docs/runtime.md shows"
        found = [node for node in linux.children(folder)
                 if linux.read(f"{folder}/{node}/name", need) == name]
        if found:
            size = int(linux.read(f"{folder}/{found[0]}/maps/map0/size", need), 16)
            self._files.append(linux.open(f"dev/{found[0]}", need))
            self._registers = linux.map(self._files[-1], size, np.uint32)
        else:
            # A processor that asks an FPGA without configuration waits for ever.
            if state(linux) != "operating":
                raise DeviceError("The FPGA must be configured before its registers are read, and "
                                  f"its state is {state(linux)!r}: load a bitstream first, with "
                                  "heddle load")
            self._files.append(linux.open("dev/mem", need, os.O_SYNC))
            self._registers = linux.map(self._files[-1], mmap.PAGESIZE, np.uint32, address)
        return bool(found)

    def read(self, offset: int) -> int:
        return int(self._registers[offset // 4])

    def write(self, offset: int, value: int) -> None:
        self._registers[offset // 4] = value

    def upload(self, address: int, data: NDArray[np.uint8]) -> None:
        place = self._place(address, data.size)
        self._memory[place] = data
        self._sync("sync_for_device", place)

    def download(self, address: int, size: int) -> NDArray[np.uint8]:
        place = self._place(address, size)
        self._sync("sync_for_cpu", place)
        return self._memory[place].copy()

    def wait(self, timeout: float) -> None:
        if not self._interrupts:
            return super().wait(timeout)
        end = time.monotonic() + timeout
        while not self.read(OFFSETS["STATUS"]) & _DONE:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"The run must end within {timeout:g} s, and it has not")
            self._linux.interrupt(self._files[-1], left)

    def close(self) -> None:
        # Without the arrays nothing is mapped any more.
        self._memory, self._registers = np.zeros(0, np.uint8), np.zeros(0, np.uint32)
        self._closer()

    def _place(self, address: int, size: int) -> slice:
        first = address - self.base
        if not 0 <= first <= first + size <= self.size:
            raise ValueError(f"Bytes must lie within the buffer of {self.size:,} bytes at "
                             f"{self.base:#x}, and {size:,} at {address:#x} do not")
        return slice(first, first + size)

    def _sync(self, attribute: str, place: slice) -> None:
        """Write caches back, or forget what they hold of bytes that the accelerator wrote."""
        for name, value in (("sync_offset", place.start), ("sync_size", place.stop - place.start),
                            ("sync_direction", 0), (attribute, 1)):
            self._linux.write(f"{self._sysfs}/{name}", f"{value}",
                              "this version of u-dma-buf has no manual synchronisation")


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
