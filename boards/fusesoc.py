"""The core file by which FuseSoC knows an exported accelerator."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from ..rtl.geometry import Geometry

__all__ = ["core"]

_CORE = """\
CAPI=2:
name: ::{top}:{version}
description: "Heddle transformer accelerator, geometry {geometry}, technology {technology}"

filesets:
  rtl:
    files:
      - {top}.v
      - heddle_ram.v
    file_type: verilogSource-2005
{models}  waivers:
    files:
      - {top}.vlt
    file_type: vlt

targets:
  default:
    filesets: [rtl]
    toplevel: {top}
  lint:
    description: "Verilator's warnings, without those that the waivers explain"
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
    filesets: [rtl, {lint}waivers]
    toplevel: {top}
"""

_MODELS = """\
  models:
    files: [{models}]
    file_type: verilogSource-2005
"""


def core(geometry: Geometry, top: str, technology: str, models: Iterable[str] = ()) -> str:
    """Return the core file (CAPI2) of an accelerator.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    top : str
        Name of the top module, and of the files without their endings.
    technology : str
        What it was exported for.
    models : iterable of str
        Names of files with models of primitives, for simulation and lint.
    """
    names = ", ".join(models)
    return _CORE.format(
        top=top, version=importlib.metadata.version("heddle"), geometry=geometry.name,
        technology=technology, models=_MODELS.format(models=names) if names else "",
        lint="models, " if names else "")
