"""Networks as graphs of named tensors and layers, in floating point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .layers import Attention, Linear, Tensor, checked
from .patterns import Pattern

__all__ = ["Graph", "checked_inputs"]


class Graph:
    """A network. Layers are added in the order in which they can be computed.

    Attributes
    ----------
    name : :class:`str`
    tensors : dict of str to :class:`Tensor`
    layers : list of :class:`Linear` and :class:`Attention`
    inputs, outputs : list of str
        Names of the tensors that pass between host and device.

    Examples
    --------
    ::

        graph = Graph("projections")
        x = graph.input("x", tokens=128, features=384)
        for name in ("query", "key", "value"):
            graph.output(graph.linear(name, x, weights[name], biases[name]))
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Linear | Attention] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def input(self, name: str, *, tokens: int, features: int) -> str:
        """Add a tensor that the host provides, and return its name."""
        for size, value in (("Tokens", tokens), ("Features", features)):
            if value < 1:
                raise ValueError(f"{size} of {name} must be at least 1, not {value}")
        self._add(Tensor(name, tokens, features))
        self.inputs.append(name)
        return name

    def linear(self, name: str, x: str, weight: ArrayLike, bias: ArrayLike | None = None) -> str:
        """Add a layer and the tensor of the same name that it makes, and return that name.

        Parameters
        ----------
        name : :class:`str`
        x : :class:`str`
            Name of the tensor to which the layer applies.
        weight : array, shape ``[out, in]``
        bias : array, shape ``[out]``

        Raises
        ------
        ValueError
            If the name is taken, the input is unknown, or an array does not fit or is not finite.
        """
        source = self._known(x)
        if self.role(x):
            raise ValueError(f"{x} must be read by attention alone, as only one layout of it is "
                             "kept")
        weight = checked(weight, f"Weight of {name}", None, source.features)
        outputs = len(weight)
        bias = np.zeros(outputs) if bias is None else bias
        layer = Linear(name, x, name, weight, checked(bias, f"Bias of {name}", outputs))
        self._add(Tensor(name, source.tokens, outputs))
        self.layers.append(layer)
        return name

    def attention(self, name: str, q: str, k: str, v: str, *, heads: int = 1,
                  kv_heads: int | None = None, scale: float | None = None,
                  pattern: Pattern | None = None) -> str:
        """Add a layer of attention and the tensor of the same name that it makes.

        Parameters
        ----------
        name : :class:`str`
        q, k, v : :class:`str`
            Names of three tensors that no other layer reads; ``k`` and ``v`` are both inputs of the
            graph, or neither is.
        heads : :class:`int`
            Of the queries.
        kv_heads : :class:`int`
            Of keys and values; each serves ``heads / kv_heads`` heads of queries. By default as
            many as of queries.
        scale : :class:`float`
            Factor of the scores, at least 0; by default ``1 / sqrt(features of a head)``.
        pattern : :class:`~heddle.patterns.Pattern`
            Which keys each query sees; by default all. Its heads, times its batch, are ``heads``.

        Raises
        ------
        ValueError
            If the name is taken, a tensor is unknown or read by another layer, heads do not divide,
            or the sizes do not fit each other.
        """
        queries, keys, values = (self._known(tensor) for tensor in (q, k, v))
        kv_heads = heads if kv_heads is None else kv_heads
        for number, what in ((heads, "Heads"), (kv_heads, "Heads of keys and values")):
            if number < 1:
                raise ValueError(f"{what} of {name} must be at least 1, not {number}")
        if heads % kv_heads:
            raise ValueError(f"Heads of {name} must be a multiple of its {kv_heads} heads of keys "
                             f"and values, not {heads}")
        for tensor, number in ((queries, heads), (keys, kv_heads), (values, kv_heads)):
            if tensor.features % number:
                raise ValueError(f"Features of {tensor.name} must be a multiple of its {number} "
                                 f"heads, not {tensor.features}")
            if self.consumers(tensor.name) or tensor.name in self.outputs:
                raise ValueError(f"{tensor.name} must be read by {name} alone, as only one layout "
                                 "of it is kept")
        dim = queries.features // heads
        pattern = pattern or Pattern(queries.tokens, keys.tokens, heads=heads)
        for what, found, wanted in (
                ("Tensors", len({q, k, v}), 3),
                ("Features of a head of keys", keys.features // kv_heads, dim),
                ("Features of a head of values", values.features // kv_heads, dim),
                ("Values", values.tokens, keys.tokens),
                ("Queries of the pattern", pattern.queries, queries.tokens),
                ("Keys of the pattern", pattern.keys, keys.tokens),
                ("Heads of the pattern, times its batch,", pattern.heads * pattern.batch, heads)):
            if found != wanted:
                raise ValueError(f"{what} of {name} must be {wanted}, not {found}")
        if (k in self.inputs) != (v in self.inputs):
            raise ValueError(f"Keys and values of {name} must both be inputs, or both be made by "
                             "layers")
        scale = dim ** -0.5 if scale is None else float(scale)
        if not 0 <= scale < float("inf"):
            raise ValueError(f"Scale of {name} must be at least 0 and finite, not {scale}")
        self._add(Tensor(name, queries.tokens, queries.features))
        self.layers.append(Attention(name, (q, k, v), name, heads, kv_heads, scale, pattern))
        return name

    def output(self, *names: str) -> None:
        """Make tensors outputs, which the host reads.

        Raises
        ------
        ValueError
            If a tensor is unknown, or is an input.
        """
        for name in names:
            self._known(name)
            if name in self.inputs:
                raise ValueError(f"Output must be made by a layer, and {name!r} is an input")
            if self.role(name):
                raise ValueError(f"Output must not be read by attention, as {name!r} is")
            if name not in self.outputs:
                self.outputs.append(name)

    def evaluate(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
        """Return all tensors, computed in float64, for inputs of any number of tokens.

        Raises
        ------
        ValueError
            If an input is missing, unknown, or wrong in features or values.
        """
        checked = checked_inputs(inputs, [self.tensors[name] for name in self.inputs],
                                 any_tokens=True)
        values = {name: x.astype(np.float64) for name, x in checked.items()}
        for layer in self.layers:
            values[layer.output] = layer(*(values[name] for name in layer.inputs))
        return values

    @property
    def linear_layers(self) -> list[Linear]:
        """The layers that are products with weights."""
        return [layer for layer in self.layers if isinstance(layer, Linear)]

    def consumers(self, tensor: str) -> list[Linear | Attention]:
        """Return the layers that read a tensor."""
        return [layer for layer in self.layers if tensor in layer.inputs]

    def role(self, tensor: str) -> tuple[Attention, int] | None:
        """Return the attention that reads a tensor, and which of its inputs it is."""
        for layer in self.consumers(tensor):
            if isinstance(layer, Attention):
                return layer, layer.inputs.index(tensor)
        return None

    def _add(self, tensor: Tensor) -> None:
        if tensor.name in self.tensors:
            raise ValueError(f"Tensor names must differ, and {tensor.name!r} is taken")
        self.tensors[tensor.name] = tensor

    def _known(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise ValueError(f"Tensor must be one of {', '.join(self.tensors) or 'none yet'}, "
                             f"not {name!r}")
        return self.tensors[name]


def checked_inputs(inputs: Mapping[str, ArrayLike], tensors: list[Tensor], *,
                   any_tokens: bool = False) -> dict[str, NDArray[np.float32]]:
    """Return arrays as float32 after checking that they are just those of some tensors."""
    names = {tensor.name for tensor in tensors}
    for name in sorted(names ^ set(inputs)):
        problem = "is missing" if name in names else "is not an input"
        raise ValueError(f"Inputs must be {', '.join(sorted(names))}; {name} {problem}")
    return {t.name: checked(inputs[t.name], f"Input {t.name}", None if any_tokens else t.tokens,
                            t.features) for t in tensors}
