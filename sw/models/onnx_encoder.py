"""BERT-like encoders from ONNX graphs: weights by what the graph does, not by what it calls them.

Exporters drop most names of weights and cut functions into pieces, each in its own way. So the
graph is followed from its output back to its input, and must then give the same numbers as the
network that was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .build import build
from .checkpoint import CheckpointError
from .families import FAMILIES
from .modules import ACTIVATIONS
from .onnx_graph import OnnxGraph
from .transformer import Transformer

__all__ = ["read_onnx"]

_TOKENS = 7
"""Of the sequence on which graph and network are compared."""

_TOLERANCE = 1e-4
"""Of that comparison: largest difference in units of the output's RMS, in single precision."""

_LAYOUT = "Transpose", "Reshape", "Cast"

_Weights = dict[str, tuple[NDArray, NDArray]]


def read_onnx(path: Path, config: Mapping[str, Any], dtype: DTypeLike = np.float64) -> Transformer:
    """Return the encoder that an ONNX file computes.

    The graph must be an encoder of BERT's form: token, position and perhaps segment embeddings with
    a norm, then layers with a norm after each sum, on the way to one of its outputs; it has inputs
    ``input_ids`` and perhaps ``attention_mask`` and ``token_type_ids``. What else it computes, such
    as a pooler, is left out.

    Raises
    ------
    CheckpointError
        If the file is damaged, or an operator stands where an encoder has another.
    ModuleNotFoundError
        If the package ``onnx`` is not installed.
    ValueError
        If the network is not supported, or gives other numbers than the graph.
    """
    graph = OnnxGraph(path)
    output, tensor = _output(graph)
    layers = []
    while _is_layer(graph, tensor):
        tensor, *layer = _layer(graph, tensor)
        layers.append(layer)
    tensors = _embedding(graph, tensor)
    family = FAMILIES["bert"]
    found: dict[str, Any] = {}
    for number, (weights, said) in enumerate(reversed(layers)):
        for part, pair in weights.items():
            name = family.layer.format(number) + family.parts[part]
            tensors |= zip((f"{name}.weight", f"{name}.bias"), pair)
        if number and said != found:
            raise CheckpointError(f"Layers of an encoder in ONNX must be alike, and layer {number} "
                                  f"has {said} instead of {found}")
        found = said
    network = build(tensors, {**config, "model_type": "bert", **found}, dtype)
    _compare(graph, output, network)
    return network


def _output(graph: OnnxGraph) -> tuple[str, str]:
    """Return an output of the graph that is a norm, and the tensor of that norm."""
    errors = []
    for name in graph.outputs:
        tensor = graph.origin(name, "Identity", "Cast")
        try:
            graph.norm(tensor, f"the output {name}")
        except CheckpointError as error:
            errors.append(error)
        else:
            return name, tensor
    raise errors[0]


def _is_layer(graph: OnnxGraph, tensor: str) -> bool:
    """Return whether a tensor is the norm of a sum that a layer with weights contributes to."""
    source = graph.norm(tensor, "the norm of a layer")[0]
    return graph.kind(source) == "Add" and any(map(graph.is_linear, graph.read_by(source)))


def _layer(graph: OnnxGraph, tensor: str) -> tuple[str, _Weights, dict[str, Any]]:
    """Return input, weights and configuration of the layer that makes a tensor."""
    summed, *norm, epsilon = graph.norm(tensor, "the norm of a layer")
    contract, attended = _residual(graph, summed)
    inner, *second = graph.linear(contract, "the second feed-forward projection")
    expand, activation = _activation(graph, inner)
    fed, *first = graph.linear(expand, "the first feed-forward projection")
    summed, *attention_norm, _ = graph.norm(attended, "the norm of attention")
    projected, source = _residual(graph, summed)
    context, *output = graph.linear(projected, "the output projection")
    projections, heads = _attention(graph, context)
    weights = {"norm": norm, "contract": second, "expand": first, "output": output,
               "attention_norm": attention_norm}
    reads = {"first feed-forward": (fed, attended)}
    for part, (read, *pair) in projections.items():
        weights[part], reads[part] = pair, (read, source)
    for part, (read, wanted) in reads.items():
        if read != wanted:
            raise CheckpointError(f"The {part} projection must read {wanted}, to which the result "
                                  f"is added, not {read}")
    return source, {part: (one, other) for part, (one, other) in weights.items()}, {
        "num_attention_heads": heads, "hidden_act": activation, "layer_norm_eps": epsilon}


def _residual(graph: OnnxGraph, tensor: str) -> tuple[str, str]:
    """Return the layer with weights and the other summand of a sum."""
    one, other = graph.expect(tensor, "Add", where="the sum before a norm")
    if graph.is_linear(one):
        return one, other
    graph.linear(other, "a summand before a norm")
    return other, one


