"""The instructions of residual sums and normalisations, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

from .assembler import Instruction
from .integer import QuantisedNorm
from .part import Matrix, load_words, store_words
from .rtl.geometry import Geometry
from .rtl.isa import Opcode

__all__ = ["NormPart", "Stream"]


@dataclass(frozen=True)
class Stream:
    """A tensor that passes through the scratchpad in tiles of ``lanes`` tokens."""

    pool: Matrix
    """Where the tiles are in the scratchpad; in a ring, if they only pass."""
    dram: Matrix | None
    """Where they come from, or go to; ``None`` if they are in the scratchpad alone."""


@dataclass(frozen=True)
class NormPart:
    """Makes the instructions of a layer; every tile has some of its own.

    So what reads the outputs can begin with the first tile while others are under way.
    """

    geometry: Geometry
    layer: QuantisedNorm
    words: int
    """Words of a tile."""
    params: int
    """Scratchpad address of the parameters."""
    streams: dict[str, Stream]

    def tile(self, tile: int) -> list[Instruction]:
        """Load what is missing of the inputs of a tile, compute it, and store what is to leave."""
        return ([load_words(self.geometry, stream.dram[tile], stream.pool[tile], self.words)
                 for stream in map(self.streams.__getitem__, self.layer.inputs) if stream.dram]
                + [self.instruction(self._places(tile))]
                + [store_words(self.geometry, stream.dram[tile], stream.pool[tile], self.words)
                   for stream in map(self.streams.__getitem__, self.layer.outputs) if stream.dram])

    def _places(self, tile: int) -> dict[str, int]:
        names = dict(zip("xo", self.layer.inputs)) | {"s": self.layer.sum, "c": self.layer.output}
        return {field: self.streams[name].pool[tile] for field, name in names.items() if name}

    def instruction(self, places: dict[str, int]) -> Instruction:
        """Compute a tile whose tensors are in some places of the scratchpad."""
        layer = self.layer
        return Instruction(Opcode.NORM, places | layer.scales.fields | {
            "params": self.params, "count": 1, "words": self.words,
            "residual": len(layer.inputs) == 2, "sum": layer.sum is not None,
            "norm": layer.output is not None, "rms": layer.rms})
