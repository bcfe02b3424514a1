"""The instructions of attention: what is loaded when, and what attends to it.

Heads are visited one after another, and of each all tiles of queries, a few together where one
instruction can serve them. Operands that lie in DRAM pass through a fixed number of places in the
scratchpad, however many tokens there are; what is still there from an earlier visit is not loaded
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial

from .ahead import Ahead
from .allocator import Pool
from .assembler import Instruction
from .attention_part import AttentionPart, Operands, Sizes
from .integer import QuantisedAttention
from .part import Matrix
from .rtl.isa import Opcode
from .schedule import Schedule
from .visits import Run, Visits

__all__ = ["Attending"]

_CHUNK = 4096  # bytes of keys that are loaded together, if these are 4 or 8 tiles
_FIRST = 2  # key tiles that are loaded together in a program's beginning
_TILES = 4  # tiles of queries of a visit, at most
_VISITS = 16  # visits of which queries, and outputs, are in the scratchpad
_LATER = 5  # visits whose loads go before the store of a visit


@dataclass
class _Visit:
    """Some jobs on their way through the machine together."""

    part: AttentionPart
    operand: int = 0
    """Where the queries are in the operand buffer, once they are."""


class Attending:
    """Adds the instructions of a layer of attention to a schedule.

    Parameters
    ----------
    layer : :class:`~heddle.integer.QuantisedAttention`
    visits : :class:`~heddle.visits.Visits`
    sizes : :class:`Sizes`
    operands : :class:`Operands`
    schedule : :class:`~heddle.schedule.Schedule`
    pool : :class:`~heddle.allocator.Pool`

    Raises
    ------
    ValueError
        If what must be in the scratchpad does not fit.
    """

    def __init__(self, layer: QuantisedAttention, visits: Visits, sizes: Sizes, operands: Operands,
                 schedule: Schedule, pool: Pool) -> None:
        g = self.geometry = schedule.geometry
        self.quantised, self.layer, self.visits = layer, layer.layer, visits
        self.sizes, self.operands, self.schedule = sizes, operands, schedule
        self.program = schedule.program
        self.together = self._heads_together()
        self._unstored: deque[_Visit] = deque()
        self._begun = bool(operands.k)
        self._chunk = min(8, max(4, _CHUNK // (sizes.key_words * g.word_bytes)))
        jobs = max(self.together, _TILES)
        pair = self._chunk * (sizes.key_words + sizes.value_words)
        self._ahead = Ahead(self.program, pool, g.word_bytes)
        self._q, self._c, self._masks, self._keys = (
            self._ahead.room(f"Layer {self.layer.name}", number, words) for number, words in (
                (0 if operands.q else _VISITS, jobs * sizes.query_words),
                (0 if operands.c else _VISITS, jobs * sizes.out_words),
                (g.scratchpad_words // 16 // self._chunk if len(visits.masks) else 0, self._chunk),
                (0 if operands.k else g.scratchpad_words // 2 // pair, pair)))

    def add(self) -> None:
        """Add all instructions."""
        made = [self.schedule.made[name] for name in self.layer.inputs[1:] if self.operands.k]
        self._before = [max(made)] if made else []
        self._filled = self._room_for_outputs()
        self._previous = range(0)
        for first in range(0, self.layer.heads, self.together):
            heads = range(first, first + self.together)
            for tiles in self._tiles_together(heads):
                self._visit(_Visit(AttentionPart(self.geometry, self.quantised, self.sizes,
                                                 self.operands, heads, tiles)))
        self._ahead.finish()
        while self._unstored:
            self._store()
        if self._filled:
            self._fill_output(self._previous)
            self.schedule.late.add(self._filled)

    # -- outputs as operands -----------------------------------------------------------------------

    def _room_for_outputs(self) -> Hashable:
        """Return the key of a place for all outputs in the operand buffer, or ``None``.

        Outputs that stay in the scratchpad are the operand of a product. While a tile is computed,
        the one before can be filled in.
        """
        steps = self.layer.heads * self.sizes.blocks * self.geometry.tile_steps
        total = self.sizes.tiles * self.geometry.padded_steps(steps)
        if (not self.operands.c or self.together < self.layer.heads
                or total > self.geometry.operand_steps // 2):
            return None
        key = self.layer.output, range(self.sizes.tiles)
        self.schedule.operands.put(key, total)
        return key

    def _fill_output(self, tiles: range) -> None:
        """Fill in tiles of the outputs, if the place of all of them is still theirs."""
        place = self.schedule.operands.find(self._filled)
        if place is None or not self.operands.c or not tiles:
            return
        steps = self.layer.heads * self.sizes.blocks * self.geometry.tile_steps
        stride = self.geometry.padded_steps(steps)
        self.program.append(Instruction(Opcode.FILL, {
            "pool": self.operands.c[tiles.start], "pool_stride": self.operands.c.stride,
            "operand": place + tiles.start * stride, "stride": stride, "count": len(tiles),
            "steps": steps}))

    # -- places ------------------------------------------------------------------------------------

    def _heads_together(self) -> int:
        """Return how many consecutive heads, with the same runs, one visit is for."""
        heads = 1
        if self.visits.shared:
            heads = self.layer.pattern.heads if self.operands.k else self.layer.group
            limit = max(1, self.geometry.operand_steps // 2 // self.sizes.stride)
            while heads > limit or not (heads % self.layer.group == 0
                                        == self.layer.pattern.heads % heads
                                        or self.layer.group % heads == 0):
                heads -= 1
        return heads

    def _tiles_together(self, heads: range) -> Iterator[range]:
        """Yield the tiles of queries of each visit: those of one head that have the same runs.

        The first visits of a program are small, so that little is to be there first; and the last
        ones, so that little is left to store.
        """
        tiles, runs = range(self.sizes.tiles), partial(self.visits.of,
                                                       *self.layer.item(heads.start))
        limit = max(1, min(_TILES, self.geometry.operand_steps // 2 // self.sizes.stride))
        if self.operands.k or len(heads) > 1:
            limit = 1
        while tiles:
            most = min(limit, len(tiles))
            if heads.start == 0:
                most = min(most, max(1, tiles.start))
            if heads.stop == self.layer.heads:
                most = min(most, max(1, len(tiles) // 2))
            count = 1
            while count < most and runs(tiles[count]) == runs(tiles[0]):
                count += 1
            yield tiles[:count]
            tiles = tiles[count:]

    @property
    def _cut(self) -> int:
        """Key tiles that are loaded, and attended to, at a time; fewer in a program's beginning."""
        return self._chunk if self._begun else _FIRST

    # -- visits ------------------------------------------------------------------------------------

    def _visit(self, visit: _Visit) -> None:
        """Add a visit: its queries, what they attend to, and the store of its outputs."""
        part = visit.part
        runs = self.visits.of(*self.layer.item(part.heads.start), part.tiles.start)
        if runs:
            self._load_queries(visit)
            pieces = list(_pieces(runs, self._cut, aligned=not self.operands.k))
            for job in range(part.jobs):
                attends = self._attend(visit, job, pieces)
                if len(attends) == 1:
                    attends[0]["jobs"] = part.jobs - job
                    break
        else:
            self._ahead.do(lambda: self._clear(visit))
        if self.operands.c_dram:
            self._ahead.do(lambda: self._finish(visit))
        if self._filled:
            self._ahead.do(partial(self._fill_output, self._previous))
            self._previous = part.tiles
        self._begun = True
        self._ahead.close()

    def _attend(self, visit: _Visit, job: int, pieces: list[Run]) -> list[dict[str, int]]:
        """Let a job attend to some key tiles: to each chunk on its own if it might be late."""
        attends: list[dict[str, int]] = []
        step = None
        for piece in pieces:
            chunk = visit.part.head(job) // self.layer.group, piece.first // self._chunk
            missing = not self.operands.k and chunk not in self._keys.places
            urgent = missing and step is self._ahead.step and self._ahead.early
            if urgent or self._ahead.crowded(self._keys, self._masks):
                self._ahead.close()
            fields = self._place(visit, *chunk, piece)
            if (step is self._ahead.step and self._cut == self._chunk
                    and _follows(attends[-1], fields)):
                attends[-1]["tiles"] += piece.count
                continue
            step = self._ahead.step
            attends.append(fields | {"begin": not attends})
            self._ahead.do(partial(self._issue, visit, job, attends[-1]))
        attends[-1]["end"] = 1
        return attends

    def _place(self, visit: _Visit, head: int, chunk: int, piece: Run) -> dict[str, int]:
        """Return where some tiles of a head of keys lie; load the chunk if it is not there."""
        g, sizes, o = self.geometry, self.sizes, self.operands
        if o.k and o.v:
            k, k_stride, k_head = o.k[piece.first] + head * sizes.key_words, o.k.stride, \
                sizes.key_words
            v, block = o.v[head * sizes.blocks] + piece.first * g.tile_steps, o.v.stride
        else:
            place, missing = self._ahead.fetch(self._keys, (head, chunk))
            # All keys lie before all values.
            start, number = self._keys[0], len(self._keys.places) * self._chunk
            first, block = place * self._chunk, number * g.tile_steps
            k = start + first * sizes.key_words
            v = start + number * sizes.key_words + first * g.tile_steps
            if missing:
                tiles = range(sizes.key_tiles)[chunk * self._chunk:][:self._chunk]
                for at in range(0, len(tiles), self._cut):
                    self._ahead.load(visit.part.load_keys(head, tiles[at:at + self._cut],
                                                          k + at * sizes.key_words))
                self._ahead.load_late(visit.part.load_values(head, tiles, v, block))
            k_stride, k_head, offset = sizes.key_words, 0, piece.first % self._chunk
            k, v = k + offset * sizes.key_words, v + offset * g.tile_steps
        fields = {"k": k, "k_stride": k_stride, "k_head_stride": k_head, "v": v,
                  "v_stride": g.tile_steps, "v_block_stride": block,
                  "v_head_stride": sizes.blocks * block if k_head else 0, "jobs": 1,
                  "tiles": piece.count}
        if piece.mask is not None:
            index, stride = piece.mask
            fields |= {"masked": 1, "mask_stride": stride,
                       "mask": self._mask(visit, index, piece.count if stride else 1)}
        return fields

    def _mask(self, visit: _Visit, index: int, count: int) -> int:
        """Return where some masks lie; load them if they are not there."""
        place, missing = self._ahead.fetch(self._masks, (index, count))
        address = self._masks[place]
        if missing:
            self._ahead.load(visit.part.load_masks(index, address, count))
        return address

    # -- instructions ------------------------------------------------------------------------------

    def _load_queries(self, visit: _Visit) -> None:
        """Load the queries of a visit, unless they are there, and fill them in when it begins."""
        part, q = visit.part, self.operands.q
        if q:
            jobs = part.among(q, self.sizes.query_words)
        else:
            place, _ = self._ahead.fetch(self._q, (part.heads, part.tiles))
            jobs = part.packed(self._q[place], self.sizes.query_words)
            self._ahead.load(part.load_queries(jobs.start))
        self._ahead.do(lambda: self._fill(visit, jobs))

    def _fill(self, visit: _Visit, jobs: Matrix) -> None:
        visit.operand = self.schedule.operands.put(None, visit.part.jobs * self.sizes.stride)
        if self._before:
            self.schedule.after[len(self.program)] = self._before.pop()
        self.program.append(visit.part.fill(jobs, visit.operand))

    def _issue(self, visit: _Visit, job: int, keys: dict[str, int]) -> None:
        self.program.append(visit.part.attend(job, keys, visit.operand, self._output(visit)))

    def _clear(self, visit: _Visit) -> None:
        self.program.append(visit.part.clear(self._output(visit)))

    def _finish(self, visit: _Visit) -> None:
        """Store the visit later: loads go first, as they may be waited for."""
        self._unstored.append(visit)
        later = _LATER if self.operands.c else min(_LATER, len(self._c.places) // 2)
        if len(self._unstored) > later:
            if self._ahead.last is not None:
                self.schedule.after[len(self.program)] = self._ahead.last
            self._store()

    def _store(self) -> None:
        visit = self._unstored.popleft()
        self.program.append(visit.part.store(self._output(visit)))

    def _output(self, visit: _Visit) -> Matrix:
        """Return where the outputs of a visit lie."""
        part, c = visit.part, self.operands.c
        if c:
            return part.among(c, self.sizes.out_words)
        places, key = self._c.places, (part.heads, part.tiles)
        place = places.find(key)
        place = places.put(key) if place is None else place
        assert place is not None  # nothing is pinned there
        return part.packed(self._c[place], self.sizes.out_words)


def _pieces(runs: tuple[Run, ...], size: int, *, aligned: bool) -> Iterator[Run]:
    """Cut runs into pieces of a size: from their start, or ``aligned`` to its multiples."""
    for run in runs:
        first = run.first
        while first < run.first + run.count:
            end = min(first + size - (first % size if aligned else 0), run.first + run.count)
            mask = run.mask and (run.mask[0] + (first - run.first) * run.mask[1], run.mask[1])
            yield Run(first, end - first, mask)
            first = end


def _follows(before: dict[str, int], after: dict[str, int]) -> bool:
    """Return whether one instruction can go on to the tiles of the next one."""
    tiles = before["tiles"]
    together = {"k": after["k"] - tiles * after["k_stride"],
                "v": after["v"] - tiles * after["v_stride"], "tiles": tiles,
                "begin": before["begin"]}
    if after.get("masked"):
        together["mask"] = after["mask"] - tiles * after["mask_stride"]
    return before == after | together
