"""The files that a board's flow or another tool takes over: Verilog, and all that describes it."""

from __future__ import annotations

import json
from pathlib import Path

from ..rtl.accelerator import Accelerator
from ..rtl.export import verilog_parts
from ..rtl.geometry import Geometry
from ..sim.verilator import MODELS
from .description import describe
from .fusesoc import core
from .interfaces import annotate
from .lint import waivers
from .registers import document, header

__all__ = ["export"]


def export(geometry: Geometry, folder: str | Path, *, technology: str = "generic") -> list[Path]:
    """Write an accelerator into a folder, which is made if need be, and return the files.

    ``NAME`` in their names is that of the geometry, with ``_`` in place of ``-``.

    ``heddle_NAME.v``
        The top module ``heddle_NAME`` and those below it: clock ``aclk``, reset ``aresetn`` (active
        low), ``interrupt``, the registers as the AXI4-Lite subordinate ``s_axi``, and the AXI4
        managers ``m_axi_0`` and so on.
    ``heddle_ram.v``
        The memory macros, for other tools to replace.
    ``heddle_NAME.json``
        Ports, interfaces, sizes, memories and registers; see :func:`~.description.describe`.
    ``heddle_NAME.h``
        The registers for C.
    ``heddle_NAME.md``
        The registers for people.
    ``heddle_NAME.core``
        The FuseSoC core.
    ``heddle_NAME.vlt``
        Which of Verilator's warnings do not matter, and why.
    ``dsp48e2.v``, ``ecp5.v``
        Models of the technology's primitives, for simulators without the vendor's.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
    folder : path
    technology : str
        One of :data:`~heddle.rtl.target.TECHNOLOGIES`. With ``xilinx`` the ports have attributes by
        which Vivado's block designs know them.

    Raises
    ------
    ValueError
        If there is no such technology.
    """
    folder = Path(folder)
    name = "heddle_" + geometry.name.replace("-", "_")
    accelerator = Accelerator(geometry)
    text, macros = verilog_parts(accelerator, name, technology, axi_clock=True)
    if technology == "xilinx":
        text = annotate(text, name, accelerator)
    models = {file.name: file.read_text() for file in MODELS[technology]}
    about = {
        f"{name}.v": "the accelerator",
        "heddle_ram.v": "the memory macros, which an ASIC flow replaces by its own",
        f"{name}.json": "this description",
        f"{name}.h": "the registers, for C",
        f"{name}.md": "the registers, for people",
        f"{name}.core": "the FuseSoC core",
        f"{name}.vlt": "which of Verilator's warnings do not matter, and why",
        **dict.fromkeys(models, "models of primitives, for simulation"),
    }
    description = describe(accelerator, name, technology, text, about)
    texts = [text, "\n".join(macros.values()), json.dumps(description, indent=2) + "\n",
             header(geometry), document(), core(geometry, name, technology, models),
             waivers(f"{name}.v", models), *models.values()]
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(about, texts, strict=True):
        (folder / file).write_text(content)
    return [folder / file for file in about]
