"""The pins of the ZCU102, for designs in Amaranth that use them."""

from __future__ import annotations

from amaranth.build import Attrs, Clock, Connector, DiffPairs, Pins, Resource, Subsignal
from amaranth.vendor import XilinxPlatform

__all__ = ["ZCU102Platform"]

_LVCMOS33 = Attrs(IOSTANDARD="LVCMOS33")


def _each(name: str, pins: str, direction: str) -> list[Resource]:
    return [Resource(name, number, Pins(pin, dir=direction), _LVCMOS33)
            for number, pin in enumerate(pins.split())]


class ZCU102Platform(XilinxPlatform):
    """The programmable logic of AMD's evaluation board ZCU102 with its clocks and its I/O.

    The accelerator's bitstream needs none of these pins, as it talks to the processors alone and
    has their clock. The pins are those of the board files that AMD publishes (XilinxBoardStore,
    ``boards/Xilinx/zcu102/3.4/part0_pins.xml``), which agree with the constraints of Corundum for
    this board (``fpga/mqnic/ZCU102/fpga/fpga.xdc``) where it has them. RTS and CTS of the UART are
    Corundum's alone. LiteX's platform has the same pins, but for TX and RX, which it exchanges.

    The buttons are north, west, south, east and centre, the compass on the board.
    """

    device = "xczu9eg"
    package = "ffvb1156"
    speed = "2-e"
    part = f"{device}-{package}-{speed}"
    """As Vivado calls it."""
    default_clk = "clk125"
    default_rst = "rst"
    resources = [
        Resource("clk125", 0, DiffPairs("G21", "F21", dir="i"), Clock(125e6),
                 Attrs(IOSTANDARD="LVDS_25")),
        Resource("clk74_25", 0, DiffPairs("AK15", "AK14", dir="i"), Clock(74.25e6),
                 Attrs(IOSTANDARD="LVDS_25")),
        # The oscillator starts at 300 MHz, and software can change it.
        Resource("clk_si570", 0, DiffPairs("AL8", "AL7", dir="i"), Clock(300e6),
                 Attrs(IOSTANDARD="DIFF_SSTL12")),
        Resource("rst", 0, Pins("AM13", dir="i"), _LVCMOS33),
        *_each("led", "AG14 AF13 AE13 AJ14 AJ15 AH13 AH14 AL12", "o"),
        *_each("switch", "AN14 AP14 AM14 AN13 AN12 AP12 AL13 AK13", "i"),
        *_each("button", "AG15 AF15 AE15 AE14 AG13", "i"),
        Resource("uart", 0,
                 Subsignal("tx", Pins("F13", dir="o")), Subsignal("rx", Pins("E13", dir="i")),
                 Subsignal("rts", Pins("D12", dir="i")), Subsignal("cts", Pins("E12", dir="o")),
                 _LVCMOS33),
        Resource("i2c", 0, Subsignal("scl", Pins("J10", dir="io")),
                 Subsignal("sda", Pins("J11", dir="io")), _LVCMOS33),
        Resource("i2c", 1, Subsignal("scl", Pins("K20", dir="io")),
                 Subsignal("sda", Pins("L20", dir="io")), _LVCMOS33),
    ]
    connectors: list[Connector] = []
