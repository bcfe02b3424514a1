"""The stream test bench itself: it must pass correct components and catch broken ones."""

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.sim.streams import run_streams

LAYOUT = data.StructLayout({"level": signed(8), "pair": data.ArrayLayout(4, 2)})
VALUES = [{"level": i - 50, "pair": [i % 16, 3]} for i in range(100)]


class Register(wiring.Component):
    """One stage, which can be made to break the stream rules."""

    def __init__(self, fault: str = ""):
        self.fault = fault
        super().__init__({"i": In(stream.Signature(LAYOUT)),
                          "o": Out(stream.Signature(LAYOUT)).array(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        o = self.o[0]
        m.d.comb += self.i.ready.eq(~o.valid | o.ready)
        with m.If(self.i.ready):
            m.d.sync += [o.valid.eq(self.i.valid), o.payload.eq(self.i.payload)]
        with m.If(o.valid & ~o.ready):
            if self.fault == "change":
                m.d.sync += o.p.level.eq(o.p.level + 1)
            if self.fault == "withdraw":
                m.d.sync += o.valid.eq(0)
        return m


@pytest.mark.parametrize("idle", [0, 0.5])
def test_passes(idle):
    seen = run_streams(Register(), put={"i": VALUES}, get={"o.0": 100}, idle=idle)
    assert seen["o.0"] == VALUES
    if not idle:
        assert seen.cycles == {"i": list(range(100)), "o.0": list(range(1, 101))}


@pytest.mark.parametrize("fault", ["change", "withdraw"])
def test_unstable_offer(fault):
    with pytest.raises(AssertionError, match="was withdrawn or changed"):
        run_streams(Register(fault), put={"i": VALUES}, get={"o.0": 100}, idle=0.5)


def test_limit():
    with pytest.raises(AssertionError, match=r"i: value \d+ was not taken within 50 cycles"):
        run_streams(Register(), put={"i": VALUES}, get={"o.0": 100}, limit=50)
    with pytest.raises(AssertionError, match=r"o\.0: 50 of 51 payloads came within 90 cycles"):
        run_streams(Register(), put={"i": VALUES[:50]}, get={"o.0": 51}, limit=90)


def test_surplus():
    with pytest.raises(AssertionError, match="came after all 99"):
        run_streams(Register(), put={"i": VALUES}, get={"o.0": 99})
