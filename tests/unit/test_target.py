# amaranth: UnusedElaboratable=no
"""Shared modules and the export to Verilog."""

import re

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from heddle.rtl.export import rtlil, verilog
from heddle.rtl.target import TECHNOLOGIES, Target, place, technology


class Delay(wiring.Component):
    """A register that names its technology in its reset value."""

    def __init__(self, width, name=None):
        self.module_name = name or f"delay_{width}"
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        o = Signal.like(self.o, init=TECHNOLOGIES.index(technology(platform)))
        m.d.sync += o.eq(self.i)
        m.d.comb += self.o.eq(o)
        return m


class Inverter(wiring.Component):
    """Combinational, so without clock."""

    module_name = "inverter"
    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class Pair(wiring.Component):
    """A shared module that uses another one twice."""

    module_name = "pair"
    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for n in range(2):
            delay = Delay(4)
            m.submodules[f"delay_{n}"] = place(delay, platform)
            m.d.comb += delay.i.eq(value)
            value = delay.o
        m.d.comb += self.o.eq(value)
        return m


class Top(wiring.Component):
    """Two pairs, an inverter, and ports of every kind."""

    i: In(stream.Signature(4))
    o: Out(stream.Signature(4)).array(2)

    def elaborate(self, platform):
        m = Module()
        inverter = Inverter()
        m.submodules.inverter = place(inverter, platform)
        m.d.comb += inverter.i.eq(self.i.payload)
        for n in range(2):
            pair = Pair()
            m.submodules[f"pair_{n}"] = place(pair, platform)
            m.d.comb += [
                pair.i.eq(Mux(n, inverter.o, self.i.payload)),
                self.o[n].payload.eq(pair.o),
            ]
        return m


def modules(text):
    return re.findall(r"^module (\S+?)\s*\(", text, re.MULTILINE)


def ports(text, module):
    body = re.search(rf"^module {module}\((.*?)\);", text, re.MULTILINE | re.DOTALL)[1]
    return {port.strip() for port in body.split(",")}


STREAM = {"i_payload", "i_valid", "i_ready",
          *(f"o_{n}_{wire}" for n in range(2) for wire in ("payload", "valid", "ready"))}


def test_each_module_once():
    text = verilog(Top(), "top")
    assert sorted(modules(text)) == ["delay_4", "inverter", "pair", "top"]
    assert len(re.findall(r"^  pair pair_\d \(", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^  delay_4 delay_\d \(", text, re.MULTILINE)) == 2


def test_ports():
    text = verilog(Top(), "top")
    assert ports(text, "top") == STREAM | {"clk", "rst"}
    assert ports(text, "inverter") == {"i", "o"}
    assert ports(text, "pair") == {"i", "o", "clk", "rst"}


def test_axi_clock():
    text = verilog(Top(), "top", axi_clock=True)
    assert ports(text, "top") == STREAM | {"aclk", "aresetn"}
    assert "rst = ~ aresetn;" in text


def test_text_is_stable():
    assert verilog(Top(), "top") == verilog(Top(), "top")
    assert "/" + "tests" not in verilog(Top(), "top")
    assert rtlil(Top(), "top")[0].count("attribute \\top 1") == 1


def test_technology():
    assert technology(None) == "generic"
    assert "4'h1" not in verilog(Delay(4), "top", "generic")
    assert "4'h1" in verilog(Delay(4), "top", "xilinx")
    with pytest.raises(ValueError, match="must be one of generic, xilinx, ecp5, not 'asic'"):
        Target("asic")


def test_component_on_other_platforms():
    delay = Delay(4)
    assert place(delay, None) is delay
    dut = Top()
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(dut.i.payload, 5)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.o[0].payload) == 5
        assert ctx.get(dut.o[1].payload) == 10

    sim.add_testbench(bench)
    sim.run()


def test_names_must_tell_components_apart():
    target = Target()
    target.instance(Delay(4, name="x"))
    target.instance(Delay(4, name="x"))
    with pytest.raises(ValueError, match=r"^Module name 'x' stands for .*, which differs$"):
        target.instance(Delay(5, name="x"))
