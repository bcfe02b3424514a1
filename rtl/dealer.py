"""Deals bursts out to AXI ports, and finds out when all of an iteration have landed."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import TOKENS, Opcode, instruction_layout
from .tokens import TokenPort
from .walker import Walker, item_layout

__all__ = ["Dealer", "Dispatch", "Ledger", "end_layout"]

end_layout = data.StructLayout({"give": TOKENS, "retire": 1})
"""The end of an iteration: the tokens to give, and whether the instruction is completed by it."""


class Dealer(wiring.Component):
    """Deals each burst to a port that is ready for one, and each end to all ports and the ledger.

    So a port that the memory serves slowly gets fewer bursts. The ports are asked in rotation, one
    a cycle, and one that was ready in a cycle may be given a burst in the next, whatever its
    ``ready`` says by then. An output is valid only in the cycle of its transfer; so ``ready`` must
    not depend on ``valid``.

    Parameters
    ----------
    ports : :class:`int`
        Number of ports; a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(item_layout(...)))`
    o : :py:`Out(stream.Signature(item_layout(...))).array(ports)`
        Bursts and ends in the order of ``i``.
    ends : :py:`Out(stream.Signature(end_layout))`
    """

    def __init__(self, ports: int, *, address_bits: int, pool_bits: int, burst_words: int):
        item = item_layout(address_bits, pool_bits, burst_words)
        super().__init__({
            "i":    In(stream.Signature(item)),
            "o":    Out(stream.Signature(item)).array(ports),
            "ends": Out(stream.Signature(end_layout)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        ready = Cat(port.ready for port in self.o)
        turn, following = Signal(range(len(self.o))), Signal(range(len(self.o)))
        # That the port whose turn it is was ready; that all were.
        armed, all_armed = Signal(len(self.o)), Signal()
        burst = self.i.valid & ~self.i.p.end & armed.any()
        end = self.i.valid & self.i.p.end & all_armed
        # Yosys cannot read a multiplexer without bits, so a single port has none.
        asked = Mux(burst, following, turn) if len(self.o) > 1 else Const(0, 1)
        found = ready.bit_select(asked, 1)
        m.d.sync += [
            turn.eq(Mux(found, asked, asked + 1)),
            all_armed.eq(ready.all() & self.ends.ready & ~burst & ~end),
        ]
        m.d.comb += [
            following.eq(turn + 1),
            self.i.ready.eq(Mux(self.i.p.end, all_armed, armed.any())),
            self.ends.valid.eq(end),
            self.ends.p.give.eq(self.i.p.give),
            self.ends.p.retire.eq(self.i.p.retire),
        ]
        for n, port in enumerate(self.o):
            # What was ready before a transfer is not known to be so after it.
            m.d.sync += armed[n].eq(port.ready & (asked == n) & ~(burst & (turn == n)) & ~end)
            # A port may be ready for an end but not for a burst, which might come next.
            m.d.comb += [port.payload.eq(self.i.p), port.p.end.eq(self.i.valid & self.i.p.end),
                         port.valid.eq(self.i.valid & Mux(self.i.p.end, all_armed, armed[n]))]
        return m


class Ledger(wiring.Component):
    """Gives the tokens of an iteration when each port has passed the iteration's end.

    Ports pass ends independently, so none waits for a slower one.

    Parameters
    ----------
    ports : :class:`int`
        Number of ports.
    depth : :class:`int`
        Iterations that may be under way.

    Members
    -------
    i : :py:`In(stream.Signature(end_layout))`
        The ends, in order.
    passed : :py:`In(ports)`
        A port has passed its next end.
    give : :py:`Out(32)`
        Tokens to give in this cycle.
    retired : :py:`Out(1)`
        An instruction is completed.
    """

    def __init__(self, ports: int, *, depth: int):
        self.depth = depth
        super().__init__({
            "i":       In(stream.Signature(end_layout)),
            "passed":  In(ports),
            "give":    Out(TOKENS),
            "retired": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.queue = queue = StreamFifo(end_layout, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        done = Signal()
        passed_any = Signal.like(self.passed)
        for n in range(len(self.passed)):
            count = Signal(range(self.depth + 1), name=f"passed_{n}")
            m.d.comb += passed_any[n].eq(count.any())
            m.d.sync += count.eq(count + self.passed[n] - done)
        m.d.comb += [done.eq(queue.o.valid & passed_any.all()), queue.o.ready.eq(done)]
        m.d.sync += [self.give.eq(Mux(done, queue.o.p.give, 0)),
                     self.retired.eq(done & queue.o.p.retire)]
        return m


class Dispatch(wiring.Component):
    """The common front of the transfer engines: instructions to bursts at ports, ends to tokens.

    The next iteration, and the next instruction, are dealt out while the bursts of those before
    are still in flight.

    Parameters
    ----------
    ports : :class:`int`
        Number of AXI ports; a power of two.
    address_bits, pool_bits : :class:`int`
        Widths of an AXI address and of a scratchpad address.
    word_bytes, burst_words : :class:`int`
        Bytes of a word, words of the longest burst; powers of two.
    iterations : :class:`int`
        Iterations that may be under way.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout(Opcode.LOAD)))`
    base : :py:`In(address_bits)`
    tokens : :py:`Out(TokenPort())`
    blocked : :py:`Out(32)`
        Tokens for which the next iteration waits.
    busy : :py:`Out(1)`
        An instruction has been taken and is not completed.
    retired : :py:`Out(1)`
        High for one cycle when an instruction is completed, its tokens included.
    o : :py:`Out(stream.Signature(item_layout(...))).array(ports)`
        As the outputs of the :class:`Dealer`.
    passed : :py:`In(ports)`
        A port has passed its next end.
    """

    def __init__(self, ports: int, *, address_bits: int, pool_bits: int, word_bytes: int,
                 burst_words: int, iterations: int):
        burst = {"address_bits": address_bits, "pool_bits": pool_bits, "burst_words": burst_words}
        self.iterations = iterations
        self._walker = Walker(**burst, word_bytes=word_bytes)
        self._dealer = Dealer(ports, **burst)
        self._ledger = Ledger(ports, depth=iterations)
        super().__init__({
            "i":       In(stream.Signature(instruction_layout(Opcode.LOAD))),
            "base":    In(address_bits),
            "tokens":  Out(TokenPort()),
            "blocked": Out(TOKENS),
            "busy":    Out(1),
            "retired": Out(1),
            "o":       Out(stream.Signature(item_layout(**burst))).array(ports),
            "passed":  In(ports),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.walker = walker = self._walker
        m.submodules.dealer = dealer = self._dealer
        m.submodules.ledger = ledger = self._ledger
        wiring.connect(m, wiring.flipped(self.i), walker.i)
        wiring.connect(m, walker.o, dealer.i)
        wiring.connect(m, dealer.ends, ledger.i)
        for inner, outer in zip(dealer.o, self.o, strict=True):
            wiring.connect(m, inner, wiring.flipped(outer))
        # Each instruction has an end in the ledger, in the walker's queue, or before that.
        under_way = Signal(range(self.iterations + Walker.DEPTH + 8))
        m.d.sync += under_way.eq(under_way + (self.i.valid & self.i.ready) - ledger.retired)
        m.d.comb += [
            walker.base.eq(self.base),
            walker.tokens.available.eq(self.tokens.available),
            self.tokens.take.eq(walker.tokens.take),
            self.tokens.give.eq(ledger.give),
            self.blocked.eq(walker.blocked),
            self.busy.eq(under_way.any()),
            self.retired.eq(ledger.retired),
            ledger.passed.eq(self.passed),
        ]
        return m
