"""The demonstration: the projections of a pretrained sentence encoder on an accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .api import Result, run
from .compiler import lower
from .device import DeviceError
from .graph import Graph
from .models import MiniLM
from .models.bert import Layer, LayerTrace
from .quantise import quantise, relative_error
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

PROJECTIONS = ("query", "key", "value", "output")


@dataclass(frozen=True)
class LayerResult:
    """What running the projections of one encoder layer gave."""

    result: Result
    errors: dict[str, float]
    """Relative RMS error of each projection against float64."""


def run_layer(name: str, layer: Layer, trace: LayerTrace, geometry: Geometry, device: str,
              progress: Callable[[int], None] | None = None) -> LayerResult:
    """Compile the projections of an encoder layer into one program, run it, compare the results.

    The inputs of all four projections come from the reference, so the errors are those of the
    projections alone; the scales of the integers are found from the same inputs.

    Parameters
    ----------
    name : :class:`str`
        Name of the program.
    layer : :class:`~heddle.models.bert.Layer`
    trace : :class:`~heddle.models.bert.LayerTrace`
        The tensors of this layer in the reference.
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    device : :class:`str`
    progress : callable
        Called with the number of cycles so far.
    """
    inputs = {"hidden": trace.input, "context": trace.context}
    graph = Graph(name)
    for source, x in inputs.items():
        graph.input(source, tokens=x.shape[0], features=x.shape[1])
    for projection in PROJECTIONS:
        linear = getattr(layer, projection)
        source = "context" if projection == "output" else "hidden"
        graph.output(graph.linear(projection, source, linear.weight, linear.bias))
    quantised = quantise(graph, inputs)
    result = run(lower(quantised, geometry), inputs, device=device, progress=progress,
                 quantised=quantised)
    wanted = graph.evaluate(inputs)
    return LayerResult(result, {projection: relative_error(result.outputs[projection],
                                                           wanted[projection])
                                for projection in PROJECTIONS})


def demonstrate(console: Console, *, geometry: Geometry, device: str, layers: int,
                folder: Path) -> list[LayerResult]:
    """Run the projections of the first layers of MiniLM, and show and keep what came out.

    ``report.json`` and, of the RTL, ``occupancy.png`` are written to ``folder``.

    Raises
    ------
    DeviceError
        If a result differs from the golden model's.
    ModuleNotFoundError
        If the encoder is not installed.
    """
    model = MiniLM()
    traces = model.run(SENTENCES)
    tokens = len(traces[0].input)
    console.print(f"MiniLM reads {len(SENTENCES)} sentences, together {tokens} tokens. The query, "
                  f"key, value and output projections of {layers} of its {len(traces)} layers run "
                  f"on {geometry.name} ({device}).", highlight=False)
    if device == "rtl":
        _build(console, geometry)
    results = []
    with _progress(console) as display:
        for number, (layer, trace) in enumerate(zip(model.encoder.layers[:layers], traces)):
            results.append(_run_shown(display, number, layer, trace, geometry, device))
    console.print(_table(results))
    for file in _keep(results, folder):
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


def _run_shown(display: Progress, number: int, layer: Layer, trace: LayerTrace,
               geometry: Geometry, device: str) -> LayerResult:
    """Run a layer behind a bar that is full when an array that never waits would be done."""
    macs = len(trace.input) * sum(getattr(layer, name).weight.size for name in PROJECTIONS)
    task = display.add_task(f"Layer {number}", total=macs / geometry.peak_macs_per_cycle)

    def progress(cycles: int) -> None:
        display.update(task, completed=cycles)

    outcome = run_layer(f"MiniLM projections, layer {number}", layer, trace, geometry, device,
                        progress)
    cycles = outcome.result.run.counters.cycles or 0
    display.update(task, total=cycles, completed=cycles)
    return outcome


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(),
                    TextColumn("{task.completed:>7,.0f} cycles"), TimeElapsedColumn(),
                    console=console)


def _table(results: list[LayerResult]) -> Table:
    """Return a row for each layer and one for their sum."""
    table = Table("layer", *PROJECTIONS, "cycles", "utilisation", "= golden", box=box.SIMPLE_HEAD,
                  caption="query … output: relative RMS error against float64")
    for column in table.columns[1:]:
        column.justify = "right"
    reports = [each.result.report for each in results]
    for number, (each, report) in enumerate(zip(results, reports)):
        table.add_row(str(number), *(f"{each.errors[name]:.2%}" for name in PROJECTIONS),
                      *_speed([report]), "every bit" if report["matches_golden"] else "[red]NO[/]")
    table.add_section()
    table.add_row("all", *([""] * len(PROJECTIONS)), *_speed(reports), "")
    return table


def _speed(reports: list[dict]) -> tuple[str, str]:
    """Return cycles and utilisation of runs, one after another, as text."""
    if reports[0]["cycles"] is None:
        return "–", "–"
    cycles = sum(report["cycles"] for report in reports)
    peak = cycles * reports[0]["peak_macs_per_cycle"]
    return f"{cycles:,}", f"{sum(report['macs'] for report in reports) / peak:.1%}"


def _keep(results: list[LayerResult], folder: Path) -> list[Path]:
    """Write the reports and the picture; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "report.json"]
    files[0].write_text(json.dumps([each.result.report | {"errors": each.errors}
                                    for each in results], indent=2) + "\n")
    report = results[0].result.report
    if report["cycles"] is not None:
        from .occupancy import draw

        files.append(folder / "occupancy.png")
        draw(files[-1], [(f"layer {n}", each.result.run) for n, each in enumerate(results)],
             f"MiniLM projections on {report['geometry']}")
    return files
