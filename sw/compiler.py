"""The compiler: a graph and a geometry become a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .allocator import Pool, Region
from .assembler import Instruction, encode
from .attend import Attending
from .attention_part import Operands, Sizes
from .constants import mask_words, pack_weight, weight_words
from .form import Drained, Form
from .graph import Graph
from .hazards import synchronise
from .integer import QuantisedAttention, QuantisedLinear, QuantisedNorm
from .layers import Attention, Linear
from .norm_part import NormPart, Stream
from .order import advance_loads, work
from .part import Matrix, load_words
from .program import Program, Slot
from .quantise import Activations, QuantisedGraph, quantise
from .rtl.geometry import Geometry, preset
from .rtl.isa import INSTRUCTION_BYTES, Layout
from .schedule import Buffers, Schedule
from .sim.norm import pack_norm
from .tiling import Product, Tiling, choose, least

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


def _assign(instructions: Sequence[Instruction], layer: str) -> None:
    """Note the layer of the instructions that have none yet."""
    for instruction in instructions:
        instruction.layer = instruction.layer or layer


class _Image:
    """The DRAM image, laid out from its start."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.size = 0

    def reserve(self, size: int) -> int:
        """Return the offset of ``size`` further bytes, which start with a burst."""
        offset, self.size = self.size, self.size + size
        self.size += -self.size % max(self.geometry.burst_bytes, INSTRUCTION_BYTES)
        return offset

    def matrix(self, parts: int, words: int) -> Matrix:
        """Return the place of a matrix of so many parts of so many words."""
        start = self.reserve(parts * words * self.geometry.word_bytes)
        return Matrix(start // self.geometry.word_bytes, words)


class _Lowering:
    """Turns the layers of a quantised graph into instructions, one after the other."""

    def __init__(self, quantised: QuantisedGraph, geometry: Geometry) -> None:
        if not quantised.graph.outputs:
            raise ValueError("A graph must have an output to be compiled, and this one has none")
        self.quantised = quantised
        self.graph = quantised.graph
        self.geometry = geometry
        self.forms = {name: self._form(name) for name in self.graph.tensors}
        self.visits = {layer.name: layer.pattern.runs(geometry.rows, geometry.lanes)
                       for layer in self.graph.layers if isinstance(layer, Attention)}
        self.pool = Pool(geometry.scratchpad_words)
        self.schedule = Schedule(geometry)
        self.image = _Image(geometry)
        self.dram: dict[str, Matrix] = {}
        """Tensors in DRAM."""
        self.resident: dict[str, tuple[Region, Matrix]] = {}
        """Tensors that lie in the scratchpad, all of them."""
        sources = {layer.name: layer for layer in self.graph.linear_layers}
        self.weights = {layer.name: pack_weight(layer, sources[layer.name], self.forms[layer.input],
                                                self.forms[layer.output], geometry)
                        for layer in quantised.layers if isinstance(layer, QuantisedLinear)}
        self._held: list[Region] = []
        """What the tiles that the schedule has deferred use."""
        self.constants: dict[str, int] = {}
        """Words where the weights of each layer of products, the masks of each layer of attention
        and the parameters of each norm start in DRAM."""

    def program(self) -> Program:
        """Return the whole program."""
        g = self.geometry
        constants = self._pack()
        for name in self.graph.inputs:
            parts = self.forms[name].parts(self.graph.tensors[name].tokens, g)
            self.dram[name] = self.image.matrix(*parts)
        layers = self.quantised.layers
        names = [layer.name for layer in layers]
        for number, layer in enumerate(layers):
            later = {name for following in layers[number + 1:] for name in following.inputs}
            held, self._held = self._held, []
            [source, *_] = layer.inputs
            if not (isinstance(layer, QuantisedLinear) and source in self.resident
                    and source in self.schedule.deferred):
                self.schedule.settle()
            if isinstance(layer, QuantisedAttention):
                self._attend(layer, later)
            elif isinstance(layer, QuantisedNorm):
                self._normalise(layer, later)
            else:
                self._multiply(layer, later)
                self.schedule.settle()
            _assign(self.schedule.program, layer.name)
            for region in held:
                self.pool.release(region)
        self.schedule.settle()
        synchronise(self.schedule.program, g, self.schedule.after)
        program = advance_loads(self.schedule.program, g)
        text = b"".join(encode(instruction) for instruction in program)
        tokens = None
        if self.quantised.per_token:
            tokens = self.image.reserve(4 * self.graph.tensors[self.graph.inputs[0]].tokens)
        offset = self.image.reserve(len(text))
        return Program(
            name=self.graph.name,
            geometry=g,
            instructions=np.frombuffer(text, np.uint8).reshape(-1, INSTRUCTION_BYTES),
            constants=constants,
            inputs={name: self._slot(name) for name in self.graph.inputs},
            outputs={name: self._slot(name) for name in self.graph.outputs},
            offset=offset,
            image_bytes=self.image.size,
            tokens_offset=tokens,
            macs=self._macs(dense=False),
            macs_dense=self._macs(dense=True),
            tiles_visited=sum(visits.tiles_visited for visits in self.visits.values()),
            tiles_total=sum(visits.tiles_total for visits in self.visits.values()),
            weight_bytes=sum(weight.size for weight in self.weights.values()),
            weight_bytes_dense=sum(layer.weight.size for layer in self.graph.linear_layers),
            scratchpad_bytes=self.pool.peak * g.word_bytes,
            layers=names,
            layer=np.array([names.index(instruction.layer) for instruction in program], np.uint16),
        )

    def _form(self, name: str) -> Form:
        """Return how a tensor lies in words, which attention decides if it reads or makes it."""
        features = self.graph.tensors[name].features
        for layer in self.graph.layers:
            if isinstance(layer, Attention) and name == layer.output:
                return Form(features, layer.output_widths)
        if role := self.graph.role(name):
            layer, place = role
            layout = (Layout.VECTORS, Layout.BLOCKS, Layout.TRANSPOSED)[place]
            return Form(features, (layer.widths, layer.key_widths, layer.value_widths)[place],
                        layout)
        return Form(features)

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

    def _product(self, layer: QuantisedLinear) -> Product:
        weight = self.weights[layer.name]
        return Product.of(self.graph.tensors[layer.input].tokens, weight.inputs, weight.outputs,
                          self.geometry, weight.encodings, layer.activation)

    def _pack(self) -> NDArray[np.uint8]:
        """Lay out the weights of all layers, the masks, and the parameters of norms."""
        g = self.geometry
        packed = []
        for layer in self.quantised.layers:
            if isinstance(layer, QuantisedAttention):
                words = mask_words(self.visits[layer.layer.name], g)
            elif isinstance(layer, QuantisedNorm):
                _, tile_words = self._tiles(layer)
                words = pack_norm(layer.scales.padded(tile_words * g.vectors_per_word),
                                  g.word_bytes, norm=layer.output is not None)
            else:
                words = weight_words(self.weights[layer.name], layer, self.forms[layer.output])
            self.constants[layer.name] = self.image.matrix(1, len(words)).start
            packed.append(words)
        constants = np.zeros(self.image.size, np.uint8)
        for start, words in zip(self.constants.values(), packed):
            constants[start * g.word_bytes:][:words.size] = words.ravel()
        return constants

    def _slot(self, name: str) -> Slot:
        matrix, word_bytes = self.dram[name], self.geometry.word_bytes
        return Slot(self.graph.tensors[name], self.forms[name], matrix.start * word_bytes,
                    matrix.stride * word_bytes, self.quantised.scales[name],
                    self.quantised.host_bias.get(name))

    def _attend(self, layer: QuantisedAttention, later: set[str]) -> None:
        """Add the instructions of attention; the layers after it read the tensors ``later``."""
        g, name = self.geometry, layer.output
        queries, keys, _ = (self.graph.tensors[source] for source in layer.inputs)
        widest, of_values = max(layer.layer.widths), max(layer.layer.value_widths)
        sizes = Sizes.of(queries.tokens, keys.tokens, widest, of_values, g)
        if max(widest, of_values) > g.attention_blocks * g.rows:
            raise ValueError(f"Heads of {layer.layer.name} must have at most "
                             f"{g.attention_blocks * g.rows} features on {g.name}, not "
                             f"{max(widest, of_values)}")
        stays = None
        parts, words = self.forms[name].parts(queries.tokens, g)
        if name in later:
            stays = self.pool.allocate(parts * words, top=True)
        if stays:
            self.resident[name] = stays, Matrix(stays.start, words)
        if name in self.graph.outputs or not stays:
            self.dram[name] = self.image.matrix(parts, words)
        places = [self.resident[source][1] if source in self.resident else None
                  for source in (*layer.inputs, name)]
        zeros = self.image.matrix(1, sizes.out_words).start
        operands = Operands(self.constants[name], zeros, *(
            self.dram.get(source) for source in (*layer.inputs, name)), *places)
        Attending(layer, self.visits[layer.layer.name], sizes, operands, self.schedule,
                  self.pool).add()
        self._release(layer.inputs, later)

    def _passing(self, name: str) -> int:
        """Return the cycles in which a tile of a tensor is added and normalised, if it is."""
        layer = next((each for each in self.quantised.layers if name in each.inputs), None)
        if not isinstance(layer, QuantisedNorm):
            return 0
        _, words = self._tiles(layer)
        return work(NormPart(self.geometry, layer, words, 0, {}).instruction({}), self.geometry)

    def _tiles(self, layer: QuantisedNorm) -> tuple[int, int]:
        """Return the tiles of the tensors of a norm, and the words of each."""
        for name in layer.inputs:
            form = self.forms[name]
            if form.width(self.geometry.rows) > form.features:
                raise ValueError(f"{name} must be added and normalised without padding, but its "
                                 f"heads are padded to {form.width(self.geometry.rows)} features "
                                 f"on {self.geometry.name}, from {form.features}")
        return Form(form.features).parts(self.graph.tensors[name].tokens, self.geometry)

    def _normalise(self, layer: QuantisedNorm, later: set[str]) -> None:
        """Add the instructions of a norm; the layers after it read the tensors ``later``."""
        g = self.geometry
        tiles, words = self._tiles(layer)
        length = g.norm_words(words) * (1 + (layer.output is not None))
        params = self.pool.allocate(length)
        room = params and (self._stream(layer, tiles, words, later)
                           or self._stream(layer, tiles, words, set()))
        if not params or not room:
            raise ValueError(f"Layer {layer.name} must have {length} words of the scratchpad for "
                             f"its parameters and {words} for each tile that passes, but "
                             f"{self.pool.largest} of {self.pool.words} are free")
        places, rings = room
        for name in layer.outputs:
            if name in self.graph.outputs or name in rings:
                self.dram[name] = self.image.matrix(tiles, words)
        streams = {name: Stream(rings.get(name) or self.resident[name][1], self.dram.get(name)
                                if name in (*rings, *layer.outputs) else None)
                   for name in (*layer.inputs, *layer.outputs)}
        part = NormPart(g, layer, words, params.start, streams)
        self.schedule.program.append(load_words(g, self.constants[layer.name], params.start,
                                                length))
        name = layer.outputs[-1]
        self.schedule.deferred[name] = [part.tile(tile) for tile in range(tiles)]
        for instructions in self.schedule.deferred[name]:
            _assign(instructions, name)
        self._held = [params, *places, *(self.resident.pop(source)[0] for source in layer.inputs
                                         if source in self.resident and source not in later)]

    def _stream(self, layer: QuantisedNorm, tiles: int, words: int, stay: set[str],
                ) -> tuple[list[Region], dict[str, Matrix]] | None:
        """Place the outputs that are to stay, and return the places of all other tensors of a norm
        with the rings through which their tiles pass; or ``None`` without room."""
        regions = {name: self.pool.allocate(tiles * words, top=True)
                   for name in layer.outputs if name in stay}
        passing = [name for name in dict.fromkeys((*layer.inputs, *layer.outputs))
                   if name not in self.resident and name not in regions]
        number = min(tiles, self.pool.largest // (words * max(1, len(passing))))
        rings = {name: self.pool.allocate(number * words) if number else None for name in passing}
        if not all((*regions.values(), *rings.values())):
            for place in filter(None, (*regions.values(), *rings.values())):
                self.pool.release(place)
            return None
        self.resident |= {name: (place, Matrix(place.start, words))
                          for name, place in regions.items() if place}
        places = [place for place in rings.values() if place]
        return places, {name: Matrix(place.start, words, number)
                        for name, place in zip(rings, places)}

    def _release(self, names: tuple[str, ...], later: set[str]) -> None:
        """Release the places of tensors that no layer reads any more."""
        for name in names:
            if name in self.resident and name not in later:
                self.pool.release(self.resident.pop(name)[0])

    def _multiply(self, layer: QuantisedLinear, later: set[str]) -> None:
        """Add the instructions of a product; the layers after it read the tensors ``later``."""
        product = self._product(layer)
        stays = None
        if layer.output in later:
            stays = self.pool.allocate(product.tiles * product.out_words, top=True)
        tiling = self._choose(product, layer, later, outputs_stay=stays is not None)
        through = self.forms[layer.output].layout == Layout.VECTORS
        if stays and not tiling and through:  # without room to stay, the output goes through DRAM
            self.pool.release(stays)
            stays = None
            tiling = self._choose(product, layer, later, outputs_stay=False)
        if layer.output in later and not (stays or through):
            raise ValueError(f"Keys and values must fit into the scratchpad, but {layer.output} "
                             f"takes {product.tiles * product.out_words} words of "
                             f"{self.pool.largest} that are free")
        if not tiling:
            raise ValueError(
                f"Layer {layer.name} must fit into the scratchpad part by part: the least part of "
                f"{product.steps * self.geometry.depth} inputs × "
                f"{product.blocks * self.geometry.rows} outputs takes "
                f"{least(product, self.geometry, layer.input in self.resident)} words, but "
                f"{self.pool.largest} of {self.pool.words} are free")
        if stays:
            form, tokens = self.forms[layer.output], self.graph.tensors[layer.output].tokens
            _, words = form.parts(tokens, self.geometry)
            if form.layout == Layout.VECTORS:
                words = product.out_words
            self.resident[layer.output] = stays, Matrix(stays.start, words)
        if layer.output in self.graph.outputs or (layer.output in later and not stays):
            self.dram[layer.output] = self.image.matrix(product.tiles, product.out_words)
        self.pool.release(self._place(layer, product, tiling, later))
        self._release(layer.inputs, later)

    def _choose(self, product: Product, layer: QuantisedLinear, later: set[str], *,
                outputs_stay: bool) -> Tiling | None:
        return choose(product, self.geometry, self.pool.largest,
                      inputs_resident=layer.input in self.resident,
                      inputs_again=layer.input in later, outputs_stay=outputs_stay)

    def _place(self, layer: QuantisedLinear, product: Product, tiling: Tiling,
               later: set[str]) -> Region:
        """Place the buffers of a layer, add its instructions, and return what to release."""
        region = self.pool.allocate(tiling.words(product))
        assert region is not None  # the tiling was chosen to fit
        x_words = tiling.x_buffers * tiling.slab * product.x_words
        x_dram = None
        if layer.input in self.resident:
            _, x = self.resident[layer.input]
        else:
            x_dram = self.dram[layer.input]
            x = Matrix(region.start, product.x_words, ring=tiling.x_buffers * tiling.slab)
            if tiling.slab >= product.tiles and layer.input in later:
                inputs, region = self.pool.split(region, x_words)
                self.resident[layer.input] = inputs, x
                x_words = 0
        start = region.start + x_words
        w = Matrix(start, product.chunk_words(tiling.chunk), ring=tiling.w_buffers)
        c: Matrix | Drained
        if layer.output in self.resident:
            stays, _ = self.resident[layer.output]
            tokens = self.graph.tensors[layer.output].tokens
            c = self.forms[layer.output].drained(stays.start, tokens, self.geometry)
        else:
            c = Matrix(start + w.ring * w.stride, tiling.chunk * tiling.group * product.tile_words,
                       ring=tiling.c_buffers)
        self.schedule.multiply(layer.input, layer.output, product, tiling, Buffers(
            x_dram, x, self.constants[layer.name], w, self.dram.get(layer.output), c,
            self._passing(layer.output)))
        return region
