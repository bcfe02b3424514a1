"""Loads that run ahead of what is computed, and the places in the scratchpad that they fill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from .allocator import Places, Pool, Region
from .assembler import Instruction

__all__ = ["Ahead", "Room"]

_AHEAD = 2048  # bytes by which loads run ahead
_EARLY = 16384  # bytes of the loads in the beginning
_STEPS = 8  # steps that share the places of a room


@dataclass
class Room:
    """Equal places in the scratchpad."""

    region: Region
    words: int
    """Words of a place."""
    places: Places

    def __getitem__(self, place: int) -> int:
        """Return where a place starts."""
        return self.region.start + place * self.words


@dataclass
class _Step:
    """What is computed when its loads are under way."""

    loaded: int = 0
    """Words that are loaded up to the end of the step."""
    late: list[Instruction] = field(default_factory=list)
    """Loads that are needed later than the others."""
    pins: list[tuple[Room, Hashable]] = field(default_factory=list)
    actions: list[Callable[[], None]] = field(default_factory=list)


class Ahead:
    """Writes loads into a program, and what uses them behind some of the loads that follow.

    A program is made in steps. What a step loads stays where it is until the step is computed.

    Attributes
    ----------
    step : object
        The step to which is added; another one after each :meth:`close`.
    last : :class:`int` or ``None``
        The number of the last load in the program so far.

    Parameters
    ----------
    program : list of :class:`~heddle.assembler.Instruction`
    pool : :class:`~heddle.allocator.Pool`
    word_bytes : :class:`int`
        Bytes of a word.
    """

    def __init__(self, program: list[Instruction], pool: Pool, word_bytes: int) -> None:
        self.program = program
        self.pool = pool
        self.word_bytes = word_bytes
        self.step = _Step()
        self.last: int | None = None
        self._pending: deque[_Step] = deque()
        self._rooms: list[Room] = []
        self._loaded = 0

    @property
    def early(self) -> bool:
        """Whether what is computed might wait for what is loaded now."""
        return self._loaded * self.word_bytes < _EARLY

    def crowded(self, *rooms: Room) -> bool:
        """Return whether the step must not pin more there, so that others can be loaded."""
        return any(sum(pinned is room for pinned, _ in self.step.pins)
                   >= max(1, len(room.places) // _STEPS) for room in rooms)

    def room(self, name: str, number: int, words: int) -> Room:
        """Return a number of places of so many words, or fewer if there is no room for all.

        Raises
        ------
        ValueError
            If there is no room for any; ``name`` is whose they are.
        """
        if not number:
            return Room(Region(0, 0), words, Places(0))
        region = self.pool.allocate(number * words)
        while region is None and number > 2:
            number = max(2, number // 2)
            region = self.pool.allocate(number * words)
        if region is None:
            raise ValueError(
                f"{name} must have {number * words} words of the scratchpad for its operands, but "
                f"{self.pool.largest} of {self.pool.words} are free")
        self._rooms.append(Room(region, words, Places(number)))
        return self._rooms[-1]

    def fetch(self, room: Room, key: Hashable) -> tuple[int, bool]:
        """Return the place of what a key names, pinned for the step, and whether to load it."""
        place = room.places.find(key)
        missing = place is None
        while place is None:
            place = room.places.put(key)
            if place is None:
                self._emit()
        room.places.pin(key)
        self.step.pins.append((room, key))
        return place, missing

    def load(self, load: Instruction) -> None:
        """Load something for the step."""
        self.program.append(load)
        self.last = len(self.program) - 1
        self._loaded += load["rows"] * load["words"]
        self._advance()

    def load_late(self, load: Instruction) -> None:
        """Load something for the step that is needed later: when the step is computed."""
        self.step.late.append(load)

    def do(self, action: Callable[[], None]) -> None:
        """Compute something in the step."""
        self.step.actions.append(action)

    def close(self) -> None:
        """End the step."""
        self.step.loaded = self._loaded
        self._pending.append(self.step)
        self.step = _Step()
        self._advance()

    def finish(self) -> None:
        """End all steps, and give the places back."""
        self.close()
        while self._pending:
            self._emit()
        for room in self._rooms:
            self.pool.release(room.region)

    def _advance(self) -> None:
        """Compute the oldest steps if loads are far enough ahead of them."""
        while self._pending and (self._loaded - self._pending[0].loaded
                                 >= _AHEAD // self.word_bytes):
            self._emit()

    def _emit(self) -> None:
        step = self._pending.popleft()
        if step.late:
            self.program += step.late
            self.last = len(self.program) - 1
        for action in step.actions:
            action()
        for room, key in step.pins:
            room.places.pin(key, -1)
