"""What lies between the system and the pins of the ULX3S."""

from __future__ import annotations

from math import gcd

from amaranth import *
from amaranth.lib import io

from ...rtl.soc import Soc
from ...rtl.target import flat_ports

__all__ = ["CLOCKS_MHZ", "Top"]

_CRYSTAL_MHZ = 25
_VCO_MHZ = 600
"""Between 400 and 800 MHz, as the PLL of an ECP5 wants it."""

CLOCKS_MHZ = (40, 50, 60, 100)
"""The clocks that :class:`Top` can make: they divide the PLL's, and are multiples of 2 MHz."""


class Top(Elaboratable):
    """Pins and clock around the system, which is a module of its own.

    Parameters
    ----------
    soc : :class:`~heddle.rtl.soc.Soc`
        For its ports.
    name : :class:`str`
        The module.
    clock_mhz : :class:`int`
        One of :data:`CLOCKS_MHZ`.
    """

    def __init__(self, soc: Soc, name: str, clock_mhz: int) -> None:
        self.clock_mhz = clock_mhz
        self._name = name
        self._ports = flat_ports(soc)

    def elaborate(self, platform) -> Module:
        m = Module()
        self._clocks(m, platform)
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.FFBuffer("o", uart.tx)
        pins = {"rx": rx.i, "tx": tx.o}
        leds = Signal(8)
        for n in range(8):
            m.submodules[f"led_{n}"] = led = io.Buffer("o", platform.request("led", n, dir="-"))
            m.d.comb += led.o.eq(leds[n])
        pins["leds"] = leds
        self._sdram(m, platform, pins)
        m.submodules.soc = Instance(
            self._name, ("i", "clk", ClockSignal()), ("i", "rst", Const(0)),
            *(("i" if direction.value == "input" else "o", port, pins[port])
              for port, (_, direction) in self._ports.items()))
        return m

    def _sdram(self, m: Module, platform, pins: dict[str, Value]) -> None:
        """Put a register at each pin of the SDRAM, but at its clock."""
        chip = platform.request("sdram", 0, dir=dict.fromkeys(
            ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm"), "-"))
        command = Signal(3)
        for name, value in (("clk_en", Const(1, 1)), ("cs", Const(1, 1)), ("we", command[0]),
                            ("cas", command[1]), ("ras", command[2])):
            m.submodules[f"sdram_{name}"] = pin = io.FFBuffer("o", getattr(chip, name))
            m.d.comb += pin.o.eq(value)
        pins["sdram_command"] = command
        for name, port in ("bank", chip.ba), ("address", chip.a), ("mask", chip.dqm):
            m.submodules[f"sdram_{name}"] = pin = io.FFBuffer("o", port)
            pins[f"sdram_{name}"] = pin.o
        m.submodules.sdram_dq = dq = io.FFBuffer("io", chip.dq)
        pins |= {"sdram_o": dq.o, "sdram_oe": dq.oe, "sdram_i": dq.i}
        m.submodules.sdram_clk = clock = io.DDRBuffer("o", chip.clk, o_domain="sdram")
        m.d.comb += [clock.o[0].eq(1), clock.o[1].eq(0)]

    def _clocks(self, m: Module, platform) -> None:
        """Make the clock of the system, and one a quarter of a period later for the SDRAM.

        Both start when the PLL has locked, with the registers as the configuration left them. So
        the system needs no reset.
        """
        m.submodules.crystal = crystal = io.Buffer("i", platform.request("clk25", dir="-"))
        divisor, step = _VCO_MHZ // self.clock_mhz, gcd(_CRYSTAL_MHZ, self.clock_mhz)
        clock, later, locked = Signal(), Signal(), Signal()
        # As ecppll of Project Trellis computes it; a phase counts in cycles of the VCO.
        phase = divisor // 2 - 1
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=_CRYSTAL_MHZ // step, p_CLKFB_DIV=self.clock_mhz // step,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_DIV=divisor, p_CLKOP_CPHASE=phase, p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=divisor, p_CLKOS_CPHASE=phase + divisor // 4,
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=crystal.i, i_CLKFB=clock, o_CLKOP=clock, o_CLKOS=later, o_LOCK=locked,
            i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1,
            i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0, i_ENCLKOS=0)
        for domain, source in ("sync", clock), ("sdram", later):
            m.domains += ClockDomain(domain, reset_less=True)
            m.submodules[f"{domain}_buffer"] = Instance(
                "DCCA", i_CLKI=source, i_CE=locked, o_CLKO=ClockSignal(domain))
