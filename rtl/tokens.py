"""Dependency tokens between the queues: the counters, and the gate of an engine."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .isa import TOKENS, Queue, header_layout

__all__ = ["Gate", "TokenPort", "Tokens"]


class TokenPort(wiring.Signature):
    """What an engine sees of the token counters.

    Members
    -------
    available : :py:`In(32)`
        Which counters hold a token. A token shows two cycles after it was given, and not any more
        in the cycle after it was taken.
    take : :py:`Out(32)`
        Counters to decrement this cycle; registers of the engine.
    give : :py:`Out(32)`
        Counters to increment this cycle.
    """

    def __init__(self) -> None:
        super().__init__({"available": In(TOKENS), "take": Out(TOKENS), "give": Out(TOKENS)})


class Tokens(wiring.Component):
    """The token counters. A counter has one poster and one waiter, which its number names.

    Members
    -------
    port : :py:`In(TokenPort()).array(4)`
        One port a queue, in the order of :class:`~heddle.rtl.isa.Queue`.
    """

    def __init__(self, count_bits: int = 16):
        self.count_bits = count_bits
        super().__init__({"port": In(TokenPort()).array(len(Queue))})

    def elaborate(self, platform) -> Module:
        m = Module()
        for number in range(TOKENS):
            poster, waiter = number >> 3, number >> 1 & 3
            if poster == waiter:
                continue
            count = Signal(self.count_bits, name=f"count_{number}")
            given, taken = Signal(name=f"given_{number}"), self.port[waiter].take[number]
            m.d.sync += [
                given.eq(self.port[poster].give[number]),
                self.port[waiter].available[number].eq(
                    Mux(taken & ~given, count > 1, given | count.any())),
            ]
            with m.If(given & ~taken):
                m.d.sync += count.eq(count + 1)
            with m.If(taken & ~given):
                m.d.sync += count.eq(count - 1)
        return m


class Gate(wiring.Component):
    """Waits for the tokens of each iteration of an instruction and posts those that it gives.

    The engine holds ``header`` from the first request to the last ``done``, requests before each
    iteration of its outermost loop, and reports the end of each. A grant follows a request by at
    least two cycles.

    Members
    -------
    header : :py:`In(header_layout)`
        Header of the instruction in execution.
    request : :py:`In(1)`
        The engine wants to start an iteration; held until ``granted``.
    first : :py:`In(1)`
        The iteration is the first of the instruction.
    granted : :py:`Out(1)`
        High for one cycle when the iteration may start.
    blocked : :py:`Out(32)`
        Tokens that the request lacks.
    done : :py:`In(1)`
        An iteration has ended.
    last : :py:`In(1)`
        The iteration that ends is the last of the instruction.
    posts : :py:`Out(32)`
        The tokens that an iteration with this ``last`` gives, from two cycles after ``header`` on;
        ``done`` gives just these.
    tokens : :py:`Out(TokenPort())`
    """

    def __init__(self) -> None:
        super().__init__({
            "header":  In(header_layout),
            "request": In(1),
            "first":   In(1),
            "granted": Out(1),
            "blocked": Out(TOKENS),
            "done":    In(1),
            "last":    In(1),
            "posts":   Out(TOKENS),
            "tokens":  Out(TokenPort()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        def select(entries, outermost):
            masks = [Mux(entry.each | outermost, 1 << entry.token, 0) for entry in entries]
            return (masks[0] | masks[1] | masks[2]) & ~1

        wanted, posts_each, posts_last = (Signal(TOKENS, name=name) for name in
                                          ("wanted", "posts_each", "posts_last"))
        asked = Signal()
        # All that is known before is decoded before: what remains is to look at the counters.
        m.d.sync += [
            wanted.eq(select(self.header.waits, self.first)),
            posts_each.eq(select(self.header.posts, 0)),
            posts_last.eq(select(self.header.posts, 1)),
            asked.eq(self.request & ~self.granted),
            self.tokens.take.eq(Mux(self.granted, wanted, 0)),
        ]
        m.d.comb += [
            self.blocked.eq(Mux(asked, wanted & ~self.tokens.available, 0)),
            self.granted.eq(asked & ~(wanted & ~self.tokens.available).any()),
            self.posts.eq(Mux(self.last, posts_last, posts_each)),
            self.tokens.give.eq(Mux(self.done, self.posts, 0)),
        ]
        return m
