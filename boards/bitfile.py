"""From Vivado's ``.bit`` to the ``.bit.bin`` that Linux loads into a Zynq UltraScale+.

This file uses nothing but the standard library, and a build folder has a copy of it:
``python3 bitfile.py heddle.bit`` writes ``heddle.bit.bin``.

A ``.bit`` is a preamble of 13 bytes, then fields of a letter, a length and data: ``a`` the name of
the design, ``b`` the part, ``c`` the date, ``d`` the time, with lengths of 2 bytes, and ``e`` the
configuration data, whose length has 4. All numbers are big-endian. ``fpga_manager`` of the Linux
kernel takes the bare configuration data with the bytes of each 32-bit word reversed. Bootgen makes
the same from a ``.bit`` with ``-arch zynqmp -process_bitstream bin``.
"""

from __future__ import annotations

import array
import sys
from pathlib import Path

__all__ = ["bit_to_bin"]

_PREAMBLE = bytes.fromhex("0009 0ff0 0ff0 0ff0 0ff0 00 0001")


def bit_to_bin(bit: bytes) -> bytes:
    """Return the contents of the ``.bit.bin`` of a ``.bit``.

    Raises
    ------
    ValueError
        If it is no complete ``.bit``.
    """
    if not bit.startswith(_PREAMBLE):
        raise ValueError(f"A .bit must begin with {_PREAMBLE.hex()}, not "
                         f"{bit[:len(_PREAMBLE)].hex() or 'be empty'}")
    at = len(_PREAMBLE)
    for key in b"abcd":
        at = _skip(bit, at, key)
    size = int.from_bytes(bit[at + 1:at + 5], "big")
    data = bit[at + 5:]
    if bit[at:at + 1] != b"e" or len(data) != size:
        raise ValueError(f"A .bit must end with field e of configuration data, {size} bytes by its "
                         f"header, and there are {len(data)} after field {bit[at:at + 1]!r}")
    if size % 4:
        raise ValueError(f"Configuration data must be whole words of 4 bytes, not {size} bytes")
    words = array.array("I", data)  # of 4 bytes wherever Python runs
    words.byteswap()
    return words.tobytes()


def _skip(bit: bytes, at: int, key: int) -> int:
    """Return where the field after this one begins."""
    if bit[at:at + 1] != bytes([key]):
        raise ValueError(f"Field {chr(key)} must begin at byte {at} of a .bit, not "
                         f"{bit[at:at + 1]!r}")
    return at + 3 + int.from_bytes(bit[at + 1:at + 3], "big")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(f"{name}.bin").write_bytes(bit_to_bin(Path(name).read_bytes()))
