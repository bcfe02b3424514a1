"""The demonstration: sentences through the whole of a pretrained encoder on an accelerator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import attention_map, occupancy, similarity, trace
from .api import Result
from .cost import estimate
from .device import open_device
from .embedding import SENTENCES, Embedder, Embeddings
from .integer import QuantisedAttention
from .models.modules import Array
from .program import Program
from .rtl.geometry import Geometry

__all__ = ["demonstrate", "show"]

HEAD = 5
"""The head of the first layer whose attention is drawn: it looks near, but not only there."""

_SPENT = {"array at work": "array_cycles", "waiting for DMA": "wait_dma",
          "waiting for operands": "wait_operands", "waiting for a context": "wait_drain",
          "waiting for softmax": "wait_softmax"}
"""What cycles are spent on, and the counters of it."""


def demonstrate(console: Console, *, geometry: Geometry, device: str, layers: int,
                folder: Path) -> Embeddings:
    """Embed :data:`~heddle.embedding.SENTENCES` with MiniLM, and show and keep what came out.

    ``report.json``, ``trace.json``, ``similarity.png``, ``attention.png`` and, of the RTL,
    ``occupancy.png`` are written to ``folder``.

    Raises
    ------
    DeviceError
        If the result differs from the golden model's.
    ModuleNotFoundError
        If the encoder is not installed.
    """
    with console.status("Finding the scales of MiniLM, and compiling it"):
        embedder = Embedder(open_device(device, geometry), layers=layers)
        sequences = embedder.model.tokens(SENTENCES)
        [program] = embedder.programs(sequences)
    console.print(f"MiniLM reads {len(SENTENCES)} sentences, together {sum(map(len, sequences))} "
                  f"tokens. All operations of {layers} of its layers run as one program of "
                  f"{len(program.instructions):,} instructions on {geometry.name} ({device}).",
                  highlight=False)
    if device == "rtl":
        _build(console, geometry)
    embeddings = _run(console, embedder, sequences, program)
    [result] = embeddings.results
    show(console, SENTENCES, embeddings)
    console.print(_figures(result))
    for file in _keep(embedder, sequences, program, embeddings, folder):
        console.print(f"Wrote {file}", highlight=False, soft_wrap=True)
    return embeddings


def _build(console: Console, geometry: Geometry) -> None:
    from .sim.simulator import Simulator

    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as display:
        display.add_task(f"Simulator of {geometry.name}: built the first time, then kept")
        Simulator(geometry).build()


def _run(console: Console, embedder: Embedder, sequences: Sequence[Sequence[int]],
         program: Program) -> Embeddings:
    """Run the program behind a bar that is full when it is expected to be done."""
    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed:>9,.0f} of about {task.total:,.0f} cycles"),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as display:
        task = display.add_task("Embedding",
                                total=estimate(program.decoded(), program.geometry).cycles)
        embeddings = embedder(sequences, compare=True, progress=lambda cycles: display.update(
            task, completed=cycles))
        cycles = embeddings.results[0].run.counters.cycles
        display.update(task, total=cycles, completed=cycles or 0)
    return embeddings


# -- on the screen ---------------------------------------------------------------------------------

def show(console: Console, texts: Sequence[str], embeddings: Embeddings) -> None:
    """Print how close the embedding of each text is to floating point, and the similarities."""
    table = Table("", "tokens", "cosine", "", box=box.SIMPLE_HEAD,
                  caption="cosine: between the embedding of the device and that of float64")
    for number, (text, tokens, cosine) in enumerate(
            zip(texts, embeddings.lengths, embeddings.cosines), start=1):
        table.add_row(f"{number}", f"{tokens}", f"{cosine:.4f}", text)
    console.print(table)
    console.print(Columns([
        _matrix("similarity × 100, Heddle", embeddings.similarities),
        _matrix("similarity × 100, float64", embeddings.exact_similarities)], padding=(0, 3)))


def _matrix(title: str, values: Array) -> Group:
    numbers = [f"{number}" for number in range(1, len(values) + 1)]
    table = Table("", *numbers, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    for number, row in zip(numbers, values):
        table.add_row(number, *(f"{100 * value:.0f}" for value in row))
    return Group(title, table)


def _figures(result: Result) -> Padding:
    """Return what the report says of the run, and on what the cycles were spent."""
    report: dict[str, Any] = result.report
    counters = result.run.counters
    table = Table(box=None, show_header=False)
    table.add_row("equal to the golden model", "every bit")
    if counters.cycles is not None:
        table.add_row("cycles", f"{counters.cycles:,}")
        table.add_row("time", f"{report['milliseconds']:.3f} ms if the clock had "
                              f"{report['clock_mhz_assumed']} MHz (assumed)")
        table.add_row("utilisation", f"{report['utilisation']:.1%} of "
                                     f"{report['peak_macs_per_cycle']:,} MAC a cycle")
        spent: dict[str, int] = {title: getattr(counters, name) for title, name in _SPENT.items()}
        spent["idle"] = counters.cycles - sum(spent.values())
        for title, cycles in spent.items():
            table.add_row(title, f"{cycles / counters.cycles:.1%}")
    table.add_row("read from DRAM", f"{report['dram_read_bytes'] / 1e6:.2f} MB")
    return Padding(table, (1, 0))


# -- files -----------------------------------------------------------------------------------------

def _keep(embedder: Embedder, sequences: Sequence[Sequence[int]], program: Program,
          embeddings: Embeddings, folder: Path) -> list[Path]:
    """Write the report, the trace and the pictures; return the files."""
    [result] = embeddings.results
    folder.mkdir(parents=True, exist_ok=True)
    names = "report.json", "trace.json", "similarity.png", "attention.png"
    files = report, schedule, matrices, head = [folder / name for name in names]
    report.write_text(json.dumps({"sentences": SENTENCES} | embeddings.as_dict(), indent=2) + "\n")
    trace.write(schedule, program, result.run)
    similarity.draw(matrices, SENTENCES, [("floating point", embeddings.exact_similarities),
                                          ("Heddle", embeddings.similarities)],
                    f"Sentences embedded by MiniLM, cosine to floating point at least "
                    f"{embeddings.cosines.min():.4f}")
    _draw_head(head, embedder, sequences)
    if len(result.run.samples):
        files.append(folder / "occupancy.png")
        occupancy.draw(files[-1], [(program.name, result.run)],
                       f"MiniLM on {program.geometry.name}: utilisation "
                       f"{result.report['utilisation']:.1%}")
    return files


def _draw_head(file: Path, embedder: Embedder, sequences: Sequence[Sequence[int]]) -> None:
    """Draw what a head of the first layer attends to, in floating point and on the accelerator."""
    geometry = embedder.deployment.device.geometry
    x, lengths = embedder.model.encoder.embedding(sequences)
    quantised = embedder.deployment.network(lengths)
    layer = next(each for each in quantised.layers if isinstance(each, QuantisedAttention))
    integers = quantised.integers({"x": x}, geometry)
    first = embedder.model.encoder.run(sequences)[0]
    pattern = layer.layer.pattern
    part = np.array_split(np.arange(x.shape[1]), pattern.heads)[HEAD]
    query, key, _ = layer.inputs
    tokens = range(len(x))
    exact = attention_map.float_map(first.query[:, part], first.key[:, part],
                                    pattern.visible(HEAD, tokens, tokens), layer.layer.scale)
    ours = attention_map.integer_map(integers[query][:, part], integers[key][:, part], pattern,
                                     geometry, layer.score, head=HEAD)
    attention_map.draw(
        file, [("floating point", exact), ("Heddle", ours)],
        pattern.runs(geometry.rows, geometry.lanes), geometry,
        f"MiniLM, layer 0, head {HEAD}: the weights differ by "
        f"{np.abs(ours - exact).sum(1).mean():.1%} (relative L1)", head=HEAD,
        marks=np.cumsum([0, *lengths[:-1]]).tolist())
