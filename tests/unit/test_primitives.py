# amaranth: UnusedElaboratable=no
"""Explicit primitives of UltraScale+: multiplexers and multipliers are as their plain RTL."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.rtl.choose import choose
from heddle.rtl.multiply import multiply_add
from heddle.sim.vectors import play_vectors

TECHNOLOGIES = [None, "xilinx"]


class Choice(wiring.Component):
    def __init__(self):
        super().__init__({"select": In(1), "one": In(5), "zero": In(5), "o": Out(5)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(choose(m, platform, self.select, self.one, self.zero, name="chosen"))
        return m


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_choose(technology):
    vectors = [{"select": select, "one": one, "zero": zero}
               for select in range(2) for one in range(32) for zero in range(32)]
    played = play_vectors(Choice(), vectors, technology)
    assert [row["o"] for row in played] == [v["one"] if v["select"] else v["zero"]
                                            for v in vectors]


class Multiplication(wiring.Component):
    """Sums with each number of registers, and a running one."""

    def __init__(self):
        super().__init__({"a": In(signed(27)), "b": In(signed(18)), "c": In(signed(48)),
                          "keep": In(1), "kept": Out(signed(48)),
                          "sums": Out(signed(48)).array(2, 2)})

    def elaborate(self, platform):
        m = Module()
        for operands in range(2):
            for addend in range(2):
                m.d.comb += self.sums[operands][addend].eq(multiply_add(
                    m, platform, self.a, self.b, self.c, width=48, operands=operands,
                    addend=addend, name=f"sum_{operands}_{addend}"))
        m.d.comb += self.kept.eq(multiply_add(m, platform, self.a, self.b, keep=self.keep,
                                              width=48, name="kept"))
        return m


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_multiply_add(technology):
    rng = random.Random(1)

    def some(bits):
        most = (1 << bits - 1) - 1
        return rng.choice((-most - 1, -1, 0, 1, most, *(rng.randint(-most, most),) * 5))

    rows = [(some(27), some(18), some(48), rng.random() < 0.7) for _ in range(400)]
    played = play_vectors(Multiplication(), [
        {"a": a % (1 << 27), "b": b % (1 << 18), "c": c % (1 << 48), "keep": keep}
        for a, b, c, keep in rows], technology)
    kept = 0
    for n in range(3, len(rows)):
        # Played are the outputs after the edge that ends a cycle.
        for operands in range(2):
            for addend in range(2):
                a, b, _, _ = rows[n - 1 - operands]
                total = a * b + rows[n - addend][2]
                assert played[n][f"sums_{operands}_{addend}"] == total % (1 << 48)
        a, b, _, _ = rows[n - 2]
        kept = a * b + (played[n - 1]["kept"] if rows[n][3] else 0)
        assert played[n]["kept"] == kept % (1 << 48)


def test_operands_that_no_dsp_takes_are_refused():
    with pytest.raises(ValueError, match="Operands of p must be at most 27, 18 and 48 bits wide, "
                                         "not 28, 18 and 1"):
        multiply_add(Module(), None, Signal(28), Signal(18), width=48, name="p")
