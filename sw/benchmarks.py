"""The benchmarks of ``docs/benchmarks.md``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import api
from .device import Device, Rtl, open_device
from .embedding import SENTENCES, Embedder
from .graph import Graph
from .models import MiniLM
from .models.transformer_base import (
    block_scores,
    encoder_decoder_graph,
    random_inputs,
    random_layers,
    transformer_graph,
)
from .prune import prune_transformer
from .rtl.geometry import Geometry, preset
from .sparsity import pruned

__all__ = ["CASES", "Case", "attention", "block", "gemm", "golden_speed", "measure", "minilm",
           "pattern_arguments", "text", "transformer_base"]


@dataclass(frozen=True)
class Case:
    """A linear layer on a geometry."""

    geometry: str
    tokens: int
    inputs: int
    outputs: int


CASES = (
    Case("zcu102", 128, 384, 384),
    Case("zcu102", 128, 384, 1536),
    Case("zcu102", 128, 1536, 384),
    Case("zcu102", 512, 768, 3072),
    Case("compact", 128, 128, 128),
    Case("compact", 128, 384, 1536),
    Case("compact", 512, 512, 512),
)
"""Layers of MiniLM and BERT-base, and the matrices that other accelerators are measured with."""

COLUMNS = ("geometry", "tokens × in × out", "cycles", "utilisation", "the same, unlimited memory",
           "MB read", "MB written", "error")
"""Of the table; the fifth column is the utilisation with a memory that never limits."""


_RUNS = 6  # of a program whose speed is measured

_FORMS = {"dense": (), "causal": (), "window": (int,), "dilated": (int, int), "global": (int,),
          "length": (int,), "block": (int, float)}
"""The parts of a pattern, and the types of their numbers."""


def gemm(tokens: int, inputs: int, outputs: int, *, sparsity: str = "dense",
         geometry: str | Geometry = "zcu102", device: str | Device = "rtl",
         seed: int = 0) -> dict[str, Any]:
    """Run a linear layer of random weights on random activations, and return its report.

    The weights are pruned as :func:`~heddle.sparsity.pruned` says.
    """
    random = np.random.default_rng(seed)
    x = random.standard_normal((tokens, inputs), np.float32)
    w = random.standard_normal((outputs, inputs), np.float32)
    w, structure = pruned(w, sparsity, preset(geometry))
    return api.linear(x, w, structure=structure, geometry=geometry, device=device).report


def attention(tokens: int, heads: int, dim: int, *, keys: int | None = None,
              kv_heads: int | None = None, pattern: str = "dense", sigma: float = 1.0,
              geometry: str | Geometry = "zcu102", device: str | Device = "rtl",
              seed: int = 0) -> dict[str, Any]:
    """Run attention of random queries, keys and values, and return its report.

    Parameters
    ----------
    tokens, heads, dim : :class:`int`
        Of the queries.
    keys, kv_heads : :class:`int`
        Of keys and values, if not the same.
    pattern : :class:`str`
        See :func:`pattern_arguments`.
    sigma : :class:`float`
        Standard deviation of the scores, as natural logarithms of the weights.
    """
    keys = tokens if keys is None else keys
    random = np.random.default_rng(seed)
    others = heads if kv_heads is None else kv_heads
    q, k, v = (random.standard_normal((each, size, dim), np.float32)
               for each, size in ((heads, tokens), (others, keys), (others, keys)))
    return api.attention(q * np.float32(sigma), k, v, geometry=geometry, device=device,
                         **pattern_arguments(pattern, tokens, keys, seed)).report


def block(tokens: int, inputs: int, heads: int, dim: int, *, geometry: str | Geometry = "zcu102",
          device: str | Device = "rtl", seed: int = 0) -> dict[str, Any]:
    """Run an attention block of random weights as one program, and return its report.

    That is the projections of ``inputs`` features to queries, keys and values, attention of all
    tokens to all, and the projection back to ``inputs`` features.
    """
    geometry = preset(geometry)
    random = np.random.default_rng(seed)
    features = heads * dim
    x = random.standard_normal((tokens, inputs), np.float32)
    graph = Graph(f"block {tokens}x{inputs}, {heads} heads of {dim}")
    source = graph.input("x", tokens=tokens, features=inputs)
    q, k, v = (graph.linear(name, source, random.standard_normal((features, inputs), np.float32)
                            / np.float32(inputs) ** 0.5) for name in ("q", "k", "v"))
    attended = graph.attention("attended", q, k, v, heads=heads)
    graph.output(graph.linear("y", attended,
                              random.standard_normal((inputs, features), np.float32)))
    return api.run_graph(graph, {"x": x}, geometry=geometry, device=device).report


def transformer_base(sparsity: float, tokens: int, *, whole: bool = False,
                     geometry: str | Geometry = "zcu102", device: str | Device = "rtl",
                     seed: int = 0) -> dict[str, Any]:
    """Run a pruned Transformer-base as one program, and return its report.

    That is the workload of Zhang et al. (ACM TECS 20(5s), 2021), encoder and decoder of six layers
    each; :mod:`heddle.models.transformer_base` says what is in it. The report also has
    ``sparsity``, the share of columns that is pruned, and ``operations``, as the paper counts them:
    two for each multiplication of a weight that is left, and of attention for all pairs of tokens.

    Parameters
    ----------
    sparsity : :class:`float`
    tokens : :class:`int`
        Of the source, and of the target.
    whole : bool
        With residual sums, norms and ReLU, each sublayer reading the one before.
    """
    geometry = preset(geometry)
    layers = random_layers(seed=seed)
    scores = block_scores(layers, geometry.rows) if whole else None
    pruned = prune_transformer(layers, sparsity, geometry=geometry, scores=scores)
    make = encoder_decoder_graph if whole else transformer_graph
    graph = make(pruned.layers, tokens, f"transformer-base, {'whole, ' * whole}{sparsity:.0%} "
                                        f"pruned, {tokens} tokens")
    report = api.run_graph(graph, random_inputs(graph, seed), geometry=geometry,
                           device=device).report
    return report | {"sparsity": sparsity, "operations": pruned.operations(tokens)}


def minilm(tokens: int, *, geometry: str | Geometry = "zcu102", device: str | Device = "rtl",
           layers: int = 6) -> dict[str, Any]:
    """Run MiniLM on so many tokens as one program, and return its report.

    Every operation of every layer is in it, and every weight is fetched from DRAM; embedding the
    tokens and the mean of the output are the host's. The report also has ``sequences``, how many
    there are, and ``cosine``, the least one between an embedding and that in floating point; on
    the golden device also how fast that is, see :func:`golden_speed`.

    Parameters
    ----------
    tokens : :class:`int`
        See :func:`text`.
    layers : :class:`int`
        How many of the layers run.
    """
    embedder = Embedder(open_device(device, preset(geometry)), layers=layers, limit=tokens)
    sequences = text(embedder.model, tokens)
    speed = golden_speed(embedder, sequences) if embedder.deployment.device.name == "golden" else {}
    embeddings = embedder(sequences, compare=True)
    [result] = embeddings.results
    return result.report | speed | {"sequences": len(embeddings.lengths),
                                    "cosine": float(embeddings.cosines.min())}


def golden_speed(embedder: Embedder, sequences: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return how long the golden device takes for sequences that fit into one program.

    In seconds of CPU time, of all threads together: ``cpu_compile`` for the program,
    ``cpu_first_run`` for its first run, in which its instructions are decoded, and ``cpu_next_run``
    for the fastest of some more. Packing inputs and results into the image is in none of them.
    """
    def timed(action: Callable[[], Any]) -> tuple[float, Any]:
        start = time.process_time()
        result = action()
        return time.process_time() - start, result

    compiling, [program] = timed(partial(embedder.programs, sequences))
    image = program.image({"x": embedder.model.encoder.embed(sequences)})
    first, *following = (timed(partial(embedder.deployment.device.run, program, image))[0]
                         for _ in range(_RUNS))
    return {"cpu_compile": compiling, "cpu_first_run": first, "cpu_next_run": min(following)}


