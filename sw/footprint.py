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
from .rtl.isa import MAX_FEATURES, Layout, Opcode

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
    words = np.arange(i["steps"] + geometry.channel_words * i["drain"])
    steps = i["steps"]
    if i["listed"]:
        _check_list(i, geometry)
        behind = i["steps"] + geometry.channel_words
        words = np.append(words, behind + np.arange(geometry.list_words(i["steps"], i["wide"])))
        steps = i["b_stride"]
    start = i["a"] + _ring(i.count, i["a_ring"]) * i["a_stride"]
    b = _grid(i["b"], (i["tiles"], i["b_stride"]), (steps, 1)).ravel()
    accesses = [Access(Space.POOL, False, start[:, None] + words),
                Access(Space.OPERAND, False, np.broadcast_to(b, (i.count, b.size)))]
    if i["drain"]:
        c = _grid(i["c"], (i.count, i["c_stride"]), (i["tiles"], i["c_tile_stride"]))
        c = c[..., None] + _drained(i, geometry)
        accesses.append(Access(Space.POOL, True, c.reshape(i.count, -1)))
    return accesses


def _check_list(i: Instruction, geometry: Geometry) -> None:
    if i["steps"] > geometry.list_steps:
        raise ValueError(f"MATMUL field steps must be at most {geometry.list_steps}, the steps of "
                         f"the longest list, not {i['steps']}")
    if not i["b_stride"]:
        raise ValueError("MATMUL field b_stride must be at least 1, not 0: a list may visit all "
                         "steps from one tile to the next")
    for name in ("b", "b_stride"):
        if i[name] % geometry.candidates:
            raise ValueError(f"MATMUL field {name} must be a multiple of the "
                             f"{geometry.candidates} candidates, not {i[name]}: lists visit whole "
                             "addresses")


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


def _norm(i: Instruction, geometry: Geometry) -> list[Access]:
    words = i["words"]
    most = min(words * geometry.vectors_per_word, MAX_FEATURES)
    if not 1 <= i["features"] <= most:
        raise ValueError(f"NORM field features must be between 1 and {most}, not {i['features']}")
    if not i["norm"] and not i["sum"]:
        raise ValueError("NORM must have norm or sum; it would write nothing")
    table = geometry.norm_words(words) * (1 + i["norm"])
    params = np.broadcast_to(i["params"] + np.arange(table), (i.count, table))
    x, o, s, c = (_grid(i[name], (i.count, i[f"{name}_stride"]), (words, 1)) for name in "xosc")
    sources = [x, o] if i["residual"] else [x]
    targets = ([s] if i["sum"] else []) + ([c] if i["norm"] else [])
    for target in targets:
        if np.isin(target, params).any():
            raise ValueError("NORM must not write over its parameters: every tile reads them")
        for source in sources:
            # In a pass a word is read before it is written; the second pass reads all again.
            ahead = target[:, 0] - source[:, 0]
            free = -words if target is s and i["norm"] else 0
            if ((ahead > free) & (ahead < words)).any():
                raise ValueError("NORM must not write over what it has still to read of a tile")
    return ([Access(Space.POOL, False, addresses) for addresses in (*sources, params)]
            + [Access(Space.POOL, True, addresses) for addresses in targets])


_FOOTPRINTS = {Opcode.LOAD: _transfer, Opcode.STORE: _transfer, Opcode.FILL: _fill,
               Opcode.MATMUL: _matmul, Opcode.ATTEND: _attend, Opcode.NORM: _norm}


def footprint(instruction: Instruction, geometry: Geometry) -> list[Access]:
    """Return what an instruction touches: the source first, the destination last.

    A MATMUL reads its blocks of A (with the channel parameters behind them, if it drains, and then
    their lists, if it has some), then its steps of B (with lists, all steps of its tiles), and
    writes its drained tiles, if it drains. An ATTEND reads keys, values, queries, and masks if it
    has some, and writes the drained outputs if its heads end. It reads the values late. A NORM
    reads x, o if it is residual, and its parameters, and writes the sum and the normalised tiles,
    if it makes them.

    Raises
    ------
    ValueError
        If a loop has no iteration, a DRAM address is not that of a word, a list is too long or its
        tiles do not start at whole addresses, a NORM has too many features or writes nothing, or
        what it has still to read, or an on-chip address lies outside its memory.
    """
    loops = {Opcode.LOAD: ("count", "rows", "words"), Opcode.STORE: ("count", "rows", "words"),
             Opcode.FILL: ("count", "steps"), Opcode.MATMUL: ("blocks", "tiles", "steps"),
             Opcode.ATTEND: ("group", "jobs", "tiles", "steps", "blocks"),
             Opcode.NORM: ("count", "words")}
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
