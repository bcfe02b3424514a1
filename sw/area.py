"""What a geometry takes of an UltraScale+ FPGA, predicted from its sizes alone.

DSPs and block RAMs follow from what the hardware is made of, and are exact. LUTs are a sum over the
blocks of :func:`~heddle.boards.synth.synthesise`, each a sum of sizes times LUTs: least squares of
what Yosys counted for the presets, see :mod:`heddle.boards.fit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from .rtl.geometry import Geometry

__all__ = ["Area", "SIZES", "luts", "predict", "sizes"]

_RAMS = {False: ((72, 512), (36, 1024), (18, 2048), (9, 4096)),
         True: ((36, 1024), (18, 2048), (9, 4096))}
"""Width and depth of a RAMB36, simple and true dual port; a RAMB18 has half of either."""

_QUEUE_BITS = 1024
"""Width from which on a queue is in block RAM."""

_LANE_DSPS = 6  # scale, activation, and four of the normalisation; and those of the softmax
_ROOT_DSPS = 7
_ROOT_RAM = 0.5  # table of the root

SIZES = {
    "cells": ("cells", "products", "candidates"),
    "array": ("cells", "weights", "selectors"),
    "row buffers": ("lanes", "outputs"),
    "drain": ("lanes", "outputs"),
    "softmax": ("softmax lanes", "vectors"),
    "norm": ("one", "lanes"),
    "compute": ("one", "addresses", "selectors"),
    "lists": ("one", "depth", "selectors"),
    "load": ("one", "ports", "port words"),
    "store": ("one", "ports", "port words"),
    "scratchpad": ("words", "bank words"),
    "core": ("one", "vectors", "selectors"),
    "staging": ("one",),
    "sequencer": ("one",),
    "operand": ("banks",),
    "tokens": ("one",),
    "registers": ("one",),
    "held_gives": ("one",),
    "top": ("one",),
}
"""The sizes that the LUTs of each block are in proportion to."""


@dataclass(frozen=True)
class Area:
    """Primitives of an UltraScale+ FPGA."""

    lut: int
    dsp: int
    """DSP48E2."""
    bram36: float
    """RAMB36E2; a RAMB18E2 is half of one."""

    def as_dict(self) -> dict[str, int | float]:
        """Return the numbers by name."""
        return asdict(self)


def sizes(geometry: Geometry) -> Mapping[str, int]:
    """Return the sizes of a geometry that :data:`SIZES` names."""
    g = geometry
    return {
        "one": 1, "lanes": g.lanes, "softmax lanes": g.lanes * g.softmax_rows, "depth": g.depth,
        "outputs": g.lanes * g.rows, "cells": g.rows * g.lanes,
        "products": g.rows * g.lanes * g.depth,
        "candidates": g.rows * g.lanes * g.depth * (g.candidates - 1),
        "weights": g.rows * g.depth, "vectors": g.depth * g.lanes,
        "selectors": g.depth * g.rows * g.candidate_bits, "words": g.word_bytes,
        "addresses": g.pool_bits,
        "bank words": g.word_bytes * g.scratchpad_banks, "banks": g.depth * g.candidates,
        "ports": g.dma_ports, "port words": g.dma_ports * g.word_bytes,
    }


def luts(geometry: Geometry, table: Mapping[str, Sequence[float]]) -> float:
    """Return the LUTs of all blocks, of which a table has those for each of their sizes."""
    size = sizes(geometry)
    return sum(size[name] * number for block, numbers in table.items()
               for name, number in zip(SIZES[block], numbers, strict=True))


def predict(geometry: Geometry) -> Area:
    """Return what an accelerator is expected to take."""
    g = geometry
    word = 8 * g.word_bytes
    entry = g.depth * ((g.list_steps - 1).bit_length() + g.rows * g.candidate_bits)
    # Words of lists, of gaps and perhaps selectors, and of both passes of NORM; loads, with their
    # addresses.
    queues = [word] * (4 if g.candidates > 1 else 3) + [word + g.pool_bits + 1 + g.dma_ports]
    return Area(
        lut=round(luts(g, _LUTS)),
        dsp=(g.rows * g.lanes * g.depth // 2 + g.lanes * (_LANE_DSPS + g.softmax_rows)
             + _ROOT_DSPS),
        bram36=(g.scratchpad_banks * _brams(word, g.bank_words, dual=True)
                + g.depth * g.candidates * _brams(8 * g.lanes, g.list_steps)
                + _brams(entry, g.list_steps) + _ROOT_RAM
                + sum(_brams(width, 64) for width in queues if width >= _QUEUE_BITS)))


def _brams(width: int, depth: int, *, dual: bool = False) -> float:
    """Return how many RAMB36 a memory takes, all of one shape; a RAMB18 is half of one."""
    return min(-(-width // (wide // part)) * -(-depth // deep) / part
               for wide, deep in _RAMS[dual] for part in (1, 2))


_LUTS: dict[str, tuple[float, ...]] = {
    "cells": (172.0, 1.533e-14, 2.667),
    "array": (9.409, 35.94, 0.0),
    "row buffers": (115.9, 0.0),
    "drain": (453.1, 8.383),
    "softmax": (273.5, 5.801),
    "norm": (1382.0, 381.6),
    "compute": (1618.0, 62.98, 1.955),
    "lists": (132.8, 132.5, 20.64),
    "load": (1287.0, 40.71, 15.06),
    "store": (988.2, 201.1, 7.767),
    "scratchpad": (27.23, 0.0),
    "core": (159.5, 4.932, 1.939),
    "staging": (612.9,),
    "sequencer": (1450.0,),
    "operand": (3.377,),
    "tokens": (553.0,),
    "registers": (303.5,),
    "held_gives": (41.0,),
    "top": (79.92,),
}
