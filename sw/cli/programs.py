"""The commands that run something: the demonstration, texts, program files; and their trace."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import click

from ..rtl.geometry import Geometry
from .options import FILE, FOLDER, FOUND, device_option, geometry_option, json_option, layers_option
from .output import console, print_report, running, save, say

__all__ = ["demo", "embed", "run", "trace"]


@click.command()
@geometry_option
@device_option("rtl")
@layers_option
@click.option("--output", type=FOLDER, default=Path("build/demo"), show_default=True,
              help="Folder for the report, the trace and the pictures.")
def demo(geometry: Geometry, device: str, layers: int, output: Path) -> None:
    """Embed sentences with the whole of a pretrained encoder, and compare every bit."""
    from ..demo import demonstrate

    demonstrate(console, geometry=geometry, device=device, layers=layers, folder=output)


@click.command()
@click.argument("texts", nargs=-1, required=True)
@geometry_option
@device_option("rtl")
@json_option
def embed(texts: tuple[str, ...], geometry: Geometry, device: str, file: Path | None) -> None:
    """Embed any texts with a pretrained encoder, and show how similar they are."""
    from ..demo import show
    from ..device import open_device
    from ..embedding import Embedder

    with running(geometry, device) as status:
        embedder = Embedder(open_device(device, geometry))
        embeddings = embedder(embedder.model.tokens(texts), progress=lambda cycles: status.update(
            f"{cycles:,} cycles of a program have run"))
    show(console, texts, embeddings)
    reports: list[dict[str, Any]] = [result.report for result in embeddings.results]
    if device != "golden":
        say(f"{sum(report['cycles'] for report in reports):,} cycles, "
            f"{sum(report['milliseconds'] for report in reports):.3f} ms at the assumed "
            f"{reports[0]['clock_mhz_assumed']} MHz; equal to the golden model in every bit")
    save({"texts": texts} | embeddings.as_dict(), file)


@click.command()
@click.argument("program", type=FOUND)
@click.option("--input", "source", type=FOUND, required=True,
              help="NPZ file with each input, [tokens, features].")
@click.option("--output", "target", type=FILE, required=True, help="NPZ file for the outputs.")
@device_option("rtl")
@json_option
def run(program: Path, source: Path, target: Path, device: str, file: Path | None) -> None:
    """Run a program file."""
    import numpy as np

    from ..api import run as execute
    from ..program import Program

    loaded = Program.load(program)
    if not zipfile.is_zipfile(source):
        raise ValueError(f"{source} must be an NPZ file, as numpy.savez writes it")
    with np.load(source) as inputs, running(loaded.geometry, device):
        result = execute(loaded, inputs, device=device)
    np.savez(target, **result.outputs)  # type: ignore[arg-type]  # no name is allow_pickle
    print_report(result.report, file)


@click.command()
@click.argument("program", type=FOUND)
@click.option("--output", type=FILE, required=True, help="JSON file for Perfetto or Chrome.")
def trace(program: Path, output: Path) -> None:
    """Write when each instruction of a program file is expected to run."""
    from ..program import Program
    from ..trace import write

    write(output, Program.load(program))
    say(f"{output}: {output.stat().st_size:,} bytes; open it with https://ui.perfetto.dev")
