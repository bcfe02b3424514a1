"""Configures the FPGA of a Zynq UltraScale+ from Linux."""

from __future__ import annotations

from pathlib import Path

from ..outcome import DeviceError
from .linux import Linux

__all__ = ["load", "state"]

_MANAGER = "sys/class/fpga_manager/fpga0"
_FIRMWARE = "lib/firmware"
_OVERLAYS = "sys/kernel/config/device-tree/overlays"
_OVERLAY = f"{_OVERLAYS}/heddle"

_NEED_MANAGER = ("the kernel needs the FPGA manager of a Zynq UltraScale+ "
                 "(CONFIG_FPGA_MGR_ZYNQMP_FPGA)")
_NEED_FILE = ("this kernel's FPGA manager takes no file from user space, as Xilinx's kernels do; "
              "load a device tree overlay, whose firmware-name names the bitstream")
_NEED_OVERLAYS = ("the kernel needs overlays in configfs (CONFIG_OF_CONFIGFS), and configfs "
                  "mounted at /sys/kernel/config")

_BIT = bytes.fromhex("0009 0ff0")
"""The first bytes of a ``.bit``."""


def state(linux: Linux) -> str:
    """Return the state of the FPGA: ``operating`` if it is configured."""
    return linux.read(f"{_MANAGER}/state", _NEED_MANAGER)


def load(bitstream: str | Path, overlay: str | Path | None = None, *,
         linux: Linux | None = None) -> None:
    """Configure the FPGA.

    The bitstream is copied to ``/lib/firmware``. An overlay names it there, loads it when it is
    applied, and brings the devices that :class:`~heddle.runtime.uio.Uio` opens; one that was
    applied before is removed first. Without an overlay clocks, port widths and devices must be
    right already.

    Parameters
    ----------
    bitstream : path
        A ``.bit.bin``.
    overlay : path
        A ``.dtbo``.
    linux : :class:`~heddle.runtime.linux.Linux`

    Raises
    ------
    DeviceError
        If the kernel lacks something or does not take the files.
    ValueError
        If the bitstream is empty or a ``.bit``.
    """
    linux, bitstream = linux or Linux(), Path(bitstream)
    data = bitstream.read_bytes()
    if not data or data.startswith(_BIT):
        raise ValueError(f"{bitstream} must hold bare configuration data (.bit.bin), and it is "
                         f"{'a .bit, which heddle bitstream converts' if data else 'empty'}")
    linux.save(f"{_FIRMWARE}/{bitstream.name}", data, "the file system must be writable")
    if overlay is None:
        linux.write(f"{_MANAGER}/flags", "0", _NEED_FILE)
        linux.write(f"{_MANAGER}/firmware", bitstream.name, _NEED_FILE)
    else:
        _apply(Path(overlay).read_bytes(), linux)
    found = state(linux)
    if found != "operating":
        raise DeviceError(f"The FPGA must be operating after {bitstream.name} was loaded, and its "
                          f"state is {found!r}: dmesg says why; the bitstream must be for this "
                          "device")


def _apply(overlay: bytes, linux: Linux) -> None:
    if not linux.path(_OVERLAYS).is_dir():
        raise DeviceError(f"{linux.path(_OVERLAYS)} must be there, and it is not: {_NEED_OVERLAYS}")
    linux.remove(_OVERLAY, _NEED_OVERLAYS)
    linux.make(_OVERLAY, _NEED_OVERLAYS)
    linux.write(f"{_OVERLAY}/dtbo", overlay, "dmesg says what is wrong with the overlay")
    found = linux.read(f"{_OVERLAY}/status", _NEED_OVERLAYS)
    if found != "applied":
        raise DeviceError(f"The overlay must be applied, and its status is {found!r}: dmesg says "
                          "why; it must be for the base device tree of this board")
