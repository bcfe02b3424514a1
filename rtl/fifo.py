"""A queue with stream interfaces and a payload of any shape."""

from __future__ import annotations

from amaranth import *
from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamFifo"]


class StreamFifo(wiring.Component):
    """First in, first out, between two streams, with a registered output.

    Whether it is ready and whether it holds anything come from registers, too, and a transfer has
    little logic to go through: it steps a pointer, and decides between flags that are there.

    Parameters
    ----------
    shape : :class:`~amaranth.hdl.ShapeLike`
        Shape of the payload.
    depth : :class:`int`
        Payloads that fit, 2 or more; all but the one at the output in a memory.

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
        What was put in, two cycles later at the earliest.
    any : :py:`Out(1)`
        There is something in it.

    Raises
    ------
    ValueError
        If ``depth`` is less than 2.
    """

    BLOCK_BITS = 1024
    """Width from which on the memory is a block RAM: LUTs for 32 words would cost more."""

    def __init__(self, shape: ShapeLike, *, depth: int):
        if depth < 2:
            raise ValueError(f"A queue must have a depth of at least 2, not {depth}: one payload "
                             "is at its output")
        self.depth = depth
        super().__init__({
            "i":   In(stream.Signature(shape)),
            "o":   Out(stream.Signature(shape)),
            "any": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        width = Shape.cast(self.i.payload.shape()).width
        places = self.depth - 1
        m.submodules.storage = storage = memory.Memory(
            shape=unsigned(width), depth=places, init=[],
            attrs={"ram_style": "block"} if width >= self.BLOCK_BITS else {})
        write, read = storage.write_port(), storage.read_port()
        stored, ready = Signal(), Signal(init=1)  # the memory is not empty; it is not full
        put = self.i.valid & ready
        get = stored & (~self.o.valid | self.o.ready)
        to, after_to = self._pointer(m, put, places, "to")
        start, after_start = self._pointer(m, get, places, "from")
        m.d.comb += [
            write.en.eq(put),
            write.addr.eq(to),
            write.data.eq(self.i.payload),
            read.en.eq(get),
            read.addr.eq(start),
            Value.cast(self.o.payload).eq(read.data),
            self.any.eq(stored | self.o.valid),
            self.i.ready.eq(ready),
        ]
        m.d.sync += self.o.valid.eq(stored | self.o.valid & ~self.o.ready)
        with m.If(put & ~get):
            m.d.sync += [stored.eq(1), ready.eq(after_to != start)]
        with m.If(get & ~put):
            m.d.sync += [stored.eq(after_start != to), ready.eq(1)]
        return m

    @staticmethod
    def _pointer(m: Module, step: Value, places: int, name: str) -> tuple[Signal, Signal]:
        """Return a place in the memory and the one after it; both go on in a ``step``."""
        here = Signal(range(places), name=name)
        after = Signal(range(places), name=f"after_{name}", init=1 % places)
        with m.If(step):
            m.d.sync += [here.eq(after), after.eq(Mux(after == places - 1, 0, after + 1))]
        return here, after
