"""The buffers of a product: how it is divided, and where its operands lie meanwhile."""

from __future__ import annotations

from .allocator import Region
from .form import Drained
from .formats import PackedWeight
from .integer import QuantisedLinear
from .normalise import passing
from .part import Matrix
from .placement import Placement
from .rtl.isa import Layout
from .schedule import Buffers, Schedule
from .tiling import Product, Tiling, choose, least

__all__ = ["Multiplying"]


class Multiplying:
    """Adds the instructions of a linear layer to a schedule.

    Parameters
    ----------
    layer : :class:`~heddle.integer.QuantisedLinear`
    weight : :class:`~heddle.formats.PackedWeight`
    later : set of str
        Tensors that the layers after it read.
    placement : :class:`~heddle.placement.Placement`
    schedule : :class:`~heddle.schedule.Schedule`
    """

    def __init__(self, layer: QuantisedLinear, weight: PackedWeight, later: set[str],
                 placement: Placement, schedule: Schedule) -> None:
        self.layer, self.later, self.placement, self.schedule = layer, later, placement, schedule
        self.product = Product.of(placement.graph.tensors[layer.input].tokens, weight.inputs,
                                  weight.outputs, placement.geometry, weight.encodings,
                                  layer.activation)

    def add(self) -> None:
        """Add the instructions, and note where the output lies.

        Raises
        ------
        ValueError
            If what must be in the scratchpad does not fit.
        """
        name, product, place = self.layer.output, self.product, self.placement
        stays = None
        if name in self.later:
            stays = place.pool.allocate(product.tiles * product.out_words, top=True)
        tiling = self._choose(outputs_stay=stays is not None)
        through = place.forms[name].layout == Layout.VECTORS
        if stays and not tiling and through:  # without room to stay, the output goes through DRAM
            place.pool.release(stays)
            stays = None
            tiling = self._choose(outputs_stay=False)
        if name in self.later and not (stays or through):
            raise ValueError(f"Keys and values must fit into the scratchpad, but {name} "
                             f"takes {product.tiles * product.out_words} words of "
                             f"{place.pool.largest} that are free")
        if not tiling:
            raise ValueError(self._too_large())
        if stays:
            _, words = place.parts(name)
            place.resident[name] = stays, Matrix(stays.start,
                                                 product.out_words if through else words)
        if name in place.graph.outputs or (name in self.later and not stays):
            place.dram[name] = place.image.matrix(product.tiles, product.out_words)
        place.pool.release(self._add(tiling))
        place.release(self.layer.inputs, self.later)

    def _choose(self, *, outputs_stay: bool) -> Tiling | None:
        return choose(self.product, self.placement.geometry, self.placement.pool.largest,
                      inputs_resident=self.layer.input in self.placement.resident,
                      inputs_again=self.layer.input in self.later, outputs_stay=outputs_stay)

    def _too_large(self) -> str:
        """Return what to say if no tiling fits."""
        g, pool = self.placement.geometry, self.placement.pool
        words = least(self.product, g, self.layer.input in self.placement.resident)
        return (f"Layer {self.layer.name} must fit into the scratchpad part by part: the least "
                f"part of {self.product.steps * g.depth} inputs × {self.product.blocks * g.rows} "
                f"outputs takes {words} words, but {pool.largest} of {pool.words} are free")

    def _add(self, tiling: Tiling) -> Region:
        """Place the buffers, add the instructions, and return what to release after them."""
        layer, product, place = self.layer, self.product, self.placement
        region = place.pool.allocate(tiling.words(product))
        assert region is not None  # the tiling was chosen to fit
        x_words = tiling.x_buffers * tiling.slab * product.x_words
        x_dram = None
        if layer.input in place.resident:
            _, x = place.resident[layer.input]
        else:
            x_dram = place.dram[layer.input]
            x = Matrix(region.start, product.x_words, ring=tiling.x_buffers * tiling.slab)
            if tiling.slab >= product.tiles and layer.input in self.later:
                inputs, region = place.pool.split(region, x_words)
                place.resident[layer.input] = inputs, x
                x_words = 0
        start = region.start + x_words
        w = Matrix(start, product.chunk_words(tiling.chunk), ring=tiling.w_buffers)
        c: Matrix | Drained
        if layer.output in place.resident:
            stays, _ = place.resident[layer.output]
            tokens = place.graph.tensors[layer.output].tokens
            c = place.forms[layer.output].drained(stays.start, tokens, place.geometry)
        else:
            c = Matrix(start + w.ring * w.stride, tiling.chunk * tiling.group * product.tile_words,
                       ring=tiling.c_buffers)
        self.schedule.multiply(layer.input, layer.output, product, tiling, Buffers(
            x_dram, x, place.constants[layer.name], w, place.dram.get(layer.output), c,
            passing(layer.output, place)))
        return region
