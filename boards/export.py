"""The files that a board's flow or another tool takes over: Verilog, sizes, registers."""

from __future__ import annotations

import json
from pathlib import Path

from ..rtl.accelerator import Accelerator
from ..rtl.export import verilog
from ..rtl.geometry import Geometry
from .interfaces import annotate
from .registers import header

__all__ = ["export"]


def export(geometry: Geometry, folder: str | Path, *, technology: str = "generic") -> list[Path]:
    """Write an accelerator into a folder, which is made if need be, and return the files.

    ``heddle_NAME.v`` has the top module ``heddle_NAME`` with clock ``aclk``, reset ``aresetn``
    (active low), ``interrupt``, the registers as the AXI4-Lite subordinate ``s_axi``, and the AXI4
    managers ``m_axi_0`` and so on. ``heddle_NAME.json`` has the sizes and the fingerprint that the
    register ``GEOMETRY`` shows, ``heddle_NAME.h`` the registers for C. ``NAME`` is that of the
    geometry, with ``_`` in place of ``-``.

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
    text = verilog(accelerator, name, technology, axi_clock=True)
    files = {
        f"{name}.v": annotate(text, name, accelerator) if technology == "xilinx" else text,
        f"{name}.json": json.dumps({
            "geometry": geometry.as_dict(),
            "fingerprint": geometry.fingerprint,
            "technology": technology,
        }, indent=2) + "\n",
        f"{name}.h": header(geometry),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text)
    return [folder / file for file in files]
