"""The simulated system: an accelerator with its memory."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.accelerator import Accelerator
from ..rtl.axi import Axi4Lite
from ..rtl.geometry import Geometry
from ..rtl.registers import ADDRESS_BITS
from .memory import AxiMemory, Settings

__all__ = ["System"]


class System(wiring.Component):
    """An accelerator whose AXI4 ports all lead to one :class:`~heddle.sim.memory.AxiMemory`.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        Sizes of accelerator and memory.
    accelerator : :class:`~amaranth.lib.wiring.Component`
        Another component with the ports of an :class:`~heddle.rtl.accelerator.Accelerator`.

    Members
    -------
    s_axi : :py:`In(Axi4Lite(ADDRESS_BITS))`
        Registers of the accelerator.
    irq : :py:`Out(1)`
        The interrupt of the accelerator. Verilator gives ``interrupt`` another name in C++.
    settings : :py:`In(Settings(address_bits))`
        Latency, bandwidth, place and faults of the memory.
    """

    def __init__(self, geometry: Geometry, accelerator: wiring.Component | None = None):
        self.geometry = geometry
        self._accelerator = accelerator or Accelerator(geometry)
        super().__init__({
            "s_axi":    In(Axi4Lite(ADDRESS_BITS)),
            "irq":      Out(1),
            "settings": In(Settings(geometry.address_bits)),
        })

    def elaborate(self, platform) -> Module:
        g = self.geometry
        m = Module()
        m.submodules.accelerator = accelerator = self._accelerator
        m.submodules.memory = memory = AxiMemory(
            ports=g.dma_ports, address_bits=g.address_bits, data_bytes=g.dma_bytes,
            outstanding=max(g.outstanding, 2))
        wiring.connect(m, wiring.flipped(self.s_axi), accelerator.s_axi)
        wiring.connect(m, wiring.flipped(self.settings), memory.settings)
        for manager, subordinate in zip(accelerator.m_axi, memory.axi):
            wiring.connect(m, manager, subordinate)
        m.d.comb += self.irq.eq(accelerator.interrupt)
        return m
