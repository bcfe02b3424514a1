"""A spread of workloads on which the cost model is held against the RTL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .api import run
from .benchmarks import pattern_arguments
from .compiler import lower
from .cost import estimate
from .device import DeviceError, Rtl
from .graph import Graph
from .patterns import Pattern
from .quantise import quantise
from .rtl.geometry import Geometry, preset
from .sparsity import pruned

__all__ = ["COLUMNS", "SPREAD", "Comparison", "Workload", "compare", "rows"]

COLUMNS = ("geometry", "workload", "cycles", "predicted", "difference", "array cycles, predicted")

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Workload:
    """A graph of random weights."""

    name: str
    make: Callable[[Geometry, np.random.Generator], Graph]


@dataclass(frozen=True)
class Comparison:
    """What a workload took on the RTL, and what was predicted."""

    workload: str
    cycles: int
    predicted: int
    array_cycles: int
    array_predicted: int

    @property
    def difference(self) -> float:
        """How much more is predicted than is true, as a share of that."""
        return self.predicted / self.cycles - 1


def _weight(random: np.random.Generator, outputs: int, inputs: int) -> Array:
    return random.standard_normal((outputs, inputs), np.float32) / np.float32(inputs) ** 0.5


def _linear(tokens: int, *features: int, sparsity: str = "dense",
            activation: str | None = None) -> Workload:
    """Return linear layers one after another, between so many features."""
    def make(geometry: Geometry, random: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.input("x", tokens=tokens, features=features[0])
        for n, (inputs, outputs) in enumerate(itertools.pairwise(features)):
            weight, structure = pruned(_weight(random, outputs, inputs), sparsity, geometry)
            x = graph.linear(f"y{n}", x, weight, structure=structure, activation=activation)
        graph.output(x)
        return graph

    kind = "".join(f", {what}" for what in (activation, sparsity != "dense" and sparsity) if what)
    return Workload(f"linear {' × '.join(map(str, (tokens, *features)))}{kind}", make)


def _attention(tokens: int, heads: int, dim: int, *, keys: int | None = None,
               kv_heads: int | None = None, pattern: str = "dense") -> Workload:
    keys, others = keys or tokens, kv_heads or heads

    def make(geometry: Geometry, random: np.random.Generator) -> Graph:
        graph = Graph()
        for name, count, width in (("q", tokens, heads), ("k", keys, others), ("v", keys, others)):
            graph.input(name, tokens=count, features=width * dim)
        visible = Pattern(tokens, keys, heads=heads, **pattern_arguments(pattern, tokens, keys))
        graph.output(graph.attention("o", "q", "k", "v", heads=heads, kv_heads=others,
                                     pattern=visible))
        return graph

    extra = f" of {others} keys" * (others != heads) + f", {pattern}" * (pattern != "dense")
    return Workload(f"attention {tokens} × {keys}, {heads} heads{extra}, d {dim}", make)


def _add_attention(graph: Graph, random: np.random.Generator, name: str, x: str, source: str,
                   heads: int, dim: int, *, causal: bool = False) -> str:
    """Add attention with its four projections."""
    tokens, keys = (graph.tensors[tensor].tokens for tensor in (x, source))
    features = graph.tensors[x].features
    q, k, v = (graph.linear(f"{name}{letter}", tensor, _weight(random, heads * dim, features))
               for letter, tensor in (("q", x), ("k", source), ("v", source)))
    attended = graph.attention(f"{name}a", q, k, v, heads=heads, pattern=Pattern(
        tokens, keys, heads=heads, causal=causal))
    return graph.linear(f"{name}o", attended, _weight(random, features, heads * dim))


def _block(tokens: int, features: int, heads: int, dim: int, *, memory: int | None = None,
           causal: bool = False) -> Workload:
    """Return attention with its projections; with ``memory`` tokens it is cross-attention."""
    def make(geometry: Geometry, random: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.input("x", tokens=tokens, features=features)
        source = graph.input("memory", tokens=memory, features=features) if memory else x
        graph.output(_add_attention(graph, random, "", x, source, heads, dim, causal=causal))
        return graph

    kind = "causal " * causal + (f"cross-attention to {memory}" if memory else "attention block")
    return Workload(f"{kind}, {tokens} × {features}, {heads} heads, d {dim}", make)


def _norm(tokens: int, features: int, *, residual: bool = True) -> Workload:
    def make(geometry: Geometry, random: np.random.Generator) -> Graph:
        graph = Graph()
        x = graph.input("x", tokens=tokens, features=features)
        if residual:
            x = graph.add("sum", x, graph.input("y", tokens=tokens, features=features))
        graph.output(graph.norm("n", x, np.ones(features)))
        return graph

    return Workload(f"norm{' of a sum' * residual} {tokens} × {features}", make)


def _encoder(tokens: int, features: int, heads: int, hidden: int, layers: int = 1) -> Workload:
    def make(geometry: Geometry, random: np.random.Generator) -> Graph:
        graph, ones = Graph(), np.ones(features)
        x = graph.input("x", tokens=tokens, features=features)
        for n in range(layers):
            projected = _add_attention(graph, random, f"{n}", x, x, heads, features // heads)
            x = graph.norm(f"{n}n", graph.add(f"{n}s", x, projected), ones)
            inner = graph.linear(f"{n}i", x, _weight(random, hidden, features), activation="gelu")
            outer = graph.linear(f"{n}e", inner, _weight(random, features, hidden))
            x = graph.norm(f"{n}m", graph.add(f"{n}t", x, outer), ones)
        graph.output(x)
        return graph

    return Workload(f"{layers} encoder layer{'s' * (layers > 1)}, {tokens} × {features}, {heads} "
                    f"heads, {hidden} inside", make)


SPREAD: dict[str, tuple[Workload, ...]] = {
    "tiny": (
        _linear(4, 16, 16), _linear(7, 33, 33), _linear(1, 64, 64), _linear(40, 64, 40),
        _linear(33, 128, 70), _linear(4, 8, 256), _linear(128, 16, 16), _linear(64, 300, 4),
        _linear(64, 64, 64), _linear(64, 64, 64, sparsity="0.5"),
        _linear(64, 64, 64, sparsity="0.8"), _linear(16, 64, 64, sparsity="random:0.9"),
        _linear(32, 32, 64, 32), _linear(24, 48, 48, 48, 48, activation="gelu"),
        _attention(16, 1, 8), _attention(32, 4, 4), _attention(64, 2, 8),
        _attention(64, 2, 8, pattern="causal"), _attention(96, 1, 8, pattern="window:8"),
        _attention(32, 4, 8, kv_heads=2), _attention(8, 2, 8, keys=96),
        _attention(48, 2, 8, keys=16), _block(24, 16, 2, 8), _block(24, 32, 4, 8, causal=True),
        _block(16, 32, 4, 8, memory=32), _norm(16, 32), _norm(5, 64, residual=False),
        _norm(64, 16), _encoder(12, 16, 2, 32), _encoder(24, 32, 4, 64),
        _encoder(16, 32, 4, 128, 2)),
    "compact": (
        _linear(16, 64, 64), _linear(128, 128, 128), _linear(33, 200, 90), _linear(256, 64, 512),
        _linear(16, 1024, 64), _linear(512, 32, 32), _linear(128, 512, 512),
        _linear(128, 256, 256, sparsity="0.5"), _linear(128, 256, 256, sparsity="0.8"),
        _attention(64, 4, 16), _attention(128, 2, 64), _attention(128, 4, 32),
        _attention(256, 1, 64, pattern="causal"), _attention(512, 1, 32, pattern="window:32"),
        _attention(128, 8, 16, kv_heads=2), _attention(16, 1, 64, keys=1024),
        _block(128, 128, 1, 64), _block(64, 128, 4, 32, causal=True),
        _block(64, 128, 4, 32, memory=128), _norm(64, 128), _norm(16, 512, residual=False),
        _encoder(64, 128, 4, 256), _encoder(32, 64, 4, 256, 2)),
    "zcu102": (
        _linear(128, 384, 384), _linear(128, 384, 1536), _linear(33, 200, 90),
        _linear(128, 512, 512, sparsity="0.8"), _attention(128, 12, 32),
        _attention(512, 8, 64, pattern="causal"), _block(64, 512, 8, 64, memory=128),
        _norm(128, 384), _encoder(128, 384, 12, 1536), _encoder(100, 512, 8, 2048, 2)),
}
"""What is compared on each geometry."""


def compare(workload: Workload, geometry: str | Geometry, *, seed: int = 0) -> Comparison:
    """Run a workload on the RTL, and predict how long it takes.

    Raises
    ------
    DeviceError
        If the run fails, or the result differs from the golden model's.
    """
    geometry, random = preset(geometry), np.random.default_rng(seed)
    graph = workload.make(geometry, random)
    inputs = {name: random.standard_normal((graph.tensors[name].tokens,
                                            graph.tensors[name].features), np.float32)
              for name in graph.inputs}
    program = lower(quantise(graph, inputs), geometry)
    report = run(program, inputs, device=Rtl(geometry)).report
    if not report["matches_golden"]:
        raise DeviceError(f"The result of {workload.name} must equal the golden model's, and it "
                          "differs")
    predicted = estimate(program.decoded(), geometry)
    return Comparison(workload.name, report["cycles"], predicted.cycles,  # type: ignore[arg-type]
                      report["array_cycles"], predicted.array_cycles)  # type: ignore[arg-type]


def rows(geometry: str) -> Iterator[tuple[str, ...]]:
    """Compare what is to be compared on a geometry, and yield a row of the table for each.

    Raises
    ------
    DeviceError
        As :func:`compare`.
    ValueError
        If nothing is to be compared on the geometry.
    """
    if geometry not in SPREAD:
        raise ValueError(f"The cost model is compared on {', '.join(SPREAD)}, not on {geometry}")
    for workload in SPREAD[geometry]:
        found = compare(workload, geometry)
        yield (geometry, workload.name, f"{found.cycles:,}", f"{found.predicted:,}",
               f"{found.difference:+.1%}", f"{found.array_cycles:,}, {found.array_predicted:,}")
