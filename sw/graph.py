"""Networks as graphs of named tensors and layers, in floating point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Graph", "Linear", "Tensor", "checked", "checked_inputs"]


def checked(array: ArrayLike, name: str, *shape: int | None) -> NDArray[np.float32]:
    """Return an array as float32 after checking it.

    Parameters
    ----------
    array : array
    name : :class:`str`
        What it is, for the messages.
    shape : :class:`int` or ``None``
        The size that each axis must have; ``None`` allows any from 1 up.

    Raises
    ------
    TypeError
        If its elements are not real numbers.
    ValueError
        If its rank or a size is wrong, or an element is not finite.
    """
    array = np.asarray(array)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(f"{name} must have real numbers, not {array.dtype}")
    if array.ndim != len(shape):
        raise ValueError(f"{name} must have {len(shape)} axes, not {array.ndim} (its shape is "
                         f"{array.shape})")
    for axis, (wanted, found) in enumerate(zip(shape, array.shape, strict=True)):
        if found < 1 or wanted not in (None, found):
            raise ValueError(f"{name} must have {'at least 1' if wanted is None else wanted} "
                             f"along axis {axis}, not {found} (its shape is {array.shape})")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        where = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite in float32, but element {where} is {array[where]}")
    return array


@dataclass(frozen=True)
class Tensor:
    """A matrix of activations, ``[tokens, features]``."""

    name: str
    tokens: int
    features: int


@dataclass(frozen=True)
class Linear:
    """The layer ``output = input · weightᵀ + bias``, with ``weight`` of ``[out, in]``."""

    name: str
    input: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ self.weight.T.astype(np.float64) + self.bias


class Graph:
    """A network. Layers are added in the order in which they can be computed.

    Attributes
    ----------
    name : :class:`str`
    tensors : dict of str to :class:`Tensor`
    layers : list of :class:`Linear`
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
        self.layers: list[Linear] = []
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
        weight = checked(weight, f"Weight of {name}", None, source.features)
        outputs = len(weight)
        bias = np.zeros(outputs) if bias is None else bias
        layer = Linear(name, x, name, weight, checked(bias, f"Bias of {name}", outputs))
        self._add(Tensor(name, source.tokens, outputs))
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
            values[layer.output] = layer(values[layer.input])
        return values

    def consumers(self, tensor: str) -> list[Linear]:
        """Return the layers that read a tensor."""
        return [layer for layer in self.layers if layer.input == tensor]

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
