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

from .allocator import Places, Pool, Region
from .assembler import Instruction
from .integer import QuantisedAttention
from .part import Matrix
from .rtl.geometry import Geometry
from .rtl.isa import Layout, Opcode, Queue
from .schedule import Schedule
from .visits import Run, Visits

__all__ = ["Attending", "Operands", "Sizes"]

_CHUNK = 4  # key tiles that are loaded together
_AHEAD = 8  # steps by which loads run ahead
_TILES = 8  # tiles of queries, and of outputs, in the scratchpad


@dataclass(frozen=True)
class Sizes:
    """The sizes of attention, in units of the geometry."""

    tiles: int
    """Tiles of ``lanes`` queries."""
    steps: int
    """Steps of ``depth`` features of a head."""
    blocks: int
    """Blocks of ``rows`` features of a head."""
    tile_words: int
    """Words of a head in a tile of queries, or of the output."""
    key_tiles: int
    """Tiles of ``rows`` keys."""
    key_words: int
    """Words of a head in a tile of keys, or of values."""

    @classmethod
    def of(cls, queries: int, keys: int, features: int, geometry: Geometry) -> Sizes:
        """Return the sizes for so many queries, keys and features of a head."""
        blocks = -(-features // geometry.rows)
        return cls(-(-queries // geometry.lanes), -(-features // geometry.depth), blocks,
                   blocks * geometry.tile_words, -(-keys // geometry.rows),
                   blocks * geometry.tile_steps)


@dataclass(frozen=True)
class Operands:
    """Where the operands of attention lie, by parts of their forms.

    What is not in the scratchpad, is in DRAM. The output can be in both.
    """

    q_dram: Matrix | None
    k_dram: Matrix | None
    v_dram: Matrix | None
    c_dram: Matrix | None
    q: Matrix | None
    k: Matrix | None
    v: Matrix | None
    c: Matrix | None
    masks: int
    """The table of masks in DRAM, a word each."""
    zeros: int
    """Zeros in DRAM, as many as a head has words in a tile of the output."""


@dataclass
class _Visit:
    """A tile of queries of some heads."""

    heads: range
    tile: int
    operand: int = 0


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
        wide = self.together * sizes.tile_words
        pair = 2 * _CHUNK * sizes.key_words
        self._q = self._room(0 if operands.q else _TILES, wide)
        self._c = self._room(0 if operands.c else _TILES, wide)
        self._masks = self._room(
            g.scratchpad_words // 16 // _CHUNK if len(visits.masks) else 0, _CHUNK)
        self._keys = self._room(0 if operands.k else g.scratchpad_words // 2 // pair, pair)

    def add(self) -> None:
        """Add all instructions."""
        products = [n for n, i in enumerate(self.program) if i.queue == Queue.COMPUTE]
        self._before = products[-1:] if self.operands.k else []
        for first in range(0, self.layer.heads, self.together):
            for tile in range(self.sizes.tiles):
                self._visit(_Visit(range(first, first + self.together), tile))
        self._close()
        while self._pending:
            self._emit()
        for region in self._regions:
            self.pool.release(region)

    # -- places ------------------------------------------------------------------------------------

    def _heads_together(self) -> int:
        """Return how many consecutive heads, with the same runs, one visit is for."""
        heads = 1
        if self.visits.shared:
            heads = self.layer.pattern.heads if self.operands.k else self.layer.group
            limit = max(1, self.geometry.operand_steps // 2 // self.sizes.steps)
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

    def _crowded(self) -> bool:
        """Return whether the step must not pin more, so that another one can follow."""
        return any(sum(pinned is places for pinned, _ in self._step.pins) >= len(places) // 2 > 0
                   for _, places in (self._keys, self._masks))

    def _close(self) -> None:
        """End the step, and compute the oldest one if loads are far enough ahead."""
        self._pending.append(self._step)
        self._step = _Step()
        if len(self._pending) > _AHEAD:
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
        runs = self.visits.of(*self.layer.split(visit.heads.start), visit.tile)
        if runs:
            self._load_queries(visit)
            pieces = list(_pieces(runs))
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
        self._close()

    def _do(self, action: Callable[[], None]) -> None:
        self._step.actions.append(action)

    def _attend(self, visit: _Visit, head: int, pieces: list[Run]) -> list[dict[str, int]]:
        """Let a head attend to some key tiles, as soon as each chunk is there."""
        attends: list[dict[str, int]] = []
        step = None
        for piece in pieces:
            chunk = head // self.layer.group, piece.first // _CHUNK
            missing = not self.operands.k and chunk not in self._keys[1]
            if self._crowded() or (missing and step is self._step):
                self._close()
            fields = self._place(*chunk, piece)
            if step is self._step and _follows(attends[-1], fields):
                attends[-1]["tiles"] += piece.count
                continue
            step = self._step
            attends.append(fields | {"begin": not attends})
            self._do(lambda fields=attends[-1]: self._issue(visit, head, fields))
        attends[-1]["end"] = 1
        return attends

    def _place(self, head: int, chunk: int, piece: Run) -> dict[str, int]:
        """Return where some tiles of a head of keys lie; load what is not there."""
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
                self._load_keys(head, chunk, k, v, block)
            k_stride, k_head, offset = sizes.key_words, 0, piece.first % _CHUNK
            k, v = k + offset * sizes.key_words, v + offset * g.tile_steps
        fields = {"k": k, "k_stride": k_stride, "k_head_stride": k_head, "v": v,
                  "v_stride": g.tile_steps, "v_block_stride": block,
                  "v_head_stride": sizes.blocks * block if k_head else 0, "jobs": 1,
                  "tiles": piece.count}
        if piece.mask is not None:
            index, stride = piece.mask
            fields |= {"masked": 1, "mask_stride": stride,
                       "mask": self._mask(index, piece.count if stride else 1)}
        return fields

    def _mask(self, index: int, count: int) -> int:
        place, missing = self._fetch(self._masks, (index, count))
        address = self._masks[0].start + place * _CHUNK
        if missing:
            self._load(self.operands.masks + index, address, count)
        return address

    # -- instructions ------------------------------------------------------------------------------

    def _load(self, dram: int, pool: int, words: int, rows: int = 1, stride: int = 0,
              pool_stride: int = 0) -> None:
        word = self.geometry.word_bytes
        self.program.append(Instruction(Opcode.LOAD, {
            "dram": dram * word, "pool": pool, "count": 1, "rows": rows, "words": words,
            "dram_row_stride": stride * word, "pool_row_stride": pool_stride}))

    def _load_keys(self, head: int, chunk: int, k: int, v: int, block: int) -> None:
        sizes, o, steps = self.sizes, self.operands, self.geometry.tile_steps
        assert o.k_dram and o.v_dram
        first = chunk * _CHUNK
        count = min(_CHUNK, sizes.key_tiles - first)
        self._load(o.k_dram[first] + head * sizes.key_words, k, sizes.key_words, count,
                   o.k_dram.stride, sizes.key_words)
        self._load(o.v_dram[head * sizes.blocks] + first * steps, v, count * steps, sizes.blocks,
                   o.v_dram.stride, block)

    def _load_queries(self, visit: _Visit) -> None:
        """Load the queries of a visit, unless they are there, and fill them in when it begins."""
        sizes, o, first = self.sizes, self.operands, visit.heads.start * self.sizes.tile_words
        words = len(visit.heads) * sizes.tile_words
        if o.q:
            address = o.q[visit.tile] + first
        else:
            assert o.q_dram
            place, _ = self._fetch(self._q, (visit.heads, visit.tile))
            address = self._q[0].start + place * words
            self._load(o.q_dram[visit.tile] + first, address, words)
        self._do(lambda: self._fill(visit, address))

    def _fill(self, visit: _Visit, pool: int) -> None:
        steps = self.sizes.steps
        visit.operand = self.schedule.operands.put(None, len(visit.heads) * steps)
        if self._before:
            self.schedule.after[len(self.program)] = self._before.pop()
        self.program.append(Instruction(Opcode.FILL, {
            "pool": pool, "pool_stride": self.sizes.tile_words, "operand": visit.operand,
            "stride": steps, "count": len(visit.heads), "steps": steps}))

    def _output(self, visit: _Visit) -> int:
        """Return where the outputs of a visit lie."""
        if self.operands.c:
            return self.operands.c[visit.tile] + visit.heads.start * self.sizes.tile_words
        _, places = self._c
        key = visit.heads, visit.tile
        place = places.find(key)
        place = places.put(key) if place is None else place
        assert place is not None  # nothing is pinned there
        return self._c[0].start + place * len(visit.heads) * self.sizes.tile_words

    def _issue(self, visit: _Visit, head: int, fields: dict[str, int]) -> None:
        sizes, quantised, number = self.sizes, self.quantised, head - visit.heads.start
        self.program.append(Instruction(Opcode.ATTEND, fields | {
            "q": visit.operand + number * sizes.steps, "q_head_stride": sizes.steps,
            "group": self.layer.group, "steps": sizes.steps, "blocks": sizes.blocks,
            "c": self._output(visit) + number * sizes.tile_words,
            "c_stride": self.geometry.tile_words, "c_head_stride": sizes.tile_words,
            "layout": Layout.VECTORS, "multiplier": quantised.score.multiplier,
            "shift": (quantised.score.shift - 12) // 4, "gain": quantised.gain,
            "gain_shift": quantised.gain_shift}))

    def _clear(self, visit: _Visit) -> None:
        """Load zeros as the outputs of queries that see nothing."""
        words = self.sizes.tile_words
        self._load(self.operands.zeros, self._output(visit), words, len(visit.heads), 0, words)

    def _store(self, visit: _Visit) -> None:
        if self.operands.c_dram is None:
            return
        words, first = self.sizes.tile_words, visit.heads.start * self.sizes.tile_words
        self.program.append(Instruction(Opcode.STORE, {
            "dram": (self.operands.c_dram[visit.tile] + first) * self.geometry.word_bytes,
            "pool": self._output(visit), "count": 1, "rows": 1,
            "words": len(visit.heads) * words}))


def _pieces(runs: tuple[Run, ...]) -> Iterator[Run]:
    """Cut runs where chunks end."""
    for run in runs:
        first = run.first
        while first < run.first + run.count:
            end = min(first - first % _CHUNK + _CHUNK, run.first + run.count)
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
