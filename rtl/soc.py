"""A system for small boards: accelerator, SDRAM, and a link to a host over a serial port."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .accelerator import Accelerator
from .fifo import StreamFifo
from .geometry import Geometry
from .link import Link
from .sdram import Sdram, SdramChip, SdramPins
from .uart import UartReceiver, UartTransmitter, byte_layout
from .word_port import AxiFront

__all__ = ["Soc"]


class Soc(wiring.Component):
    """All that lies behind the pins, in one clock domain.

    Parameters
    ----------
    geometry : :class:`~heddle.rtl.geometry.Geometry`
        With one AXI4 port of 4 bytes.
    clock_mhz : :class:`float`
    divisor : :class:`int`
        Cycles of a bit of the serial port.
    silence : :class:`int`
        Cycles without a byte after which the link takes the line for silent.
    accelerator : :class:`~amaranth.lib.wiring.Component`
        Another component with the ports of an :class:`~heddle.rtl.accelerator.Accelerator`.

    Members
    -------
    rx, tx
        The serial port, as seen from here.
    sdram : :py:`Out(SdramPins(Soc.CHIP))`
        Its pins, with registers between as :class:`~heddle.rtl.sdram.Sdram` says.
    leds : :py:`Out(8)`
        From bit 0: the interrupt, bytes come in, bytes go out.

    Raises
    ------
    ValueError
        If the geometry has another number or width of ports.
    """

    QUEUE = 64
    """Bytes that wait while a request is carried out."""

    CHIP = SdramChip()
    """The memory."""

    def __init__(self, geometry: Geometry, *, clock_mhz: float, divisor: int, silence: int,
                 accelerator: wiring.Component | None = None) -> None:
        if (geometry.dma_ports, geometry.dma_bytes) != (1, 4):
            raise ValueError("A geometry beside SDRAM must have one AXI4 port of 4 bytes, and "
                             f"{geometry.name} has {geometry.dma_ports} of {geometry.dma_bytes}")
        self.geometry = geometry
        self.divisor = divisor
        self.silence = silence
        self.clock_mhz = clock_mhz
        self._accelerator = accelerator or Accelerator(geometry)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1),
                          "sdram": Out(SdramPins(self.CHIP)), "leds": Out(8)})

    def elaborate(self, platform) -> Module:
        g, size = self.geometry, self.CHIP.size
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.queue = queue = StreamFifo(byte_layout, depth=self.QUEUE)
        m.submodules.link = link = Link(size=size, silence=self.silence)
        m.submodules.accelerator = accelerator = self._accelerator
        m.submodules.front = front = AxiFront(address_bits=g.address_bits, data_bytes=g.dma_bytes,
                                              size=size, outstanding=g.outstanding)
        m.submodules.memory = memory = Sdram(self.CHIP, clock_mhz=self.clock_mhz)
        wiring.connect(m, link.i, queue.o)
        wiring.connect(m, link.o, transmitter.i)
        wiring.connect(m, link.registers, accelerator.s_axi)
        wiring.connect(m, link.memory, front.host)
        wiring.connect(m, accelerator.m_axi[0], front.axi)
        wiring.connect(m, front.memory, memory.port)
        wiring.connect(m, memory.pins, wiring.flipped(self.sdram))
        m.d.comb += [
            receiver.rx.eq(self.rx),
            queue.i.valid.eq(receiver.o.valid),
            queue.i.p.eq(receiver.o.p),
            self.tx.eq(transmitter.tx),
            self.leds.eq(Cat(accelerator.interrupt, queue.o.valid, link.o.valid)),
        ]
        return m
