"""The demonstration: attention of a pretrained sentence encoder on an accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .api import Result, run
from .blocks import attention_block
from .compiler import lower
from .device import DeviceError
from .graph import Graph
from .integer import QuantisedAttention
from .models import LayerTrace, MiniLM
from .quantise import QuantisedGraph, quantise, relative_error
from .rtl.geometry import Geometry

__all__ = ["SENTENCES", "LayerResult", "demonstrate", "run_layer"]

SENTENCES = (
    "A heddle lifts the threads that the pattern of the cloth calls for, and no others.",
    "The weaver throws the shuttle through the open shed and beats the weft into place.",
    "Punched cards told the Jacquard loom which threads to raise in every row.",
    "Two hundred years later a computer still reads its instructions in order.",
    "Transformers weigh every word of a sentence against every other word.",
    "Most of those weights are so small that nobody would miss them.",
    "The cat slept on the warm windowsill all day.",
    "How long does the train to Milan take?",
)
"""What the encoder reads: 128 tokens."""

HEAD = 5
"""The head of the first layer whose attention is drawn: it looks near, but not only there."""

_SHOWN = 6  # outputs that are shown beside each other


@dataclass(frozen=True)
class LayerResult:
    """What running the attention block of one encoder layer gave."""

    result: Result
    quantised: QuantisedGraph
    """The block in integers."""
    wanted: NDArray[np.floating]
    """What the encoder computes in floating point, ``[tokens, features]``."""
    cosines: tuple[float, ...]
    """Of each sentence: cosine of the angle between both outputs."""

    @property
    def error(self) -> float:
        """Relative RMS error against float64."""
        return relative_error(self.result.output, self.wanted)


def run_layer(graph: Graph, trace: LayerTrace, lengths: Sequence[int], geometry: Geometry,
              device: str, progress: Callable[[int], None] | None = None) -> LayerResult:
    """Compile the attention block of an encoder layer, run it, compare the result.

    The input comes from the reference, so the errors are those of this block alone; the scales of
    the integers are found from the same input.

    Parameters
    ----------
    graph : :class:`~heddle.graph.Graph`
        As :func:`~heddle.blocks.attention_block` returns it.
    trace : :class:`~heddle.models.LayerTrace`
        The tensors of this layer in the reference.
    lengths : sequence of int
        Tokens of each sentence.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : :class:`str`
    progress : callable
        Called with the number of cycles so far.
    """
    inputs = {"hidden": trace.input}
    quantised = quantise(graph, inputs)
    result = run(lower(quantised, geometry), inputs, device=device, progress=progress,
                 quantised=quantised)
    ends = np.cumsum(lengths)[:-1]
    cosines = tuple(_cosine(got, wanted) for got, wanted in zip(
        np.split(result.output, ends), np.split(trace.projected, ends)))
    return LayerResult(result, quantised, trace.projected, cosines)


def _cosine(one: NDArray, other: NDArray) -> float:
    return float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))


def demonstrate(console: Console, *, geometry: Geometry, device: str, layers: int,
                folder: Path) -> list[LayerResult]:
    """Run the attention blocks of the first layers of MiniLM, and show and keep what came out.

    ``report.json``, ``attention.png`` and, of the RTL, ``occupancy.png`` are written to ``folder``.

    Raises
    ------
    DeviceError
        If a result differs from the golden model's.
    ModuleNotFoundError
        If the encoder is not installed.
    """
    model = MiniLM()
    lengths = [len(sequence) for sequence in model.tokens(SENTENCES)]
    traces = model.run(SENTENCES)
    console.print(f"MiniLM reads {len(SENTENCES)} sentences, together {sum(lengths)} tokens. The "
                  f"attention blocks of {layers} of its {len(traces)} layers run on "
                  f"{geometry.name} ({device}); each is one program: query, key and value "
                  "projections, fused attention, output projection.", highlight=False)
    if device == "rtl":
        _build(console, geometry)
    results = []
    with _progress(console) as display:
        for number, (layer, trace) in enumerate(zip(model.encoder.layers[:layers], traces)):
            graph = attention_block(f"MiniLM attention, layer {number}", layer, lengths)
            results.append(_run_shown(display, f"Layer {number}", graph, trace, lengths, geometry,
                                      device))
    console.print(_table(results))
    console.print(_sample(results[0], traces[0], geometry, device))
    for file in _keep(results, traces, lengths, geometry, folder):
        console.print(f"Wrote {file}", highlight=False, soft_wrap=True)
    if not all(each.result.report["matches_golden"] for each in results):
        raise DeviceError("Every result must equal the golden model's, and some differ")
    return results


def _build(console: Console, geometry: Geometry) -> None:
    from .sim.simulator import Simulator

    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as display:
        display.add_task(f"Simulator of {geometry.name}: built the first time, then kept")
        Simulator(geometry).build()


def _run_shown(display: Progress, title: str, graph: Graph, trace: LayerTrace,
               lengths: Sequence[int], geometry: Geometry, device: str) -> LayerResult:
    """Run a layer behind a bar that is full when an array that never waits would be done."""
    macs = sum(len(trace.input) * layer.weight.size for layer in graph.linear_layers)
    task = display.add_task(title, total=macs / geometry.peak_macs_per_cycle)

    def progress(cycles: int) -> None:
        display.update(task, completed=cycles)

    outcome = run_layer(graph, trace, lengths, geometry, device, progress)
    cycles = outcome.result.run.counters.cycles or 0
    display.update(task, total=cycles, completed=cycles)
    return outcome


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(),
                    TextColumn("{task.completed:>7,.0f} cycles"), TimeElapsedColumn(),
                    console=console)


def _table(results: list[LayerResult]) -> Table:
    """Return a row for each layer and one for their sum."""
    table = Table("layer", "error", "cosine", "tiles", "cycles", "utilisation", "= golden",
                  box=box.SIMPLE_HEAD,
                  caption="error: relative RMS against float64; cosine: mean of the sentences; "
                          "tiles: visited/all")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    reports = [each.result.report for each in results]
    for number, (each, report) in enumerate(zip(results, reports)):
        table.add_row(str(number), f"{each.error:.2%}", f"{np.mean(each.cosines):.5f}",
                      f"{report['tiles_visited']}/{report['tiles_total']}", *_speed([report]),
                      "every bit" if report["matches_golden"] else "[red]NO[/]")
    table.add_section()
    table.add_row("all", *[""] * 3, *_speed(reports), "")
    return table


def _sample(first: LayerResult, trace: LayerTrace, geometry: Geometry, device: str) -> Table:
    """Return a few outputs of the first layer: in floating point, in integers, of the device."""
    table = Table(box=box.SIMPLE, show_header=False,
                  caption="layer 0: the largest outputs of the first token")
    integers = first.quantised.infer({"hidden": trace.input}, geometry)["output"]
    largest = np.sort(np.argsort(-np.abs(first.wanted[0]))[:_SHOWN])
    for name, values in (("float64", first.wanted), ("in integers", integers),
                         (f"program ({device})", first.result.output)):
        table.add_row(name, *(f"{value:+.4f}" for value in values[0, largest]))
    return table


def _speed(reports: list[dict]) -> tuple[str, str]:
    """Return cycles and utilisation of runs, one after another, as text."""
    if reports[0]["cycles"] is None:
        return "–", "–"
    cycles = sum(report["cycles"] for report in reports)
    peak = cycles * reports[0]["peak_macs_per_cycle"]
    return f"{cycles:,}", f"{sum(report['macs'] for report in reports) / peak:.1%}"


def _keep(results: list[LayerResult], traces: list[LayerTrace], lengths: Sequence[int],
          geometry: Geometry, folder: Path) -> list[Path]:
    """Write the reports and the pictures; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "report.json", folder / "attention.png"]
    files[0].write_text(json.dumps(
        [each.result.report | {"error": each.error, "cosines": each.cosines} for each in results],
        indent=2) + "\n")
    _draw_head(files[1], results[0].quantised, traces[0], lengths, geometry)
    if results[0].result.report["cycles"] is not None:
        from .occupancy import draw

        files.append(folder / "occupancy.png")
        draw(files[-1], [(f"layer {n}", each.result.run) for n, each in enumerate(results)],
             f"MiniLM attention blocks on {geometry.name}")
    return files


def _draw_head(file: Path, quantised: QuantisedGraph, trace: LayerTrace, lengths: Sequence[int],
               geometry: Geometry) -> None:
    """Draw what a head attends to, in floating point and on the accelerator."""
    from .attention_map import draw, float_map, integer_map

    [layer] = (each for each in quantised.layers if isinstance(each, QuantisedAttention))
    pattern = layer.layer.pattern
    integers = quantised.integers({"hidden": trace.input}, geometry)
    part = np.array_split(np.arange(trace.query.shape[1]), pattern.heads)[HEAD]
    tokens = range(len(trace.input))
    exact = float_map(trace.query[:, part], trace.key[:, part],
                      pattern.visible(HEAD, tokens, tokens), layer.layer.scale)
    ours = integer_map(integers["query"][:, part], integers["key"][:, part], pattern, geometry,
                       layer.score, head=HEAD)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
    draw(file, [("floating point", exact), ("Heddle", ours)],
         pattern.runs(geometry.rows, geometry.lanes), geometry,
         f"MiniLM, layer 0, head {HEAD}: the weights differ by "
         f"{np.abs(ours - exact).sum(1).mean():.1%} (relative L1)", head=HEAD, marks=starts)
