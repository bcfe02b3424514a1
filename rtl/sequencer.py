"""Instruction fetch: reads the program in order and deals it out to the four queues."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import StreamFifo
from .isa import INSTRUCTION_BYTES, Opcode, Queue, queue_layout

__all__ = ["Fetch", "Sequencer"]


class Fetch(wiring.Component):
    """Requests the program's bursts ahead of use and packs their beats into instructions.

    Parameters
    ----------
    address_bits : :class:`int`
        Width of an AXI4 address.
    beat_bytes : :class:`int`
        Bytes of a beat; divides an instruction.
    burst_beats : :class:`int`
        Longest burst.

    Members
    -------
    start : :py:`In(1)`
        Begin at ``address``, a multiple of an instruction, with ``length`` instructions.
    request : :py:`Out(stream.Signature(...))`
        Bursts to read: ``address`` and ``beats`` (less one).
    beats : :py:`In(stream.Signature(8 * beat_bytes))`
        Their beats in order; always taken.
    o : :py:`Out(stream.Signature(8 * INSTRUCTION_BYTES))`
        Instructions.
    busy : :py:`Out(1)`
        Instructions are still to be fetched or dealt out.
    """

    def __init__(self, *, address_bits: int, beat_bytes: int, burst_beats: int):
        self.beat_bytes = beat_bytes
        self.burst_beats = burst_beats
        self.instruction_beats = INSTRUCTION_BYTES // beat_bytes
        super().__init__({
            "start":   In(1),
            "address": In(address_bits),
            "length":  In(32),
            "request": Out(stream.Signature(data.StructLayout({"address": address_bits,
                                                               "beats": 8}))),
            "beats":   In(stream.Signature(8 * beat_bytes)),
            "o":       Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "busy":    Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        room = 4 * max(self.burst_beats, self.instruction_beats)
        m.submodules.buffer = buffer = StreamFifo(unsigned(8 * self.beat_bytes), depth=room)
        wiring.connect(m, wiring.flipped(self.beats), buffer.i)

        # Bursts end at multiples of their greatest length and at the end of the program. Each takes
        # some cycles to prepare, which is far less than the beats of a long one take.
        missing = Signal(32 + (self.instruction_beats - 1).bit_length())
        reserved = Signal(range(room + 1))
        address = Signal.like(self.address)
        to_boundary = Signal(range(self.burst_beats + 1))
        burst = Signal.like(to_boundary)
        beat = address >> (self.beat_bytes - 1).bit_length()
        requested = self.request.valid & self.request.ready
        m.d.comb += [self.request.p.address.eq(address), self.request.p.beats.eq(burst - 1)]
        with m.FSM():
            with m.State("BOUNDARY"):
                m.d.sync += to_boundary.eq(self.burst_beats - beat % self.burst_beats)
                with m.If(missing.any()):
                    m.next = "BURST"
            with m.State("BURST"):
                m.d.sync += burst.eq(Mux(missing < to_boundary, missing, to_boundary))
                m.next = "ROOM"
            with m.State("ROOM"):
                with m.If(reserved + burst <= room):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "BOUNDARY"
        used = buffer.o.valid & buffer.o.ready
        m.d.sync += reserved.eq(reserved + Mux(requested, burst, 0) - used)
        with m.If(self.start):
            m.d.sync += [address.eq(self.address),
                         missing.eq(self.length * self.instruction_beats)]
        with m.Elif(requested):
            m.d.sync += [address.eq(address + burst * self.beat_bytes),
                         missing.eq(missing - burst)]

        beats = Signal(range(self.instruction_beats + 1))
        m.d.comb += [
            buffer.o.ready.eq(beats != self.instruction_beats),
            self.o.valid.eq(beats == self.instruction_beats),
            self.busy.eq(missing.any() | reserved.any() | beats.any()),
        ]
        with m.If(used):
            m.d.sync += [self.o.payload.eq(Cat(self.o.payload[8 * self.beat_bytes:],
                                               buffer.o.payload)),
                         beats.eq(beats + 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beats.eq(0)
        return m


class Sequencer(wiring.Component):
    """Fetches the program and queues each instruction for its engine, in program order.

    Members
    -------
    start, address, length, request, beats
        As in :class:`Fetch`.
    load, fill, compute, store : Out
        The queues: streams of instructions (:func:`~heddle.rtl.isa.queue_layout`).
    illegal : :py:`Out(1)`
        The next instruction has an unknown opcode; it stays where it is.
    busy : :py:`Out(1)`
        Instructions are still to be fetched or to be taken by an engine.
    """

    DEPTH = 4
    """Instructions that a queue holds."""

    def __init__(self, *, address_bits: int, beat_bytes: int, burst_beats: int):
        self._fetch = Fetch(address_bits=address_bits, beat_bytes=beat_bytes,
                            burst_beats=burst_beats)
        members = dict(self._fetch.signature.members)
        del members["o"]
        super().__init__(members | {"illegal": Out(1)} | {
            queue.name.lower(): Out(stream.Signature(queue_layout(queue))) for queue in Queue})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.fetch = fetch = self._fetch
        m.d.comb += [fetch.start.eq(self.start), fetch.address.eq(self.address),
                     fetch.length.eq(self.length)]
        wiring.connect(m, fetch.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.beats), fetch.beats)

        waiting = []
        legal = Signal()
        for number in Queue:
            name = number.name.lower()
            m.submodules[f"queue_{name}"] = queue = StreamFifo(queue_layout(number),
                                                               depth=self.DEPTH)
            wiring.connect(m, queue.o, wiring.flipped(getattr(self, name)))
            waiting.append(queue.any)
            m.d.comb += queue.i.payload.eq(fetch.o.payload)
            opcodes = [opcode for opcode in Opcode if opcode.queue == number]
            with m.If(fetch.o.payload[:4].matches(*opcodes)):
                m.d.comb += [legal.eq(1), queue.i.valid.eq(fetch.o.valid),
                             fetch.o.ready.eq(queue.i.ready)]
        m.d.comb += [
            self.illegal.eq(fetch.o.valid & ~legal),
            self.busy.eq(fetch.busy | Cat(waiting).any()),
        ]
        return m
