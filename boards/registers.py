"""The register map for software: ``docs/registers.md`` and a C header.

``python -m heddle.boards.registers [FILE]`` writes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ..rtl.geometry import Geometry
from ..rtl.registers import ADDRESS_BITS, REGISTERS, Field, Register

__all__ = ["document", "header"]

_PAGE = """\
# Registers

Written from `rtl/registers.py` by `python -m heddle.boards.registers docs/registers.md`. The C
header that `heddle verilog` writes has the same names.

The registers are 32 bits wide, at byte addresses of the AXI4-Lite subordinate `s_axi`, which has
{bits} address bits. Addresses without a register read as 0. Byte strobes are ignored.

| access | meaning |
|---|---|
| `r` | set by the hardware |
| `rw` | kept for the hardware |
| `w` | writing a one acts once; reads as 0 |
| `rw1c` | set by the hardware, cleared by writing a one |

A run: write `BASE`, `PROGRAM` and `LENGTH`, then `CONTROL.start`; wait for `STATUS.done` or the
interrupt; read `ERROR` if `STATUS.error` is set; clear `STATUS` by writing what was read. The
counters keep their values until the next start.

| address | register | bits | access | meaning |
|---|---|---|---|---|
{rows}
"""


def _bits(field: Field) -> str:
    last = field.offset + field.width - 1
    return f"{last}:{field.offset}" if field.width > 1 else str(field.offset)


def _rows() -> Iterator[str]:
    for register in REGISTERS:
        whole = register.fields[0].width == 32
        if not whole:
            yield f"| `0x{register.offset:02X}` | `{register.name}` | | | {register.doc} |"
        for field in register.fields:
            place = (f"| `0x{register.offset:02X}` | `{register.name}`" if whole
                     else f"| | `.{field.name}`")
            yield f"{place} | {_bits(field)} | {field.access} | {field.doc} |"


def document() -> str:
    """Return the page ``docs/registers.md``."""
    return _PAGE.format(bits=ADDRESS_BITS, rows="\n".join(_rows()))


def _defines(register: Register) -> Iterator[str]:
    name = f"HEDDLE_{register.name}"
    yield f"#define {name} 0x{register.offset:02X}u  /* {register.doc} */"
    for field in register.fields:
        if field.width < 32:
            mask = ((1 << field.width) - 1) << field.offset
            yield f"#define {name}_{field.name.upper()}_SHIFT {field.offset}  /* {field.doc} */"
            yield f"#define {name}_{field.name.upper()}_MASK 0x{mask:08X}u"


def header(geometry: Geometry) -> str:
    """Return a C header: the offset of each register, the shift and mask of each field.

    ``HEDDLE_FINGERPRINT`` is what the register ``GEOMETRY`` of this geometry shows.
    """
    lines = [line for register in REGISTERS for line in _defines(register)]
    return "\n".join([f"/* Registers of the Heddle accelerator {geometry.name}. */",
                      "#ifndef HEDDLE_REGISTERS_H", "#define HEDDLE_REGISTERS_H", "",
                      f"#define HEDDLE_FINGERPRINT 0x{geometry.fingerprint:08X}u", "",
                      *lines, "", "#endif", ""])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(document())
    else:
        sys.stdout.write(document())