def text(model: MiniLM, tokens: int) -> list[list[int]]:
    """Return exactly so many tokens as few sequences, as long as each other but for one token.

    They are the sentences of the demonstration one after another, again and again; each sequence
    has the marks of its start and its end.

    Raises
    ------
    ValueError
        If there are fewer than 3 tokens.
    """
    if tokens < 3:
        raise ValueError("A text must have at least 3 tokens, two of which are marks, not "
                         f"{tokens}")
    sentences = model.tokens(SENTENCES)
    start, end = sentences[0][0], sentences[0][-1]
    words = itertools.cycle([token for sentence in sentences for token in sentence[1:-1]])
    number = -(-tokens // model.limit)
    return [[start, *itertools.islice(words, (tokens + n) // number - 2), end]
            for n in range(number)]


def measure(cases: tuple[Case, ...] = CASES) -> Iterator[tuple[str, ...]]:
    """Run each case on the RTL, and yield its row of the table.

    Raises
    ------
    DeviceError
        If a run fails.
    ValueError
        If a result differs from the golden model's.
    """
    for case in cases:
        geometry = preset(case.geometry)
        size = case.tokens, case.inputs, case.outputs
        usual = gemm(*size, geometry=geometry)
        core = gemm(*size, geometry=geometry, device=Rtl(geometry, latency=0, bandwidth=0))
        if not (usual["matches_golden"] and core["matches_golden"]):
            raise ValueError(f"The result of {case} must equal the golden model's, and it differs")
        yield (case.geometry, " × ".join(map(str, size)), f"{usual['cycles']:,}",
               f"{usual['utilisation']:.3f}", f"{core['utilisation']:.3f}",
               f"{usual['dram_read_bytes'] / 1e6:.2f}", f"{usual['dram_write_bytes'] / 1e6:.2f}",
               f"{usual['error']:.2%}")


def pattern_arguments(text: str, queries: int, keys: int, seed: int = 0) -> dict[str, Any]:
    """Return the arguments of :func:`heddle.attention` for a pattern such as ``causal+window:64``.

    Parameters
    ----------
    text : :class:`str`
        ``dense``, ``causal``, ``window:W``, ``dilated:W:D``, ``global:G``, ``length:N`` and
        ``block:SIZE:DENSITY``, joined by ``+``. Blocks are random, those on the diagonal visible.
    queries, keys : :class:`int`
    seed : :class:`int`
        Of random blocks.

    Raises
    ------
    ValueError
        If the text says something else.
    """
    arguments: dict[str, Any] = {}
    for part in text.split("+"):
        name, *values = part.strip().split(":")
        for key, value in _parsed(name, values, text, queries, keys, seed).items():
            if key in arguments:
                raise ValueError(f"Pattern {text!r} says twice what {key} is")
            arguments[key] = value
    return arguments


def _parsed(name: str, values: list[str], text: str, queries: int, keys: int,
            seed: int) -> dict[str, Any]:
    """Return the arguments that a part of a pattern stands for."""
    try:
        numbers: list[Any] = [kind(value) for kind, value in zip(_FORMS[name], values, strict=True)]
    except (KeyError, ValueError):
        raise ValueError(
            "Pattern must be dense, causal, window:W, dilated:W:D, global:G, length:N or "
            f"block:SIZE:DENSITY, or several joined by +, not {text!r}") from None
    match name, *numbers:
        case "causal", :
            return {"causal": True}
        case "window", w:
            return {"window": w}
        case "dilated", w, d:
            return {"window": w, "dilation": d}
        case "global", g:
            return {"global_tokens": g}
        case "length", n:
            return {"lengths": n}
        case "block", size, density:
            return {"blocks": (_random_blocks(queries, keys, size, density, seed), size)}
    return {}


def _random_blocks(queries: int, keys: int, size: int, density: float,
                   seed: int) -> NDArray[np.bool_]:
    """Return a bitmap of random blocks, those on the diagonal visible."""
    if size < 1:
        raise ValueError(f"Block size must be at least 1, not {size}")
    if not 0 <= density <= 1:
        raise ValueError(f"Density must be between 0 and 1, not {density}")
    shape = -(-queries // size), -(-keys // size)
    return (np.random.default_rng(seed).random(shape) < density) | np.eye(*shape, dtype=bool)
