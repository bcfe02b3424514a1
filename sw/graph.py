"""Networks as graphs of named tensors and layers, in floating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .activations import named
from .layers import Attention, Linear, Tensor, checked
from .patterns import Pattern
from .structures import Dense, Structure

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

    def linear(self, name: str, x: str, weight: ArrayLike, bias: ArrayLike | None = None, *,
               structure: Structure | None = None, activation: str | None = None) -> str:
        """Add a layer and the tensor of the same name that it makes, and return that name.

        Parameters
        ----------
        name : :class:`str`
        x : :class:`str`
            Name of the tensor to which the layer applies.
        weight : array, shape ``[out, in]``
        bias : array, shape ``[out]``
        structure : :class:`~heddle.structures.Structure`
            What is claimed of the zeros of the weight. Without a claim the compiler encodes each
            block in the fastest way that the geometry can hold, which may be dense; with one it
            refuses a geometry that cannot skip the zeros. :class:`~heddle.structures.Dense` makes
            it keep them.
        activation : ``"relu"``, ``"gelu"``, ``"silu"`` or ``None``
            What to apply to the outputs.

        Raises
        ------
        TypeError
            If the elements of an array are no real numbers, or the structure is none.
        ValueError
            If the name is taken, the input or the activation is unknown, an array does not fit or
            is not finite, or the weight does not have the structure.
        """
        source = self._known(x)
        if self.role(x):
            raise ValueError(f"{x} must be read by attention alone, as only one layout of it is "
                             "kept")
        weight = checked(weight, f"Weight of {name}", None, source.features)
        outputs = len(weight)
        if not isinstance(structure, Structure | None):
            raise TypeError(f"Structure of {name} must be a Structure or None, not {structure!r}")
        try:
            (structure or Dense()).check(weight)
        except ValueError as error:
            raise ValueError(f"Weight of {name} must be as its {type(structure).__name__} says: "
                             f"{error}") from None
        bias = np.zeros(outputs) if bias is None else bias
        layer = Linear(name, x, name, weight, checked(bias, f"Bias of {name}", outputs),
                       structure, named(activation))
        self._add(Tensor(name, source.tokens, outputs))
        self.layers.append(layer)
        return name

    def attention(self, name: str, q: str, k: str, v: str, *, heads: int | Sequence[int] = 1,
                  kv_heads: int | None = None, value_heads: Sequence[int] | None = None,
                  scale: float | None = None, pattern: Pattern | None = None) -> str:
        """Add a layer of attention and the tensor of the same name that it makes.

        Parameters
        ----------
        name : :class:`str`
        q, k, v : :class:`str`
            Names of three tensors that no other layer reads; ``k`` and ``v`` are both inputs of the
            graph, or neither is.
        heads : :class:`int` or sequence of int
            Of the queries: their number, if they are equally wide, or the features of each.
        kv_heads : :class:`int`
            Of keys and values; each serves ``heads / kv_heads`` heads of queries, which must be as
            wide as it. By default as many as of queries.
        value_heads : sequence of int
            The features of each head of values, and so of the output. By default they are equally
            wide if ``heads`` is a number, and as wide as those of keys otherwise.
        scale : :class:`float`
            Factor of the scores, at least 0; by default ``1 / sqrt(features of a head)`` if all
            heads of queries are equally wide.
        pattern : :class:`~heddle.patterns.Pattern`
            Which keys each query sees; by default all. Its heads, times its batch, are ``heads``.

        Raises
        ------
        ValueError
            If the name is taken, a tensor is unknown or read by another layer, heads do not divide,
            the sizes do not fit each other, or the scale is missing.
        """
        queries, keys, values = (self._known(tensor) for tensor in (q, k, v))
        widths = _widths(queries, heads, f"Heads of {name}")
        kv_heads = len(widths) if kv_heads is None else kv_heads
        if kv_heads < 1:
            raise ValueError(f"Heads of keys and values of {name} must be at least 1, not "
                             f"{kv_heads}")
        group, rest = divmod(len(widths), kv_heads)
        if rest:
            raise ValueError(f"Heads of {name} must be a multiple of its {kv_heads} heads of keys "
                             f"and values, not {len(widths)}")
        for head, width in enumerate(widths):
            if width != widths[head - head % group]:
                raise ValueError(f"Heads {head - head % group} and {head} of {name} share their "
                                 "keys, so they must be equally wide, not "
                                 f"{widths[head - head % group]} and {width}")
        _widths(keys, widths[::group], f"Heads of keys of {name}")
        usual = kv_heads if isinstance(heads, (int, np.integer)) else widths[::group]
        value_widths = _widths(values, usual if value_heads is None else value_heads,
                               f"Heads of values of {name}")
        for tensor in (queries, keys, values):
            if self.consumers(tensor.name) or tensor.name in self.outputs:
                raise ValueError(f"{tensor.name} must be read by {name} alone, as only one layout "
                                 "of it is kept")
        pattern = pattern or Pattern(queries.tokens, keys.tokens, heads=len(widths))
        for what, found, wanted in (
                ("Tensors", len({q, k, v}), 3),
                ("Heads of values", len(value_widths), kv_heads),
                ("Values", values.tokens, keys.tokens),
                ("Queries of the pattern", pattern.queries, queries.tokens),
                ("Keys of the pattern", pattern.keys, keys.tokens),
                ("Heads of the pattern, times its batch,", pattern.heads * pattern.batch,
                 len(widths))):
            if found != wanted:
                raise ValueError(f"{what} of {name} must be {wanted}, not {found}")
        if (k in self.inputs) != (v in self.inputs):
            raise ValueError(f"Keys and values of {name} must both be inputs, or both be made by "
                             "layers")
        if scale is None:
            if len(set(widths)) > 1:
                raise ValueError(f"Scale of {name} must be given, as its heads have "
                                 f"{min(widths)} to {max(widths)} features")
            scale = widths[0] ** -0.5
        if not 0 <= scale < float("inf"):
            raise ValueError(f"Scale of {name} must be at least 0 and finite, not {scale}")
        layer = Attention(name, (q, k, v), name, widths, value_widths, float(scale), pattern)
        self._add(Tensor(name, queries.tokens, sum(layer.output_widths)))
        self.layers.append(layer)
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


def _widths(tensor: Tensor, heads: int | Sequence[int], what: str) -> tuple[int, ...]:
    """Return the features of each head of a tensor: of so many heads, or as they are given."""
    if isinstance(heads, (int, np.integer)):
        if heads < 1:
            raise ValueError(f"{what} must be at least 1, not {heads}")
        if tensor.features % heads:
            raise ValueError(f"Features of {tensor.name} must be a multiple of its {heads} heads, "
                             f"not {tensor.features}")
        return (tensor.features // heads,) * heads
    widths = tuple(map(int, heads))
    if not widths or min(widths) < 1:
        raise ValueError(f"{what} must have at least 1 feature each, not {list(widths)}")
    if sum(widths) != tensor.features:
        raise ValueError(f"{what} must have the {tensor.features} features of {tensor.name} "
                         f"together, not {sum(widths)}")
    return widths
