"""The benchmark of pruned attention blocks of a real encoder, as they are without fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .api import Result, run_graph
from .deploy import attention_graph
from .embedding import SENTENCES
from .graph import Graph
from .models import MiniLM, calibration_sentences
from .models.modules import Array, Linear
from .models.transformer import Layer, LayerTrace
from .prune import compensate, saliency
from .quantise import relative_error
from .rtl.geometry import Geometry, preset
from .sparsity import pruned

__all__ = ["COLUMNS", "LEVELS", "measure"]

LEVELS = (
    *(("zcu102", level) for level in ("dense", "0.25", "0.5", "0.8")),
    *(("zcu102-nm", level) for level in ("dense", "3:4", "2:4", "0.333+3:4")),
)
"""Geometries, each with levels as of :func:`~heddle.sparsity.pruned`."""

COLUMNS = ("geometry", "sparsity", "weights kept", "cycles a layer", "array cycles",
           "weight bytes", "error of pruning", "error on Heddle", "cosine")
"""Of the table."""

_PARTS = ("query", "key", "value", "output")


def measure(levels: Sequence[tuple[str, str]] = LEVELS, *, layers: int = 6,
            device: str = "rtl") -> Iterator[tuple[str, ...]]:
    """Run the attention blocks of MiniLM at each level and yield its row of the table.

    The four projections of a layer are pruned by their saliency, and what is kept is compensated,
    with the calibration text as a sample. Inputs are the dense encoder's own.
    Errors are relative RMS, against the dense block in floating point: of the pruned block in
    floating point, and as computed; the cosine is that of the tokens, on average.

    Raises
    ------
    ValueError
        If a result differs from the golden model's.
    """
    model = MiniLM()
    sequences = model.tokens(SENTENCES)
    lengths = [len(sequence) for sequence in sequences]
    traces = model.encoder.run(sequences)[:layers]
    samples = model.run(calibration_sentences())
    dense = np.concatenate([trace.projected for trace in traces])
    for name, level in levels:
        geometry = preset(name)
        pruned_layers = [_pruned(layer, sample, level, geometry) for layer, sample, _ in zip(
            model.encoder.layers, samples, traces)]
        graphs = [attention_graph(f"MiniLM attention {number}, {level}", layer, lengths)
                  for number, layer in enumerate(pruned_layers)]
        results = [_run(graph, trace.hidden, geometry, device)
                   for graph, trace in zip(graphs, traces)]
        exact = np.concatenate([graph.evaluate({"hidden": trace.hidden})[graph.outputs[0]]
                                for graph, trace in zip(graphs, traces)])
        got = np.concatenate([result.output for result in results])
        cosines = (dense * got).sum(1) / np.linalg.norm(dense, axis=1) / np.linalg.norm(got, axis=1)
        kept = np.mean([np.mean(getattr(layer, part).weight != 0)
                        for layer in pruned_layers for part in _PARTS])
        report = results[0].report
        cycles = "–" if report["cycles"] is None else f"{report['cycles']:,}"
        yield (name, level, f"{kept:.1%}", cycles, f"{report['array_cycles']:,}",
               f"{report['weight_bytes']:,}", f"{relative_error(exact, dense):.1%}",
               f"{relative_error(got, dense):.1%}", f"{cosines.mean():.4f}")


def _run(graph: Graph, hidden: Array, geometry: Geometry, device: str) -> Result:
    result = run_graph(graph, {"hidden": hidden}, geometry=geometry, device=device)
    if not result.report["matches_golden"]:
        raise ValueError(f"The result of {graph.name} must equal the golden model's, and it "
                         "differs")
    return result


def _pruned(layer: Layer, sample: LayerTrace, level: str, geometry: Geometry) -> Layer:
    """Return a layer with its four projections pruned, given a sample of what they read."""
    def prune(linear: Linear, inputs: Array) -> Linear:
        left, _ = pruned(saliency(linear.weight, inputs), level, geometry)
        return Linear(compensate(linear.weight, left != 0, inputs), linear.bias)

    return replace(layer, query=prune(layer.query, sample.hidden),
                   key=prune(layer.key, sample.hidden), value=prune(layer.value, sample.hidden),
                   output=prune(layer.output, sample.context))
