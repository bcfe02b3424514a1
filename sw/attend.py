"""The instructions of attention: what is loaded when, and what attends to it.

Heads are visited one after another, and of each all tiles of queries. Operands that lie in DRAM
pass through a fixed number of places in the scratchpad, however many tokens there are; what is
still there from an earlier visit is not loaded again. Loads run ahead of the computation by a few
steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial

from .allocator import Places, Pool, Region
from .assembler import Instruction
from .attention_part import AttentionPart, Operands, Sizes
from .integer import QuantisedAttention
from .rtl.isa import Opcode
from .schedule import Schedule
from .visits import Run, Visits

__all__ = ["Attending"]

_CHUNK = 4  # key tiles that are loaded together
_AHEAD = 8  # steps by which loads run ahead
_TILES = 8  # tiles of queries, and of outputs, in the scratchpad


@dataclass
class _Visit:
    """A tile of queries of some heads, on its way through the machine."""

    part: AttentionPart
    operand: int = 0
    """Where the queries are in the operand buffer, once they are."""

    @property
    def heads(self) -> range:
        return self.part.heads


@dataclass
class _Step:
    """What is computed when its loads are under way."""

    pins: list[tuple[Places, Hashable]] = field(default_factory=list)
    actions: list[Callable[[], None]] = field(default_factory=list)


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
        self.sizes, self.operands, self.schedule, self.pool = sizes, operands, schedule, pool
        self.program = schedule.program
        self.together = self._heads_together()
        self._regions: list[Region] = []
        self._pending: deque[_Step] = deque()
        self._step = _Step()
        self._steps = 0
        self._begun = bool(operands.k)
        pair = _CHUNK * (sizes.key_words + sizes.value_words)
        self._q = self._room(0 if operands.q else _TILES, self.together * sizes.query_words)
        self._c = self._room(0 if operands.c else _TILES, self.together * sizes.out_words)
        self._masks = self._room(
            g.scratchpad_words // 16 // _CHUNK if len(visits.masks) else 0, _CHUNK)
        self._keys = self._room(0 if operands.k else g.scratchpad_words // 2 // pair, pair)

    def add(self) -> None:
        """Add all instructions."""
        made = [self.schedule.made[name] for name in self.layer.inputs[1:] if self.operands.k]
        self._before = [max(made)] if made else []
        self._filled = self._room_for_outputs()
        for first in range(0, self.layer.heads, self.together):
            for tile in range(self.sizes.tiles):
                heads = range(first, first + self.together)
                self._visit(_Visit(AttentionPart(self.geometry, self.quantised, self.sizes,
                                                 self.operands, heads, tile)))
        self._close()
        while self._pending:
            self._emit()
        if self._filled:
            self._fill_output(self.sizes.tiles - 1)
            self.schedule.late.add(self._filled)
        for region in self._regions:
            self.pool.release(region)

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

    def _fill_output(self, tile: int) -> None:
        """Fill in a tile of the outputs, if the place of all of them is still theirs."""
        place = self.schedule.operands.find(self._filled)
        if place is None or not self.operands.c:
            return
        steps = self.layer.heads * self.sizes.blocks * self.geometry.tile_steps
        stride = self.geometry.padded_steps(steps)
        self.program.append(Instruction(Opcode.FILL, {
            "pool": self.operands.c[tile], "operand": place + tile * stride, "stride": stride,
            "count": 1, "steps": steps}))

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

    def _room(self, number: int, words: int) -> tuple[Region, Places]:
        """Return a number of places of so many words, or fewer if there is no room for all."""
        if not number:
            return Region(0, 0), Places(0)
        region = self.pool.allocate(number * words)
        while region is None and number > 2:
            number = max(2, number // 2)
            region = self.pool.allocate(number * words)
        if region is None:
            raise ValueError(
                f"Layer {self.layer.name} must have {number * words} words of the scratchpad for "
                f"its operands, but {self.pool.largest} of {self.pool.words} are free")
        self._regions.append(region)
        return region, Places(number)

    def _fetch(self, room: tuple[Region, Places], key: Hashable) -> tuple[int, bool]:
        """Return the place of what a key names, pinned for the step, and whether to load it."""
        _, places = room
        place = places.find(key)
        missing = place is None
        while place is None:
            place = places.put(key)
            if place is None:
                self._emit()
        places.pin(key)
        self._step.pins.append((places, key))
        return place, missing

    @property
    def _cut(self) -> int:
        """Key tiles that are loaded, and attended to, at a time; fewer in a program's beginning."""
        return _CHUNK if self._begun else _CHUNK // 2

    def _crowded(self) -> bool:
        """Return whether the step must not pin more, so that others can be loaded meanwhile."""
        return any(sum(pinned is places for pinned, _ in self._step.pins)
                   >= max(1, len(places) // _AHEAD) for _, places in (self._keys, self._masks))

    def _close(self) -> None:
        """End the step, and compute the oldest ones if loads are far enough ahead.

        That is less far for the first steps, as the program should not begin with loads alone.
        """
        self._pending.append(self._step)
        self._step = _Step()
        self._steps += 1
        while len(self._pending) > min(_AHEAD, (self._steps - 1) // 2):
            self._emit()

    def _emit(self) -> None:
        step = self._pending.popleft()
        for action in step.actions:
            action()
        for places, key in step.pins:
            places.pin(key, -1)

    # -- visits ------------------------------------------------------------------------------------

    def _visit(self, visit: _Visit) -> None:
        """Add a visit: its queries, what they attend to, and the store of its outputs."""
        runs = self.visits.of(*self.layer.item(visit.heads.start), visit.part.tile)
        if runs:
            self._load_queries(visit)
            pieces = list(_pieces(runs, self._cut, aligned=not self.operands.k))
            heads = visit.heads
            while heads:
                attends = self._attend(visit, heads[0], pieces)
                if len(attends) == 1:
                    attends[0]["jobs"] = len(heads)
                    break
                heads = heads[1:]
        else:
            self._do(lambda: self._clear(visit))
        self._do(lambda: self._store(visit))
        if self._filled and visit.part.tile:
            self._do(lambda: self._fill_output(visit.part.tile - 1))
        self._begun = True
        self._close()

    def _do(self, action: Callable[[], None]) -> None:
        self._step.actions.append(action)

    def _attend(self, visit: _Visit, head: int, pieces: list[Run]) -> list[dict[str, int]]:
        """Let a head attend to some key tiles: to each chunk on its own if it might be late."""
        attends: list[dict[str, int]] = []
        step = None
        for piece in pieces:
            chunk = head // self.layer.group, piece.first // _CHUNK
            missing = not self.operands.k and chunk not in self._keys[1]
            urgent = missing and step is self._step and len(self._pending) < _AHEAD // 2
            if urgent or self._crowded():
                self._close()
            fields = self._place(visit, *chunk, piece)
            if step is self._step and self._cut == _CHUNK and _follows(attends[-1], fields):
                attends[-1]["tiles"] += piece.count
                continue
            step = self._step
            attends.append(fields | {"begin": not attends})
            self._do(partial(self._issue, visit, head, attends[-1]))
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
            place, missing = self._fetch(self._keys, (head, chunk))
            region, places = self._keys
            first, block = place * _CHUNK, len(places) * _CHUNK * g.tile_steps
            k = region.start + first * sizes.key_words
            v = region.start + len(places) * _CHUNK * sizes.key_words + first * g.tile_steps
            if missing:
                tiles = range(sizes.key_tiles)[chunk * _CHUNK:][:_CHUNK]
                for at in range(0, len(tiles), self._cut):
                    self.program += visit.part.load_keys(
                        head, tiles[at:at + self._cut], k + at * sizes.key_words,
                        v + at * g.tile_steps, block)
            k_stride, k_head, offset = sizes.key_words, 0, piece.first % _CHUNK
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
        place, missing = self._fetch(self._masks, (index, count))
        address = self._masks[0].start + place * _CHUNK
        if missing:
            self.program.append(visit.part.load_masks(index, address, count))
        return address

    # -- instructions ------------------------------------------------------------------------------

    def _load_queries(self, visit: _Visit) -> None:
        """Load the queries of a visit, unless they are there, and fill them in when it begins."""
        part, q = visit.part, self.operands.q
        if q:
            address = q[part.tile] + part.heads.start * self.sizes.query_words
        else:
            place, _ = self._fetch(self._q, (part.heads, part.tile))
            address = self._q[0].start + place * len(part.heads) * self.sizes.query_words
            self.program.append(part.load_queries(address))
        self._do(lambda: self._fill(visit, address))

    def _fill(self, visit: _Visit, address: int) -> None:
        visit.operand = self.schedule.operands.put(None, len(visit.heads) * self.sizes.stride)
        if self._before:
            self.schedule.after[len(self.program)] = self._before.pop()
        self.program.append(visit.part.fill(address, visit.operand))

    def _issue(self, visit: _Visit, head: int, keys: dict[str, int]) -> None:
        self.program.append(visit.part.attend(head, keys, visit.operand, self._output(visit)))

    def _clear(self, visit: _Visit) -> None:
        self.program.append(visit.part.clear(self._output(visit)))

    def _store(self, visit: _Visit) -> None:
        if self.operands.c_dram:
            self.program.append(visit.part.store(self._output(visit)))

    def _output(self, visit: _Visit) -> int:
        """Return where the outputs of a visit lie."""
        part, c = visit.part, self.operands.c
        if c:
            return c[part.tile] + part.heads.start * self.sizes.out_words
        region, places = self._c
        key = part.heads, part.tile
        place = places.find(key)
        place = places.put(key) if place is None else place
        assert place is not None  # nothing is pinned there
        return region.start + place * len(part.heads) * self.sizes.out_words


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
