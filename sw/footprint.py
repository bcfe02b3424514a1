"""The words that each iteration of an instruction reads and writes.

The compiler derives the dependency tokens from them, and the golden executor moves the data that
they name.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import cached_property

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


Loop = tuple[int, int]
"""A count and a stride."""


@dataclass(frozen=True)
class Access:
    """What the iterations of an instruction touch in one space, in the order of the transfer."""

    space: Space
    write: bool
    start: int
    """The first address."""
    outer: Loop
    """The iterations."""
    inner: tuple[Loop, ...]
    """The loops of an iteration, outermost first."""
    ring: int = 0
    """Iterations after which the addresses begin anew; 0 if they do not."""
    late: bool = False
    """Whether the queue may begin later instructions before, up to their own late accesses."""
    constant: bool = False
    """Whether all iterations read the same words."""

    @property
    def lowest(self) -> int:
        """The lowest address."""
        return self.start

    @cached_property
    def highest(self) -> int:
        """The highest address."""
        count, stride = self.outer
        return (self.start + (min(count, self.ring or count) - 1) * stride
                + sum((count - 1) * stride for count, stride in self.inner))

    @cached_property
    def size(self) -> int:
        """Words of an iteration."""
        return math.prod(count for count, _ in self.inner)

    @cached_property
    def consecutive(self) -> bool:
        """Whether the words, of one iteration if that is all, follow each other from the start."""
        size, loops = 1, self.inner if self.constant else (self.outer, *self.inner)
        for count, stride in reversed(loops):
            if count > 1 and stride != size:
                return False
            size *= count
        return self.constant or not self.ring or self.ring >= self.outer[0]

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """Addresses of the first iteration."""
        addresses = np.asarray(self.start, np.int64)
        for count, stride in self.inner:
            addresses = addresses[..., np.newaxis] + np.arange(count, dtype=np.int64) * stride
        return addresses.ravel()

    @cached_property
    def addresses(self) -> NDArray[np.int64]:
        """All addresses, shape ``[iterations, words]``."""
        count, stride = self.outer
        if self.constant:
            return np.broadcast_to(self.row, (count, self.size))
        starts = np.arange(count, dtype=np.int64) % (self.ring or count) * stride
        return starts[:, np.newaxis] + self.row


def _transfer(i: Instruction, geometry: Geometry) -> list[Access]:
    word = geometry.word_bytes
    for name in ("dram", "dram_stride", "dram_row_stride"):
        if i[name] % word:
            raise ValueError(f"{i.opcode.name} field {name} must be a multiple of a word of "
                             f"{word} bytes, not {i[name]}")
    load = i.opcode == Opcode.LOAD
    dram = Access(Space.DRAM, not load, i["dram"] // word, (i.count, i["dram_stride"] // word),
                  ((i["rows"], i["dram_row_stride"] // word), (i["words"], 1)))
    pool = Access(Space.POOL, load, i["pool"], (i.count, i["pool_stride"]),
                  ((i["rows"], i["pool_row_stride"]), (i["words"], 1)), i["ring"])
    return [dram, pool] if load else [pool, dram]


def _fill(i: Instruction, geometry: Geometry) -> list[Access]:
    return [Access(Space.POOL, False, i["pool"], (i.count, i["pool_stride"]),
                   ((i["steps"] * geometry.step_words, 1),)),
            Access(Space.OPERAND, True, i["operand"], (i.count, i["stride"]), ((i["steps"], 1),))]


def _drained(i: Instruction, geometry: Geometry) -> tuple[Loop, ...]:
    """Return the loops of the words of a drained tile."""
    if i["layout"] == Layout.BLOCKS:
        return ((geometry.tile_words // geometry.tile_steps, i["c_part_stride"]),
                (geometry.tile_steps, 1))
    return ((geometry.tile_words, 1),)


def _matmul(i: Instruction, geometry: Geometry) -> list[Access]:
    words = i["steps"] + geometry.channel_words * (i["drain"] | i["listed"])
    steps = i["steps"]
    if i["listed"]:
        _check_list(i, geometry)
        words += geometry.list_words(i["steps"], i["wide"])
        steps = i["b_stride"]
    accesses = [Access(Space.POOL, False, i["a"], (i.count, i["a_stride"]), ((words, 1),),
                       i["a_ring"]),
                Access(Space.OPERAND, False, i["b"], (i.count, 0),
                       ((i["tiles"], i["b_stride"]), (steps, 1)), constant=True)]
    if i["drain"]:
        accesses.append(Access(Space.POOL, True, i["c"], (i.count, i["c_stride"]),
                               ((i["tiles"], i["c_tile_stride"]), *_drained(i, geometry))))
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

    def access(name: str, *loops: Loop, space: Space = Space.POOL, write: bool = False,
               late: bool = False) -> Access:
        return Access(space, write, i[name], (1, 0), loops, late=late)

    accesses = [
        access("k", (groups, i["k_head_stride"]), (i["tiles"], i["k_stride"]), (i["steps"], 1)),
        access("v", (groups, i["v_head_stride"]), (i["tiles"], i["v_stride"]),
               (i["blocks"], i["v_block_stride"]), (geometry.tile_steps, 1), late=True),
        access("q", (jobs, i["q_head_stride"]), (i["steps"], 1), space=Space.OPERAND)]
    if i["masked"]:
        accesses.append(access("mask", (i["tiles"], i["mask_stride"])))
    if i["end"]:
        accesses.append(access("c", (jobs, i["c_head_stride"]), (i["blocks"], i["c_stride"]),
                               *_drained(i, geometry), write=True))
    return accesses


def _norm(i: Instruction, geometry: Geometry) -> list[Access]:
    words = i["words"]
    most = min(words * geometry.vectors_per_word, MAX_FEATURES)
    if not 1 <= i["features"] <= most:
        raise ValueError(f"NORM field features must be between 1 and {most}, not {i['features']}")
    if not i["norm"] and not i["sum"]:
        raise ValueError("NORM must have norm or sum; it would write nothing")

    def access(name: str, write: bool) -> Access:
        return Access(Space.POOL, write, i[name], (i.count, i[f"{name}_stride"]), ((words, 1),))

    params = Access(Space.POOL, False, i["params"], (i.count, 0),
                    ((geometry.norm_words(words) * (1 + i["norm"]), 1),), constant=True)
    sources = [access(name, False) for name in "xo"[:1 + i["residual"]]]
    targets = {name: access(name, True)
               for name, made in (("s", i["sum"]), ("c", i["norm"])) if made}
    for name, target in targets.items():
        if (target.lowest <= params.highest and target.highest >= params.lowest
                and np.isin(target.addresses, params.row).any()):
            raise ValueError("NORM must not write over its parameters: every tile reads them")
        for source in sources:
            # In a pass a word is read before it is written; the second pass reads all again.
            free = -words if name == "s" and i["norm"] else 0
            ahead = target.start - source.start + np.arange(i.count) * (
                target.outer[1] - source.outer[1])
            if ((ahead > free) & (ahead < words)).any():
                raise ValueError("NORM must not write over what it has still to read of a tile")
    return [*sources, params, *targets.values()]


_FOOTPRINTS = {Opcode.LOAD: _transfer, Opcode.STORE: _transfer, Opcode.FILL: _fill,
               Opcode.MATMUL: _matmul, Opcode.ATTEND: _attend, Opcode.NORM: _norm}


def footprint(instruction: Instruction, geometry: Geometry) -> list[Access]:
    """Return what an instruction touches: the source first, the destination last.

    A MATMUL reads its blocks of A (with the channel parameters behind them, if it drains or has
    lists, and then their lists), then its steps of B (with lists, all steps of its tiles), and
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
        if size is not None and access.highest >= size:
            raise ValueError(
                f"{instruction.opcode.name} {'writes' if access.write else 'reads'} address "
                f"{access.highest} of the {access.space.value}, which has {size}")
    return accesses
