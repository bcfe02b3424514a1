"""The commands that build for a board, configure it, and look at what is on it."""

from __future__ import annotations

from pathlib import Path

import click

from ..rtl.geometry import Geometry
from .options import FOLDER, FOUND, GEOMETRY, device_option, json_option
from .output import print_report, say

__all__ = ["bitstream", "load", "probe", "report"]


@click.command()
@click.option("--board", required=True, help="The board: zcu102 or ulx3s.")
@click.option("--geometry", type=GEOMETRY,
              help="Sizes of the accelerator, if not those that are meant for the board.")
@click.option("--clock-mhz", type=click.FloatRange(1), help="Clock, if not the geometry's.")
@click.option("--output", type=FOLDER, required=True, help="Folder to build in.")
def bitstream(board: str, geometry: Geometry | None, clock_mhz: float | None,
              output: Path) -> None:
    """Build what configures a board, and fail if its timing does."""
    from ..boards.bitstream import bitstream as build

    summary = build(board, output, geometry=geometry, clock_mhz=clock_mhz)
    print_report(dict(summary.rows()))


@click.command()
@click.argument("folder", type=FOLDER)
def report(folder: Path) -> None:
    """Show what came out of a bitstream that was built in a folder."""
    from ..boards.summary import Summary

    print_report(dict(Summary.read(folder).rows()))


@click.command()
@click.argument("bitstream", type=FOUND)
@click.option("--overlay", type=FOUND, help="Device tree overlay (.dtbo) that goes with it.")
def load(bitstream: Path, overlay: Path | None) -> None:
    """Configure the FPGA of a Zynq UltraScale+ with a .bit.bin, on the board itself."""
    from ..runtime.fpga import load as configure

    configure(bitstream, overlay)
    say(f"The FPGA is operating with {bitstream.name}")


@click.command()
@device_option("uio", "The way to the board: uio, uio:NAME, pynq:FILE.bit or uart:PORT.")
@json_option
def probe(device: str, file: Path | None) -> None:
    """Show what the registers of an accelerator on a board hold, and which geometry it has."""
    from ..runtime import open_transport
    from ..runtime import probe as look

    with open_transport(device) as transport:
        print_report(look(transport), file)
