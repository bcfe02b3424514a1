"""What both walks over the key tiles of an ATTEND share: its run, and the addresses of heads."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .isa import FORMATS, TOKENS, Opcode, header_layout

__all__ = ["HeadAddress", "run_layout"]


def run_layout(pool_bits: int) -> data.StructLayout:
    """What the second walk needs of an instruction: fields of ATTEND, ``waits`` and ``give``.

    Of the ``waits`` it takes those with ``each``; ``give`` are the tokens to give at its end.
    """
    names = ("group", "jobs", "tiles", "blocks", "layout", "begin", "end")
    addresses = ("v", "v_stride", "v_block_stride", "v_head_stride",
                 "c", "c_stride", "c_part_stride", "c_head_stride")
    return data.StructLayout({name: FORMATS[Opcode.ATTEND][name][0] for name in names}
                             | dict.fromkeys(addresses, pool_bits)
                             | {"waits": header_layout["waits"].shape, "give": TOKENS})


class HeadAddress(wiring.Component):
    """Address of a head's keys or values, which ``group`` consecutive heads share.

    Members
    -------
    base, stride, group : In
        Address of the first group, words to the next group, and heads a group.
    start : :py:`In(1)`
        The next head is the first one.
    advance : :py:`In(1)`
        The next head is the one after.
    address : Out
        Address of the head.
    """

    def __init__(self, pool_bits: int):
        super().__init__({
            "base":    In(pool_bits),
            "stride":  In(pool_bits),
            "group":   In(8),
            "start":   In(1),
            "advance": In(1),
            "address": Out(pool_bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal.like(self.group)
        with m.If(self.start):
            m.d.sync += [self.address.eq(self.base), left.eq(self.group)]
        with m.Elif(self.advance):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += [self.address.eq(self.address + self.stride), left.eq(self.group)]
        return m
