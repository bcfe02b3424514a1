"""The buffers of a residual sum and its norm, whose tiles pass through the scratchpad."""

from __future__ import annotations

from itertools import chain

from .allocator import Region
from .form import Form
from .integer import QuantisedNorm
from .norm_part import NormPart, Stream
from .order import work
from .part import Matrix, load_words
from .placement import Placement
from .schedule import Schedule

__all__ = ["Normalising", "norm_tiles", "passing"]


def norm_tiles(layer: QuantisedNorm, placement: Placement) -> tuple[int, int]:
    """Return the tiles of the tensors of a norm, and the words of each.

    Raises
    ------
    ValueError
        If a tensor has padding among its features.
    """
    g = placement.geometry
    for name in layer.inputs:
        form = placement.forms[name]
        if form.width(g.rows) > form.features:
            raise ValueError(f"{name} must be added and normalised without padding, but its "
                             f"heads are padded to {form.width(g.rows)} features on {g.name}, "
                             f"from {form.features}")
    return Form(form.features).parts(placement.graph.tensors[name].tokens, g)


def passing(name: str, placement: Placement) -> int:
    """Return the cycles in which a tile of a tensor is added and normalised, if it is next."""
    layers = placement.quantised.layers
    layer = next((each for each in layers if name in each.inputs), None)
    if not isinstance(layer, QuantisedNorm):
        return 0
    _, words = norm_tiles(layer, placement)
    part = NormPart(placement.geometry, layer, words, 0, {})
    return work(part.instruction({}), placement.geometry)


class Normalising:
    """Defers the instructions of a norm in a schedule, so that its reader meets tile after tile.

    Parameters
    ----------
    layer : :class:`~heddle.integer.QuantisedNorm`
    later : set of str
        Tensors that the layers after it read.
    placement : :class:`~heddle.placement.Placement`
    schedule : :class:`~heddle.schedule.Schedule`
    """

    def __init__(self, layer: QuantisedNorm, later: set[str], placement: Placement,
                 schedule: Schedule) -> None:
        self.layer, self.later, self.placement, self.schedule = layer, later, placement, schedule
        self.tiles, self.words = norm_tiles(layer, placement)

    def add(self) -> list[Region]:
        """Defer the instructions, and return what to release after those of the next layer.

        Raises
        ------
        ValueError
            If what must be in the scratchpad does not fit.
        """
        g, layer, place = self.placement.geometry, self.layer, self.placement
        length = g.norm_words(self.words) * (1 + (layer.output is not None))
        params = place.pool.allocate(length)
        room = params and (self._room(self.later) or self._room(set()))
        if not params or not room:
            raise ValueError(f"Layer {layer.name} must have {length} words of the scratchpad for "
                             f"its parameters and {self.words} for each tile that passes, but "
                             f"{place.pool.largest} of {place.pool.words} are free")
        places, rings = room
        for name in layer.outputs:
            if name in place.graph.outputs or name in rings:
                place.dram[name] = place.image.matrix(self.tiles, self.words)
        streams = {name: Stream(rings.get(name) or place.resident[name][1], place.dram.get(name)
                                if name in (*rings, *layer.outputs) else None)
                   for name in (*layer.inputs, *layer.outputs)}
        part = NormPart(g, layer, self.words, params.start, streams)
        self.schedule.program.append(load_words(g, place.constants[layer.name], params.start,
                                                length))
        deferred = self.schedule.deferred[layer.name] = [part.tile(t) for t in range(self.tiles)]
        for instruction in chain.from_iterable(deferred):
            instruction.layer = layer.name  # not that of the layer among which it will stand
        return [params, *places, *(place.resident.pop(name)[0] for name in layer.inputs
                                   if name in place.resident and name not in self.later)]

    def _room(self, stay: set[str]) -> tuple[list[Region], dict[str, Matrix]] | None:
        """Place the outputs that are to stay, and return the places of all other tensors of the
        norm with the rings through which their tiles pass; or ``None`` without room."""
        layer, words = self.layer, self.words
        pool, resident = self.placement.pool, self.placement.resident
        regions = {name: pool.allocate(self.tiles * words, top=True)
                   for name in layer.outputs if name in stay}
        through = [name for name in dict.fromkeys((*layer.inputs, *layer.outputs))
                   if name not in resident and name not in regions]
        number = min(self.tiles, pool.largest // (words * max(1, len(through))))
        rings = {name: pool.allocate(number * words) if number else None for name in through}
        if not all((*regions.values(), *rings.values())):
            for region in filter(None, (*regions.values(), *rings.values())):
                pool.release(region)
            return None
        resident |= {name: (region, Matrix(region.start, words))
                     for name, region in regions.items() if region}
        places = [region for region in rings.values() if region]
        return places, {name: Matrix(region.start, words, number)
                        for name, region in zip(rings, places)}