def _activation(graph: OnnxGraph, tensor: str) -> tuple[str, str]:
    """Return what an activation reads, and its name, which its values tell."""
    start, nodes = graph.between(tensor)
    operators = ", ".join(sorted({node.op_type for node in nodes}))
    if not start:
        raise CheckpointError(f"An activation of the operators {operators} ({tensor}) must read a "
                              "layer with weights")
    x = np.linspace(-6, 6, 97, dtype=np.float32)
    try:
        y = graph.evaluate(nodes, tensor, {start: x})
    except Exception as error:  # whatever operators do with inputs that are none of theirs
        raise CheckpointError(f"An activation of the operators {operators} ({tensor}) cannot be "
                              f"evaluated: {error}") from error
    for name, function in ACTIVATIONS.items():
        if y.shape == x.shape and np.abs(function(x) - y).max() < 1e-5:
            return start, name
    raise CheckpointError(f"An activation must be one of {', '.join(ACTIVATIONS)}, and what the "
                          f"operators {operators} make up ({tensor}) is none of them")


def _attention(graph: OnnxGraph,
               tensor: str) -> tuple[dict[str, tuple[str, NDArray, NDArray]], int]:
    """Return input and weights of each projection of an attention, and its heads."""
    weights, values = graph.expect(graph.origin(tensor, *_LAYOUT), "MatMul",
                                   where="the sum of values")
    if graph.kind(weights) == "Where":  # instead of what is not a number, if nothing is visible
        weights = graph.read_by(weights)[2]
    [scores] = graph.expect(graph.origin(weights, "Cast"), "Softmax", where="the weights")
    if graph.kind(scores) == "Add":  # of the mask
        scores = next((name for name in graph.read_by(scores)
                       if graph.kind(graph.origin(name, "Mul", "Div")) == "MatMul"), scores)
    product, scale = graph.scaled(scores)
    queries, keys = graph.expect(product, "MatMul", where="the scores")
    query, query_scale = graph.scaled(queries, *_LAYOUT)
    key, key_scale = graph.scaled(keys, *_LAYOUT)
    found = {"query": query, "key": key, "value": graph.origin(values, *_LAYOUT)}
    layers = {part: graph.linear(name, f"the {part} projection") for part, name in found.items()}
    head = _head(graph, queries, query)
    scale *= query_scale * key_scale
    if not math.isclose(scale, head ** -0.5, rel_tol=1e-4):
        raise CheckpointError(f"Scores ({scores}) of heads of {head} features must be multiplied "
                              f"by {head ** -0.5:.4g}, not by {scale:.4g}")
    return layers, len(layers["query"][2]) // head


def _head(graph: OnnxGraph, tensor: str, projection: str) -> int:
    """Return the features of a head: the last axis of the shape that a projection takes."""
    while tensor != projection:
        read = graph.read_by(tensor)
        if graph.kind(tensor) == "Reshape":
            last = graph.read_by(read[1])[-1] if graph.kind(read[1]) == "Concat" else read[1]
            if last in graph.constants and (size := int(graph.constants[last].flat[-1])) > 0:
                return size
        tensor = next(name for name in read if name not in graph.constants)
    raise CheckpointError(f"The query projection ({projection}) must be reshaped to heads of a "
                          "constant number of features")


def _embedding(graph: OnnxGraph, tensor: str) -> dict[str, NDArray]:
    """Return the tensors of the embedding that makes a tensor, under BERT's names."""
    summed, gain, bias, _ = graph.norm(tensor, "the norm of the embedding")
    tables: dict[str, NDArray] = {}
    waiting = [summed]
    while waiting:
        name = waiting.pop()
        if name in graph.constants:  # rows of the positions, picked beforehand
            part, table = "positions", graph.constants[name]
        elif graph.kind(name) == "Add":
            waiting.extend(graph.read_by(name))
            continue
        else:
            rows, index = graph.expect(name, "Gather", where="a part of the embedding")
            part = {"input_ids": "words", "token_type_ids": "segment"}.get(
                graph.origin(index, "Cast"), "positions")
            if rows not in graph.constants:
                raise CheckpointError(f"Gather ({name}) must read a constant table of {part}")
            table = graph.constants[rows]
        if part in tables:
            raise CheckpointError(f"An encoder in ONNX must add one embedding of {part}, and "
                                  f"{name} is another")
        tables[part] = table.reshape(-1, table.shape[-1])
    for part in ("words", "positions"):
        if part not in tables:
            raise CheckpointError(f"An encoder in ONNX must add an embedding of {part}, and the "
                                  f"sum {summed} has none")
    family = FAMILIES["bert"]
    return {getattr(family, part): table for part, table in tables.items()} | {
        f"{family.embedding_norm}.weight": gain, f"{family.embedding_norm}.bias": bias}


def _compare(graph: OnnxGraph, output: str, network: Transformer) -> None:
    """Check that graph and network give the same numbers for a sequence of random tokens."""
    tokens = np.random.default_rng(0).integers(
        len(network.embedding.words), size=(1, _TOKENS))  # type: ignore[union-attr]
    known = {"input_ids": tokens, "attention_mask": np.ones_like(tokens),
             "token_type_ids": np.zeros_like(tokens)}
    for name in graph.inputs:
        if name not in known:
            raise CheckpointError(f"Inputs of an encoder in ONNX must be among {', '.join(known)}, "
                                  f"not {name}")
    wanted = graph.evaluate(graph.nodes, output, {name: known[name] for name in graph.inputs})
    found = network(tokens)
    error = np.abs(found - wanted[0]).max() / np.sqrt(np.mean(found * found))
    if not error < _TOLERANCE:
        raise ValueError(f"The ONNX graph must compute what BERT computes from its weights, and "
                         f"for {_TOKENS} tokens the outputs differ by {error:.2g} of their RMS")
