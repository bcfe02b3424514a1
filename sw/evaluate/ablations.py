"""What each choice of the number formats costs: MiniLM with one of them changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..deploy import network_graph
from ..embedding import Embedder
from ..graph import Graph
from ..layers import Add, Linear
from ..models import calibration_sentences
from ..models.modules import Array
from ..quantise import quantise
from ..rtl.geometry import Geometry
from ..rtl.isa import Activation
from .corpora import Lee
from .emulation import LIMIT, Emulation
from .evaluation import Trial, cosines

__all__ = ["COLUMNS", "ablations"]

COLUMNS = "change", "mean", "worst"

TEXTS = 30
"""Of Lee's, the first ones."""

Scales = dict[str, Array]


def ablations(geometry: Geometry, first: int = TEXTS) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each change: what it is, mean and worst cosine of embeddings to float64.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        Of the golden device that the first row is from.
    first : :class:`int`
        Texts that are embedded.

    Raises
    ------
    ModuleNotFoundError
        If the weights or the texts are not installed.
    """
    trial = Trial(geometry, "golden")
    embedder = Embedder(trial.device)
    model = embedder.model
    texts = Lee.load(first).texts
    tokens = model.tokens(texts)
    wanted = model.embed(texts)
    x, lengths = model.encoder.embedding(model.tokens(calibration_sentences()))
    graph = network_graph(model.encoder, lengths)
    values = graph.evaluate({"x": x})

    def row(change: str, outputs: Sequence[Array]) -> tuple[str, str, str]:
        rows = np.concatenate(outputs)
        mean, worst = cosines(model.pool(rows, [len(sequence) for sequence in tokens]), wanted)
        return change, f"{mean.heddle:.4f}", f"{worst.heddle:.4f}"

    def emulated(change: str, emulation: Emulation) -> tuple[str, str, str]:
        return row(change, [emulation(network_graph(model.encoder, [len(sequence)]),
                                      model.encoder.embed([sequence])) for sequence in tokens])

    yield row("none, golden device", trial.run(embedder.deployment, tokens))
    scales = {name: scale.feature.astype(np.float64)
              for name, scale in embedder.deployment.quantised.scales.items()}
    yield emulated("none, emulated", Emulation(scales))
    yield emulated("softmax exact", Emulation(scales, bits=None))
    for bits in (8, 6, 5, 4):
        yield emulated(f"probabilities of {bits} bits", Emulation(scales, bits=bits))
    yield emulated("one level for 16 keys", Emulation(scales, group=16))
    for bits in (7, 5):
        yield emulated(f"one level for all keys of a query, {bits} bits",
                       Emulation(scales, bits=bits, group=model.limit))
    for change, alter in _ALTERATIONS.items():
        yield emulated(change, Emulation(scales | alter(graph, scales, values)))
    gelu = _gelu(graph, scales, values)
    for which, names in ("every tensor", scales), ("GELU", gelu):
        yield emulated(f"a factor for each token in {which}", Emulation(scales, dynamic=names))
    yield emulated("a factor for each token, one scale for all features",
                   Emulation(_tensors(graph, scales, values), dynamic=scales))
    for headroom in (1.1, 1.25):
        roomy = quantise(graph, {"x": x}, headroom=headroom).scales
        yield emulated(f"headroom {headroom}", Emulation(
            {name: scale.feature.astype(np.float64) for name, scale in roomy.items()}))


def _sums(graph: Graph, scales: Scales, values: Scales) -> Scales:
    """Return scales of residual sums, which are not stored otherwise."""
    return {layer.output: np.abs(values[layer.output]).max(0) / LIMIT
            for layer in graph.layers if isinstance(layer, Add)}


def _gelu(graph: Graph, scales: Scales, values: Scales) -> Scales:
    """Return a scale for all features of each tensor that GELU makes: the largest."""
    return {layer.output: np.full_like(scales[layer.output], scales[layer.output].max())
            for layer in graph.layers
            if isinstance(layer, Linear) and layer.activation is Activation.GELU}


def _gelu_floor(graph: Graph, scales: Scales, values: Scales) -> Scales:
    """Return scales of what GELU makes that leave room where the calibration was small."""
    return {name: np.maximum(scales[name], largest / 10)
            for name, largest in _gelu(graph, scales, values).items()}


def _tensors(graph: Graph, scales: Scales, values: Scales) -> Scales:
    """Return a scale for all features of each tensor: that of the largest value."""
    return {name: np.full_like(scale, np.abs(values[name]).max() / LIMIT)
            for name, scale in scales.items()}


_ALTERATIONS: dict[str, Callable[[Graph, Scales, Scales], Scales]] = {
    "residual sums in INT8 before LayerNorm": _sums,
    "one scale for all features of GELU": _gelu,
    "scales of GELU at least a tenth of the largest": _gelu_floor,
    "one scale for all features of every tensor": _tensors,
}
