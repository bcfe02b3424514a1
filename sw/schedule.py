"""The order of a program: instructions as if nothing overlapped, in the best order to overlap.

The order is one in which the results are right if each instruction ends before the next begins.
Queues and tokens then let everything overlap that can, so what matters is what each queue does
first. A queue holds few instructions; therefore loads stand before the computation of the part
before the one that needs them, and where blocks differ so that each takes instructions of its own,
loads and products stand in turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from .allocator import OperandRing
from .assembler import Instruction
from .form import Drained
from .order import FILL_SHARE, LATENCY, work
from .part import Matrix, Part
from .rtl.geometry import Geometry
from .rtl.isa import Queue
from .tiling import Product, Tiling

__all__ = ["Buffers", "Schedule"]

_PIECES = 3
"""Most pieces in which a tile of the first part arrives."""

_LEAST_STEPS = 8
"""Steps of a piece that are worth its instructions."""

_RUNS = 8
"""Most runs of blocks, each with instructions of its own, that each tile meets as it arrives."""

_AHEAD = 4
"""Loads that stand before the first product of a part: as many as a queue holds."""


@dataclass(frozen=True)
class Buffers:
    """Where the operands of a product lie.

    Inputs are indexed by tiles, weights in the scratchpad by the number of their load, and outputs
    in DRAM by tiles. Outputs that do not stay in the scratchpad are there indexed by parts.
    """

    x_dram: Matrix | None
    x: Matrix
    w_dram: int
    """Word where the weights start in DRAM."""
    w: Matrix
    c_dram: Matrix | None
    c: Matrix | Drained
    passing: int = 0
    """Cycles of each tile of the outputs on its way to the next product, beside its fill."""


class Schedule:
    """Writes a program, one product after another.

    Attributes
    ----------
    program : list of :class:`~heddle.assembler.Instruction`
    operands : :class:`~heddle.allocator.OperandRing`
        What lies in the operand buffer.
    late : set
        Keys of tiles in the operand buffer of which the last one comes late, to be used last.
    made : dict
        Which instruction is the last one to drain a tensor.
    deferred : dict
        Of tensors, the instructions that make each of their tiles and are not in the program yet:
        a product that reads them can meet each tile as it is made.
    after : dict of int to int
        Which instruction is to start after the end of which earlier one, though their data do not
        depend on each other.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.program: list[Instruction] = []
        self.after: dict[int, int] = {}
        self.late: set[Hashable] = set()
        self.made: dict[Hashable, int] = {}
        self.deferred: dict[Hashable, list[list[Instruction]]] = {}
        self.operands = OperandRing(geometry.operand_steps)
        self._spare = self._counted = 0  # cycles, after so many instructions, as of _after
        self._making = self._passing = 0  # cycles for a tile of a product's inputs and outputs

    def multiply(self, inputs: Hashable, output: Hashable, product: Product, tiling: Tiling,
                 buffers: Buffers) -> None:
        """Add the instructions of a product; names of its inputs and output serve to find them
        again."""
        made = self.deferred.get(inputs, [[]])[0]
        self._making = sum(i.count * work(i, self.geometry) for i in made if i.queue == Queue.FILL)
        self._passing = buffers.passing
        parts = list(self._parts(product, tiling, buffers))
        if not self.program and buffers.x_dram and tiling.piece == product.steps:
            part, *_ = parts.pop(0)
            self._start(inputs, part)
        for n, (part, *loads) in enumerate(parts):
            loaded: list[Instruction] = []
            if n == 0 or not tiling.double:
                loaded += self._load(part, *loads)
            if tiling.double and n + 1 < len(parts):
                loaded += self._load(*parts[n + 1])
            if tiling.piece == product.steps:
                self._weave(loaded, self._compute(inputs, part, apart=self._ahead(loaded)))
            else:
                self._weave(loaded, [self._compute_in_pieces(inputs, part, tiling.piece)])
        self.made[output] = next(number for number in reversed(range(len(self.program)))
                                 if self.program[number].queue == Queue.COMPUTE)

    def settle(self) -> None:
        """Add all that was deferred."""
        for name in [*self.deferred]:
            self.program += self._due(name, range(len(self.deferred[name])))

    def _due(self, name: Hashable, tiles: range) -> list[Instruction]:
        """Return, once, the instructions that make some tiles of a tensor if they were deferred."""
        due: list[Instruction] = []
        for tile in tiles:
            if name in self.deferred:
                due += self.deferred[name][tile]
                self.deferred[name][tile] = []
        if not any(self.deferred.get(name, [])):
            self.deferred.pop(name, None)
        return due

    def _ahead(self, loads: Sequence[Instruction]) -> bool:
        """Return whether the array is busy until some more transfers are over, as expected."""
        self._spare = self._after(self._spare, self.program[self._counted:])
        self._counted = len(self.program)
        return self._after(self._spare, loads) > 0

    def _after(self, spare: int, instructions: Sequence[Instruction]) -> int:
        """Return the cycles from the end of transfers to that of products after instructions, for
        those before."""
        for instruction in instructions:
            cycles = instruction.count * work(instruction, self.geometry)
            if instruction.queue == Queue.COMPUTE:
                spare = max(spare + cycles, 0)  # no product ends before the load of its operands
            elif instruction.queue != Queue.FILL:
                spare -= cycles
        return spare

    def _weave(self, loads: Sequence[Instruction],
               products: Sequence[Sequence[Instruction]]) -> None:
        """Add loads and products in turns; the first loads are those of the products, in order."""
        added = 0
        for number, product in enumerate(products):
            wanted = _AHEAD + max(number, number * len(loads) // len(products))
            self.program += loads[added:wanted]
            self.program += product
            added = max(added, wanted)
        self.program += loads[added:]

    def _parts(self, product: Product, tiling: Tiling, buffers: Buffers,
               ) -> Iterator[tuple[Part, bool, bool]]:
        """Parts in the order of the loops, and whether to load their weights and inputs."""
        parts = loads = 0
        for slab in _cut(range(product.tiles), tiling.slab):
            for blocks in _cut(range(product.blocks), tiling.chunk):
                for tiles in _cut(slab, tiling.group):
                    loads_w = tiles.start == slab.start and (tiling.chunk < product.blocks
                                                             or slab.start == 0)
                    loads += loads_w
                    w = buffers.w[loads - 1] - product.places[blocks.start]
                    c = buffers.c
                    if isinstance(c, Matrix):
                        words = product.tile_words
                        stride = len(blocks) * words
                        c = Drained(c[parts] - blocks.start * words - tiles.start * stride,
                                    stride, words)
                    part = Part(self.geometry, product, blocks, tiles, buffers.x_dram, buffers.x,
                                buffers.w_dram, w, buffers.c_dram, c)
                    yield part, loads_w, blocks.start == 0 and buffers.x_dram is not None
                    parts += 1

    def _load(self, part: Part, weights: bool, inputs: bool) -> list[Instruction]:
        """Load the inputs, all of which are needed first, and then the weights, block by block."""
        loads = [part.load_inputs(part.tiles, range(part.product.steps))] if inputs else []
        if weights:
            loads += [part.load_weights(run) for phase in self._phases(part)
                      for run in part.product.runs(phase)]
        return loads

    def _phases(self, part: Part) -> tuple[range, range, range]:
        """Return the blocks of a part in three phases; in the first and the last one, tiles may be
        computed one by one.

        While a tile meets the blocks of the first phase, the next tile can be made and filled in;
        and while the other tiles meet those of the last phase, the first tile of the result can be
        drained and filled in for the next product, or pass what lies between. Where each block has
        instructions of its own, there are few blocks in these phases.
        """
        blocks, product, others = part.blocks, part.product, len(part.tiles) - 1
        if not others:
            return blocks[:0], blocks, blocks[:0]
        few = list(product.runs(blocks))
        fill = LATENCY + product.x_words / FILL_SHARE + self._making
        drain = max((LATENCY + product.out_words / FILL_SHARE) / others, self._passing)
        first = min(product.covering(blocks, fill), sum(map(len, few[:_RUNS])))
        left = blocks[first:]
        last = 0
        if blocks.stop == product.blocks:
            last = min(product.covering(left[::-1], drain), sum(map(len, few[-_RUNS:])))
        return blocks[:first], left[:len(left) - last], left[len(left) - last:]

    def _store(self, part: Part, blocks: range, tiles: range) -> list[Instruction]:
        return [] if part.c_dram is None else [part.store(blocks, tiles)]

    def _compute(self, inputs: Hashable, part: Part, *, apart: bool) -> list[list[Instruction]]:
        """Multiply a part whose tiles are in the operand buffer, or fit into it.

        With ``apart``, the weights are expected to be there, and tiles may go through phases one by
        one.
        """
        steps, stride = range(part.product.steps), part.product.stride
        operand = self.operands.find((inputs, part.tiles))
        missing = operand is None
        if operand is None:
            operand = self.operands.put((inputs, part.tiles), len(part.tiles) * stride)
        making = inputs in self.deferred
        late = len(part.tiles) - (not missing and (inputs, part.tiles) in self.late)
        self.late.discard((inputs, part.tiles))
        first, _, last = phases = self._phases(part)
        products: list[list[Instruction]] = []
        for tiles in filter(None, (part.tiles[:late], part.tiles[late:])):
            for phase in phases:
                alone = (apart and phase == last) or (
                    missing and phase == first and (apart or making))
                for run in part.product.runs(phase):
                    product = []
                    for some in _cut(tiles, 1 if alone else len(tiles)):
                        place = operand + part.tiles.index(some.start) * stride
                        if missing and not products:
                            product += self._due(inputs, some)
                            product.append(part.fill(some, steps, place))
                        product.append(part.matmul(run, some, steps, place))
                    products.append(product + self._store(part, run, tiles))
        return products

    def _compute_in_pieces(self, inputs: Hashable, part: Part, piece: int,
                           ) -> list[Instruction]:
        """Multiply a part of one tile of which only a piece fits into the operand buffer."""
        products = []
        for blocks in _cut(part.blocks, self.geometry.ring_contexts):
            for steps in _cut(range(part.product.steps), piece):
                operand = self.operands.put(None, self.geometry.padded_steps(len(steps)))
                products += [*self._due(inputs, part.tiles), part.fill(part.tiles, steps, operand),
                             part.matmul(blocks, part.tiles, steps, operand)]
            products += self._store(part, blocks, part.tiles)
        return products

    def _start(self, inputs: Hashable, part: Part) -> None:
        """Load, multiply and store the first part of a program so that the array waits little.

        Tiles and blocks are loaded in turns, as many words of each, and whatever arrives is
        multiplied with all that is there of the other. There are no stores until the loads are
        ahead of the array. The last block is split, so that little is left to store in the end.
        """
        product, steps, stride = part.product, range(part.product.steps), part.product.stride
        operand = self.operands.put((inputs, part.tiles), len(part.tiles) * stride)
        blocks = part.blocks[:0]
        results: deque[tuple[range, range]] = deque()
        most = sum(map(len, list(product.runs(part.blocks))[:_RUNS]))
        for number in range(len(part.tiles)):
            tile, tiles = part.tiles[number:number + 1], part.tiles[:number + 1]
            self._receive(part, tile, blocks, operand + number * stride)
            if blocks:
                results.append((blocks, tile))
            balanced = min(most, product.balanced(len(tiles) * product.x_words))
            if arrived := part.blocks[len(blocks):balanced]:
                for run in product.runs(arrived):
                    self.program += [part.load_weights(run),
                                     part.matmul(run, tiles, steps, operand)]
                results.append((arrived, tiles))
                blocks = part.blocks[:balanced]
        left = part.blocks[len(blocks):]
        ahead, body, last = left[:len(blocks)], left[len(blocks):-1], left[len(blocks):][-1:]
        loaded = len(self.program) if ahead else None
        for number, run in enumerate([*product.runs(ahead), *product.runs(body)]):
            if number > 1:
                self._flush(part, results, 2, loaded)
            self.program += [part.load_weights(run), part.matmul(run, part.tiles, steps, operand)]
            results.append((run, part.tiles))
        self._flush(part, results, len(results), loaded)
        if last:
            self.program.append(part.load_weights(last))
            for tiles in filter(None, (part.tiles[:-1], part.tiles[-1:])):
                place = operand + part.tiles.index(tiles.start) * stride
                self.program += [part.matmul(last, tiles, steps, place),
                                 *self._store(part, last, tiles)]

    def _flush(self, part: Part, results: deque[tuple[range, range]], number: int,
               loaded: int | None) -> None:
        """Store the oldest results, after the end of the load that stands at ``loaded``."""
        if loaded is not None and part.c_dram:
            self.after[len(self.program)] = loaded
        for _ in range(min(number, len(results))):
            self.program += self._store(part, *results.popleft())

    def _receive(self, part: Part, tile: range, blocks: range, operand: int) -> None:
        """Load and fill a tile and multiply it with the blocks that are there, piece by piece.

        With lists it comes in one piece, as they may visit any of its steps.
        """
        steps = range(part.product.steps)
        pieces = 1
        if 0 < len(blocks) <= self.geometry.ring_contexts and not part.product.listed:
            pieces = max(1, min(_PIECES, len(steps) // _LEAST_STEPS))
        for piece in _cut(steps, self.geometry.padded_steps(-(-len(steps) // pieces))):
            place = operand + piece.start
            self.program += [part.load_inputs(tile, piece), part.fill(tile, piece, place),
                             *(part.matmul(run, tile, piece, place)
                               for run in part.product.runs(blocks))]


def _cut(whole: range, size: int) -> list[range]:
    return [whole[start:start + size] for start in range(0, len(whole), size)]
