"""A bandwidth that several requesters share."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Bucket"]


class Bucket(wiring.Component):
    """Token bucket: shares the bandwidth fairly among requesters of one beat each.

    What is left of a cycle's bandwidth, if less than a beat, goes to the next cycle. A requester
    that was refused is the first in the next cycle.

    Members
    -------
    bandwidth : :py:`In(16)`
        Bytes a cycle; 0: all requests are granted.
    want : :py:`In(requesters)`
        Who wants to transfer a beat in this cycle.
    grant : :py:`Out(requesters)`
        Who may.
    """

    def __init__(self, *, requesters: int, data_bytes: int):
        self.requesters = requesters
        self.data_bytes = data_bytes
        super().__init__({
            "bandwidth": In(16),
            "want":      In(requesters),
            "grant":     Out(requesters),
        })

    def elaborate(self, platform) -> Module:
        n = self.requesters
        m = Module()
        left = Signal(range(self.data_bytes))
        level = Signal(17)
        beats = Signal(range(n + 1))
        first = Signal(range(n))
        m.d.comb += [
            level.eq(left + self.bandwidth),
            beats.eq(Mux((self.bandwidth == 0) | (level >= n * self.data_bytes), n,
                         level // self.data_bytes)),
        ]
        want = Signal(n)  # the first in turn at bit 0
        grant = Signal(n)
        m.d.comb += [
            want.eq(self.want.replicate(2) >> first),
            self.grant.eq((grant.replicate(2) << first)[n:]),
        ]
        granted: Value = Const(0)
        for i in reversed(range(n)):
            with m.If(want[i] & ~grant[i]):
                m.d.sync += first.eq((first + i) % n)
        for i in range(n):
            m.d.comb += grant[i].eq(want[i] & (granted < beats))
            count = Signal(range(n + 1), name=f"granted_{i}")
            m.d.comb += count.eq(granted + grant[i])
            granted = count
        rest = Signal(17)
        m.d.comb += rest.eq(level - granted * self.data_bytes)
        m.d.sync += left.eq(Mux(rest < self.data_bytes, rest, self.data_bytes - 1))
        return m
