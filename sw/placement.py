"""Where the tensors and the constants of a program lie, in DRAM and in the scratchpad."""

from __future__ import annotations

from .allocator import Pool, Region
from .attention_part import Operands
from .form import Form
from .integer import QuantisedAttention
from .layers import Attention
from .part import Matrix
from .program import Slot
from .quantise import QuantisedGraph
from .rtl.geometry import Geometry
from .rtl.isa import INSTRUCTION_BYTES, Layout

__all__ = ["Image", "Placement"]


class Image:
    """The DRAM image, laid out from its start.

    Attributes
    ----------
    size : :class:`int`
        Bytes of all that has a place.
    """

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


class Placement:
    """What lies where, as the layers are compiled one after the other.

    Attributes
    ----------
    forms : dict of str to :class:`~heddle.form.Form`
        How each tensor lies in words.
    image : :class:`Image`
    pool : :class:`~heddle.allocator.Pool`
    dram : dict of str to :class:`~heddle.part.Matrix`
        Tensors in DRAM.
    resident : dict of str to (:class:`~heddle.allocator.Region`, :class:`~heddle.part.Matrix`)
        Tensors that lie in the scratchpad, all of them.
    constants : dict of str to int
        Words where the weights of each layer of products, the masks of each layer of attention and
        the parameters of each norm start in DRAM.
    """

    def __init__(self, quantised: QuantisedGraph, geometry: Geometry) -> None:
        self.quantised = quantised
        self.graph = quantised.graph
        self.geometry = geometry
        self.forms = {name: self._form(name) for name in self.graph.tensors}
        self.image = Image(geometry)
        self.pool = Pool(geometry.scratchpad_words)
        self.dram: dict[str, Matrix] = {}
        self.resident: dict[str, tuple[Region, Matrix]] = {}
        self.constants: dict[str, int] = {}

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

    def parts(self, name: str) -> tuple[int, int]:
        """Return the number of parts of a tensor, and the words of each."""
        return self.forms[name].parts(self.graph.tensors[name].tokens, self.geometry)

    def attention(self, layer: QuantisedAttention, later: set[str], out_words: int) -> Operands:
        """Place the output of a layer of attention, in the scratchpad if later layers read it and
        there is room, and return where it and the operands lie; a tile of it has ``out_words``."""
        name, names = layer.output, (*layer.inputs, layer.output)
        parts, words = self.parts(name)
        stays = self.pool.allocate(parts * words, top=True) if name in later else None
        if stays:
            self.resident[name] = stays, Matrix(stays.start, words)
        if name in self.graph.outputs or not stays:
            self.dram[name] = self.image.matrix(parts, words)
        zeros = self.image.matrix(1, out_words).start
        return Operands(self.constants[name], zeros, *(self.dram.get(each) for each in names), *(
            self.resident[each][1] if each in self.resident else None for each in names))

    def slot(self, name: str) -> Slot:
        """Return the place of an input or output of the program."""
        matrix, word_bytes = self.dram[name], self.geometry.word_bytes
        return Slot(self.graph.tensors[name], self.forms[name], matrix.start * word_bytes,
                    matrix.stride * word_bytes, self.quantised.scales[name],
                    self.quantised.host_bias.get(name))

    def release(self, names: tuple[str, ...], later: set[str]) -> None:
        """Release the places in the scratchpad of tensors that no later layer reads any more."""
        for name in names:
            if name in self.resident and name not in later:
                self.pool.release(self.resident.pop(name)[0])
