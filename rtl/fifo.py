"""A queue with stream interfaces and a payload of any shape."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamFifo"]


class StreamFifo(wiring.Component):
    """First in, first out: the library's queue with registered output, between two streams.

    Parameters
    ----------
    shape : :class:`~amaranth.hdl.ShapeLike`
        Shape of the payload.
    depth : :class:`int`
        Payloads that fit.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
        What was put in, two cycles later at the earliest.
    """

    def __init__(self, shape: ShapeLike, *, depth: int):
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        width = Shape.cast(self.i.payload.shape()).width
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=width, depth=self.depth)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            Value.cast(self.o.payload).eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
            self.level.eq(queue.level),
        ]
        return m
