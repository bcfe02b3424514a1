"""The constants of a program as they lie in DRAM: weights with their parameters, and masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .form import Form
from .formats import PackedWeight, pack
from .integer import QuantisedLinear
from .layers import Linear
from .rtl.geometry import Geometry
from .sim import layouts
from .structures import Dense
from .visits import Visits

__all__ = ["mask_words", "pack_weight", "weight_words"]


def pack_weight(layer: QuantisedLinear, source: Linear, inputs: Form, outputs: Form,
                geometry: Geometry) -> PackedWeight:
    """Encode the weight of a layer, padded as the tensors that it reads and makes.

    Lists visit what is not 0 in the layer in floating point: that a weight is rounded to 0 does not
    change the program.

    Raises
    ------
    ValueError
        If the weight is said to have a structure, and the geometry cannot hold its lists.
    """
    g = geometry
    places = np.ix_(outputs.positions(g.rows), inputs.positions(g.rows))
    weight = np.zeros((outputs.width(g.rows), inputs.width(g.rows)), np.int8)
    used = np.zeros(weight.shape, bool)
    weight[places], used[places] = layer.weight, source.weight != 0
    try:
        return pack(weight, g, "dense" if isinstance(source.structure, Dense) else None,
                    strict=source.structure is not None, used=used)
    except ValueError as error:
        raise ValueError(f"Weight of {layer.name} must keep its structure on {g.name}: {error}"
                         ) from None


def weight_words(weight: PackedWeight, layer: QuantisedLinear, outputs: Form) -> NDArray[np.uint8]:
    """Return the words of a weight, each block with the parameters of its channels."""
    rows = weight.geometry.rows
    channels = np.zeros((len(weight.encodings) * rows, 8), np.uint8)
    channels[outputs.positions(rows)] = layouts.pack_channels(
        layer.bias, layer.multiplier, layer.shift, layer.gate_shift)
    return weight.words(channels)


def mask_words(visits: Visits, geometry: Geometry) -> NDArray[np.uint8]:
    """Return the words of the masks of attention, one for each."""
    masks = visits.masks.reshape(len(visits.masks), geometry.rows * geometry.lanes)
    bits = np.packbits(masks, axis=1, bitorder="little")
    return np.pad(bits, ((0, 0), (0, geometry.word_bytes - bits.shape[1])))
