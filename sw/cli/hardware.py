"""The commands that make hardware of a geometry, count what it takes, and predict it."""

from __future__ import annotations

from pathlib import Path

import click

from ..rtl.geometry import PRESETS, Geometry
from .options import FOLDER, POSITIVE, geometry_option, json_option
from .output import console, print_markdown, print_report, save, say

__all__ = ["explore", "synth", "verilog"]


@click.command()
@geometry_option
@click.option("--technology", metavar="NAME", default="generic", show_default=True,
              help="generic: plain RTL; xilinx (UltraScale+) or ecp5: primitives where they pay.")
@click.option("--output", type=FOLDER, required=True, help="Folder for the files.")
def verilog(geometry: Geometry, technology: str, output: Path) -> None:
    """Write the Verilog of a geometry, and what describes it to other tools."""
    from ..boards.export import export

    with console.status(f"Elaborating {geometry.name}"):
        files = export(geometry, output, technology=technology)
    for file in files:
        say(f"{file}: {file.stat().st_size:,} bytes")


@click.command()
@click.option("--block", help="One block on its own, not the whole accelerator: softmax.")
@geometry_option
@json_option
def synth(block: str | None, geometry: Geometry, file: Path | None) -> None:
    """Count what a geometry takes of an UltraScale+ FPGA, and how deep its logic is, with Yosys."""
    from ..area import predict
    from ..boards.synth import synthesise, synthesise_block, table

    with console.status(f"Synthesising {f'the {block} of ' if block else ''}{geometry.name}"):
        report = synthesise_block(block, geometry) if block else synthesise(geometry)
    if block:
        print_report(report, file)
    else:
        console.print(table(report))
        predicted = predict(geometry).as_dict()
        say("Predicted from its sizes: " + ", ".join(
            f"{name} {number:,} ({number / report[name] - 1:+.1%})"
            for name, number in predicted.items()))
        save(report | {"predicted": predicted}, file)


@click.command()
@click.option("--tokens", type=POSITIVE, default=128, show_default=True, help="Of the sequence.")
@click.option("--array", multiple=True, show_default=True, help="Rows, lanes and depth.",
              default=["8x16x8", "16x16x8", "8x32x8", "16x32x8", "16x64x8"])
@click.option("--scratchpad", type=POSITIVE, multiple=True, default=[1024, 2048],
              show_default=True, help="Its size in KiB.")
@click.option("--softmax-rows", type=click.IntRange(1, 2), multiple=True, default=[1, 2],
              show_default=True, help="Rows of scores a cycle.")
def explore(tokens: int, array: tuple[str, ...], scratchpad: tuple[int, ...],
            softmax_rows: tuple[int, ...]) -> None:
    """Predict cycles and area of accelerators of all these sizes for a whole sentence encoder.

    What has no option is as in zcu102. Nothing is simulated or synthesised; the FPGA is that of a
    ZCU102.
    """
    from ..boards.synth import DEVICE
    from ..explore import COLUMNS, explore, space

    geometries = list(space(PRESETS["zcu102"], array, scratchpad, softmax_rows))
    print_markdown(COLUMNS, 3, explore(geometries, tokens, DEVICE))
