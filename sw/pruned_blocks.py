"""The benchmark of pruned attention blocks of a real encoder, as they are without fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .api import run
from .blocks import attention_block
from .compiler import lower
from .demo import SENTENCES
from .models import MiniLM
from .models.modules import Array, Linear
from .models.transformer import Layer, LayerTrace
from .prune import compensate, saliency
from .quantise import quantise, relative_error
from .rtl.geometry import Geometry, preset
from .sparsity import pruned

__all__ = ["COLUMNS", "LEVELS", "measure"]

LEVELS = (
    *(("zcu102", level) for level in ("dense", "0.25", "0.5", "0.8")),
    *(("zcu102-nm", level) for level in ("dense", "3:4", "2:4", "0.333+3:4")),
)
"""Geometries, each with levels as of :func:`~heddle.sparsity.pruned`."""

COLUMNS = ("geometry", "sparsity", "weights kept", "cycles", "array cycles", "weight bytes",
           "error of pruning", "error on Heddle", "cosine")
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
    for name, level in levels:
        geometry = preset(name)
        reports, wanted, floats, outputs = [], [], [], []
        for number, (layer, trace, sample) in enumerate(zip(
                model.encoder.layers, traces, samples)):
            graph = attention_block(f"MiniLM attention {number}, {level}",
                                    _pruned(layer, sample, level, geometry), lengths)
            inputs = {"hidden": trace.hidden}
            quantised = quantise(graph, inputs)
            result = run(lower(quantised, geometry), inputs, device=device, quantised=quantised)
            if not result.report["matches_golden"]:
                raise ValueError(f"The result of {graph.name} must equal the golden model's, and it "
                                 "differs")
            reports.append(result.report)
            wanted.append(trace.projected)
            floats.append(graph.evaluate(inputs)["output"])
            outputs.append(result.output)
        report = reports[0]
        dense, got = np.concatenate(wanted), np.concatenate(outputs)
        cosines = (dense * got).sum(1) / np.linalg.norm(dense, axis=1) / np.linalg.norm(got, axis=1)
        cycles = [each["cycles"] for each in reports if each["cycles"] is not None]
        yield (name, level, f"{report['macs'] / report['macs_dense']:.1%}" if level != "dense"
               else "100.0%", f"{np.mean(cycles):,.0f}" if cycles else "–",
               f"{report['array_cycles']:,}", f"{report['weight_bytes']:,}",
               f"{relative_error(np.concatenate(floats), dense):.1%}",
               f"{relative_error(got, dense):.1%}", f"{cosines.mean():.4f}")


def _pruned(layer: Layer, sample: LayerTrace, level: str, geometry: Geometry) -> Layer:
    """Return a layer with its four projections pruned, given a sample of what they read."""
    def prune(linear: Linear, inputs: Array) -> Linear:
        left, _ = pruned(saliency(linear.weight, inputs), level, geometry)
        return Linear(compensate(linear.weight, left != 0, inputs), linear.bias)

    sources = {part: sample.hidden for part in _PARTS} | {"output": sample.context}
    return replace(layer, **{part: prune(getattr(layer, part), inputs)
                             for part, inputs in sources.items()})
