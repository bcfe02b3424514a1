"""The words that each iteration of an instruction reads and writes.

The compiler derives the dependency tokens from them, and the golden executor moves the data that
they name.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .assembler import Instruction
from .rtl.geometry import Geometry
from .rtl.isa import Layout, Opcode

__all__ = ["Access", "Space", "footprint"]


class Space(enum.Enum):
    """A memory with addresses of its own."""

    DRAM = "DRAM image"
    """In words, from the start of the image."""
    POOL = "scratchpad"
    """In words."""
    OPERAND = "operand buffer"
    """In steps."""


@dataclass(frozen=True)
class Access:
    """What the iterations of an instruction touch in one space, in the order of the transfer."""

    space: Space
    write: bool
    addresses: NDArray[np.int64]
    """Shape ``[iterations, words]``."""
    late: bool = False
    """Whether the queue may begin later instructions before, up to their own late accesses."""


def _grid(start: int, *loops: tuple[int, int]) -> NDArray[np.int64]:
    """Addresses of a loop nest, outermost first: ``(count, stride)``; shape ``[counts...]``."""
    addresses = np.asarray(start, np.int64)
    for count, stride in loops:
        addresses = addresses[..., np.newaxis] + np.arange(count, dtype=np.int64) * stride
    return addresses


def _ring(count: int, ring: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) % (ring or count)


def _transfer(i: Instruction, geometry: Geometry) -> list[Access]:
    for name in ("dram", "dram_stride", "dram_row_stride"):
        if i[name] % geometry.word_bytes:
            raise ValueError(f"{i.opcode.name} field {name} must be a multiple of a word of "
                             f"{geometry.word_bytes} bytes, not {i[name]}")
    row = _grid(0, (i["rows"], i["dram_row_stride"] // geometry.word_bytes), (i["words"], 1))
    dram = _grid(i["dram"] // geometry.word_bytes,
                 (i.count, i["dram_stride"] // geometry.word_bytes))[:, None] + row.ravel()
    row = _grid(0, (i["rows"], i["pool_row_stride"]), (i["words"], 1))
    start = i["pool"] + _ring(i.count, i["ring"]) * i["pool_stride"]
    pool = start[:, None] + row.ravel()
    if i.opcode == Opcode.LOAD:
        return [Access(Space.DRAM, False, dram), Access(Space.POOL, True, pool)]
    return [Access(Space.POOL, False, pool), Access(Space.DRAM, True, dram)]


def _fill(i: Instruction, geometry: Geometry) -> list[Access]:
    pool = _grid(i["pool"], (i.count, i["pool_stride"]), (i["steps"] * geometry.step_words, 1))
    operand = _grid(i["operand"], (i.count, i["stride"]), (i["steps"], 1))
    return [Access(Space.POOL, False, pool), Access(Space.OPERAND, True, operand)]


def _drained(i: Instruction, geometry: Geometry) -> NDArray[np.int64]:
    """Return where the words of a drained tile lie, from its first one."""
    words = np.arange(geometry.tile_words)
    if i["layout"] == Layout.BLOCKS:
        words += words // geometry.tile_steps * (i["c_part_stride"] - geometry.tile_steps)
    return words


def _matmul(i: Instruction, geometry: Geometry) -> list[Access]:
    words = i["steps"] + geometry.channel_words * i["drain"]
    start = i["a"] + _ring(i.count, i["a_ring"]) * i["a_stride"]
    b = _grid(i["b"], (i["tiles"], i["b_stride"]), (i["steps"], 1)).ravel()
    accesses = [Access(Space.POOL, False, start[:, None] + np.arange(words)),
                Access(Space.OPERAND, False, np.broadcast_to(b, (i.count, b.size)))]
    if i["drain"]:
        c = _grid(i["c"], (i.count, i["c_stride"]), (i["tiles"], i["c_tile_stride"]))
        c = c[..., None] + _drained(i, geometry)
        accesses.append(Access(Space.POOL, True, c.reshape(i.count, -1)))
    return accesses


def _attend(i: Instruction, geometry: Geometry) -> list[Access]:
    jobs, groups = i["jobs"], -(-i["jobs"] // i["group"])
    k = _grid(i["k"], (groups, i["k_head_stride"]), (i["tiles"], i["k_stride"]), (i["steps"], 1))
    v = _grid(i["v"], (groups, i["v_head_stride"]), (i["tiles"], i["v_stride"]),
              (i["blocks"], i["v_block_stride"]), (geometry.tile_steps, 1))
    q = _grid(i["q"], (jobs, i["q_head_stride"]), (i["steps"], 1))
    mask = _grid(i["mask"], (i["tiles"] * i["masked"], i["mask_stride"]))
    c = _grid(i["c"], (jobs * i["end"], i["c_head_stride"]), (i["blocks"], i["c_stride"]))
    c = c[..., None] + _drained(i, geometry)
    return [Access(space, write, addresses.reshape(1, -1), addresses is v)
            for space, write, addresses in (
                (Space.POOL, False, k), (Space.POOL, False, v), (Space.OPERAND, False, q),
                (Space.POOL, False, mask), (Space.POOL, True, c)) if addresses.size]


_FOOTPRINTS = {Opcode.LOAD: _transfer, Opcode.STORE: _transfer, Opcode.FILL: _fill,
               Opcode.MATMUL: _matmul, Opcode.ATTEND: _attend}


def footprint(instruction: Instruction, geometry: Geometry) -> list[Access]:
    """Return what an instruction touches: the source first, the destination last.

    A MATMUL reads its blocks of A (with the channel parameters behind them, if it drains), then
    its steps of B, and writes its drained tiles, if it drains. An ATTEND reads keys, values,
    queries, and masks if it has some, and writes the drained outputs if its heads end. It reads
    the values late.

    Raises
    ------
    ValueError
        If a loop has no iteration, a DRAM address is not that of a word, or an on-chip address
        lies outside its memory.
    """
    loops = {Opcode.LOAD: ("count", "rows", "words"), Opcode.STORE: ("count", "rows", "words"),
             Opcode.FILL: ("count", "steps"), Opcode.MATMUL: ("blocks", "tiles", "steps"),
             Opcode.ATTEND: ("group", "jobs", "tiles", "steps", "blocks")}
    for name in loops[instruction.opcode]:
        if not instruction[name]:
            raise ValueError(f"{instruction.opcode.name} field {name} must be at least 1, not 0")
    accesses = _FOOTPRINTS[instruction.opcode](instruction, geometry)
    sizes = {Space.POOL: geometry.scratchpad_words, Space.OPERAND: geometry.operand_steps}
    for access in accesses:
        size = sizes.get(access.space)
        if size is not None and access.addresses.max() >= size:
            raise ValueError(
                f"{instruction.opcode.name} {'writes' if access.write else 'reads'} address "
                f"{access.addresses.max()} of the {access.space.value}, which has {size}")
    return accesses
