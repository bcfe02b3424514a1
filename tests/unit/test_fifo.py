# amaranth: UnusedElaboratable=no
"""The queue of streams: what it holds and when, in comparison with the library's."""

import random

import pytest
from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from heddle.rtl.fifo import StreamFifo
from heddle.sim.vectors import play_vectors


class Pair(wiring.Component):
    """Both queues with common inputs."""

    def __init__(self, depth):
        self.depth = depth
        super().__init__({"data": In(8), "put": In(1), "get": In(1),
                          "ours": Out(11), "theirs": Out(11)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ours = ours = StreamFifo(8, depth=self.depth)
        m.submodules.theirs = theirs = fifo.SyncFIFOBuffered(width=8, depth=self.depth)
        m.d.comb += [
            ours.i.payload.eq(self.data), ours.i.valid.eq(self.put), ours.o.ready.eq(self.get),
            theirs.w_data.eq(self.data), theirs.w_en.eq(self.put), theirs.r_en.eq(self.get),
            self.ours.eq(Cat(ours.i.ready, ours.o.valid, ours.any, ours.o.payload)),
            self.theirs.eq(Cat(theirs.w_rdy, theirs.r_rdy, theirs.level.any(), theirs.r_data)),
        ]
        return m


@pytest.mark.parametrize("depth", [2, 3, 4, 6, 9])
def test_as_the_library_in_every_cycle(depth):
    rng = random.Random(depth)
    vectors = [{"data": rng.randrange(256), "put": rng.random() < eager,
                "get": rng.random() < 1 - eager} for eager in (0.9, 0.5, 0.1) for _ in range(200)]
    played = play_vectors(Pair(depth), vectors)
    assert [row["ours"] for row in played] == [row["theirs"] for row in played]
    assert {row["ours"] & 7 for row in played} >= {0b001, 0b110, 0b111}  # empty, full, between


def test_a_queue_needs_two_places():
    with pytest.raises(ValueError, match="depth of at least 2, not 1: one payload is at its"):
        StreamFifo(8, depth=1)
