"""The options that several commands share, and the types of values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..rtl.geometry import PRESETS, Geometry, preset

__all__ = ["FILE", "FOLDER", "FOUND", "GEOMETRY", "POSITIVE", "device_option", "geometry_option",
           "json_option", "layers_option", "seed_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)
"""A folder, there or not."""

FILE = click.Path(dir_okay=False, path_type=Path)
"""A file to write."""

FOUND = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file to read."""


class _Sizes(click.ParamType):
    name = "geometry"

    def convert(self, value: str | Geometry, param: click.Parameter | None,
                ctx: click.Context | None) -> Geometry:
        try:
            return preset(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "NAME[:SIZE=NUMBER,...]"


GEOMETRY = _Sizes()
"""A preset by its name, perhaps with some sizes changed."""

POSITIVE = click.IntRange(1)
"""How many there are of something, at least one."""

geometry_option = click.option("--geometry", type=GEOMETRY, default="zcu102", show_default=True,
                               help="Sizes of the accelerator: one of "
                                    f"{', '.join(PRESETS)}; sizes that follow differ from it.")
json_option = click.option("--json", "file", type=FILE, help="File for the report.")
layers_option = click.option("--layers", type=click.IntRange(1, 6), default=6, show_default=True,
                             help="Encoder layers to run.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                           help="Of the random data.")

_DEVICES = ("rtl: the RTL in Verilator; golden: the NumPy model; uio, pynq:FILE.bit or uart:PORT: "
            "a board.")


def device_option(default: str, text: str = _DEVICES) -> Callable[[_Command], _Command]:
    """Return the option that names what to run on; ``text`` helps where not every device will do.

    The names are those of :func:`~heddle.device.open_device`.
    """
    return click.option("--device", metavar="NAME", default=default, show_default=True, help=text)
