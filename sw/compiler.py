"""The compiler: a graph and a geometry become a program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .allocator import Region
from .assembler import encode
from .attend import Attending
from .attention_part import Sizes
from .constants import mask_words, pack_weight, weight_words
from .graph import Graph
from .hazards import synchronise
from .integer import QuantisedAttention, QuantisedLinear, QuantisedNorm
from .layers import Attention, Linear
from .multiply import Multiplying
from .normalise import Normalising, norm_tiles
from .order import advance_loads
from .placement import Placement
from .program import Program
from .quantise import Activations, QuantisedGraph, quantise
from .rtl.geometry import Geometry, preset
from .rtl.isa import INSTRUCTION_BYTES
from .schedule import Schedule
from .sim.norm import pack_norm

__all__ = ["compile", "lower"]


def compile(graph: Graph, calibration: Mapping[str, ArrayLike], geometry: str | Geometry = "zcu102",
            *, activations: Activations = "tensor", headroom: float = 1.0) -> Program:
    """Quantise a graph and compile it.

    Parameters
    ----------
    graph : :class:`~heddle.graph.Graph`
        It must have an output.
    calibration : mapping of str to array
        An example of each input, of any number of tokens, from which the scales are found.
    geometry : :class:`~heddle.rtl.geometry.Geometry` or name of a preset
    activations, headroom
        See :func:`~heddle.quantise.quantise`.

    Raises
    ------
    ValueError
        If the graph has no output, it cannot be quantised (see there), or a matrix cannot fit
        into the scratchpad.
    """
    quantised = quantise(graph, calibration, activations, headroom=headroom)
    return lower(quantised, preset(geometry))


def lower(quantised: QuantisedGraph, geometry: Geometry) -> Program:
    """Compile a graph that is quantised already; see :func:`compile`."""
    return _Lowering(quantised, geometry).program()


class _Lowering:
    """Turns the layers of a quantised graph into instructions, one after the other."""

    def __init__(self, quantised: QuantisedGraph, geometry: Geometry) -> None:
        if not quantised.graph.outputs:
            raise ValueError("A graph must have an output to be compiled, and this one has none")
        self.quantised = quantised
        self.graph = quantised.graph
        self.geometry = geometry
        self.placement = Placement(quantised, geometry)
        self.schedule = Schedule(geometry)
        self.visits = {layer.name: layer.pattern.runs(geometry.rows, geometry.lanes)
                       for layer in self.graph.layers if isinstance(layer, Attention)}
        sources = {layer.name: layer for layer in self.graph.linear_layers}
        forms = self.placement.forms
        self.weights = {layer.name: pack_weight(layer, sources[layer.name], forms[layer.input],
                                                forms[layer.output], geometry)
                        for layer in quantised.layers if isinstance(layer, QuantisedLinear)}

    def program(self) -> Program:
        """Return the whole program."""
        g, place = self.geometry, self.placement
        constants = self._pack()
        for name in self.graph.inputs:
            place.dram[name] = place.image.matrix(*place.parts(name))
        self._add_layers()
        synchronise(self.schedule.program, g, self.schedule.after)
        program = advance_loads(self.schedule.program, g)
        text = b"".join(encode(instruction) for instruction in program)
        tokens = None
        if self.quantised.per_token:
            tokens = place.image.reserve(4 * self.graph.tensors[self.graph.inputs[0]].tokens)
        offset = place.image.reserve(len(text))
        names = [layer.name for layer in self.quantised.layers]
        return Program(
            name=self.graph.name,
            geometry=g,
            instructions=np.frombuffer(text, np.uint8).reshape(-1, INSTRUCTION_BYTES),
            constants=constants,
            inputs={name: place.slot(name) for name in self.graph.inputs},
            outputs={name: place.slot(name) for name in self.graph.outputs},
            offset=offset,
            image_bytes=place.image.size,
            tokens_offset=tokens,
            macs=self._macs(dense=False),
            macs_dense=self._macs(dense=True),
            tiles_visited=sum(visits.tiles_visited for visits in self.visits.values()),
            tiles_total=sum(visits.tiles_total for visits in self.visits.values()),
            weight_bytes=sum(weight.size for weight in self.weights.values()),
            weight_bytes_dense=sum(layer.weight.size for layer in self.graph.linear_layers),
            scratchpad_bytes=place.pool.peak * g.word_bytes,
            layers=names,
            layer=np.array([names.index(instruction.layer) for instruction in program], np.uint16),
        )

    def _add_layers(self) -> None:
        """Add the instructions of all layers to the schedule."""
        layers, place, schedule = self.quantised.layers, self.placement, self.schedule
        held: list[Region] = []  # what the tiles that the schedule has deferred use
        for number, layer in enumerate(layers):
            later = {name for following in layers[number + 1:] for name in following.inputs}
            used, held = held, []
            [source, *_] = layer.inputs
            if not (isinstance(layer, QuantisedLinear) and source in place.resident
                    and source in schedule.deferred):
                schedule.settle()
            if isinstance(layer, QuantisedAttention):
                self._attend(layer, later)
            elif isinstance(layer, QuantisedNorm):
                held = Normalising(layer, later, place, schedule).add()
            else:
                Multiplying(layer, self.weights[layer.name], later, place, schedule).add()
                schedule.settle()
            for instruction in schedule.program:
                instruction.layer = instruction.layer or layer.name
            for region in used:
                place.pool.release(region)
        schedule.settle()

    def _macs(self, *, dense: bool) -> int:
        """Return the useful products, of weights that are not pruned or of all, and of attention
        those of the visible pairs or of all."""
        total = 0
        for layer in self.graph.layers:
            tokens = self.graph.tensors[layer.output].tokens
            if isinstance(layer, Attention):
                pairs = ((tokens * layer.pattern.keys,) * layer.heads if dense
                         else self.visits[layer.name].head_pairs)
                total += sum(number * (width + of_values) for number, width, of_values in zip(
                    pairs, layer.widths, layer.output_widths, strict=True))
            elif isinstance(layer, Linear):
                some = np.count_nonzero(layer.weight)
                total += tokens * (layer.weight.size if dense else int(some))
        return total

    def _pack(self) -> NDArray[np.uint8]:
        """Lay out the weights of all layers, the masks, and the parameters of norms."""
        g, place = self.geometry, self.placement
        packed = []
        for layer in self.quantised.layers:
            if isinstance(layer, QuantisedAttention):
                words = mask_words(self.visits[layer.layer.name], g)
            elif isinstance(layer, QuantisedNorm):
                _, tile_words = norm_tiles(layer, place)
                words = pack_norm(layer.scales.padded(tile_words * g.vectors_per_word),
                                  g.word_bytes, norm=layer.output is not None)
            else:
                words = weight_words(self.weights[layer.name], layer, place.forms[layer.output])
            place.constants[layer.name] = place.image.matrix(1, len(words)).start
            packed.append(words)
        constants = np.zeros(place.image.size, np.uint8)
        for start, words in zip(place.constants.values(), packed):
            constants[start * g.word_bytes:][:words.size] = words.ravel()
        return constants

    def _attend(self, layer: QuantisedAttention, later: set[str]) -> None:
        """Add the instructions of attention; the layers after it read the tensors ``later``."""
        g, place = self.geometry, self.placement
        queries, keys, _ = (self.graph.tensors[source] for source in layer.inputs)
        widest, of_values = max(layer.layer.widths), max(layer.layer.value_widths)
        sizes = Sizes.of(queries.tokens, keys.tokens, widest, of_values, g)
        if max(widest, of_values) > g.attention_blocks * g.rows:
            raise ValueError(f"Heads of {layer.layer.name} must have at most "
                             f"{g.attention_blocks * g.rows} features on {g.name}, not "
                             f"{max(widest, of_values)}")
        operands = place.attention(layer, later, sizes.out_words)
        Attending(layer, self.visits[layer.layer.name], sizes, operands, self.schedule,
                  place.pool).add()
        place.release(layer.inputs, later)
