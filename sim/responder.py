"""AXI4 subordinates as test benches of Amaranth's simulator, for tests of single blocks.

They answer at random times, hold every channel up at random, and check what the manager does. For
whole systems there is :mod:`heddle.sim.memory`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..rtl.axi import Response

__all__ = ["Burst", "ReadResponder", "WriteResponder"]


@dataclass
class Burst:
    """A burst that was accepted: where, how many beats, in which cycle, and how it is answered."""

    address: int
    beats: int
    cycle: int
    response: Response = Response.OKAY
    answered: int | None = None
    """Cycle in which the last answer was taken."""


@dataclass(kw_only=True)
class _Responder:
    port: object
    """The manager's interface."""
    memory: bytearray
    """Contents from address ``base``; shared between ports."""
    base: int = 0
    burst_bytes: int = 4096
    """Bursts must not cross a multiple of this."""
    outstanding: int = 256
    """Bursts that the manager may have in flight."""
    latency: Callable[[random.Random], int] = lambda rng: 1
    """Cycles from a burst to its first answer, at least."""
    idle: float = 0.0
    """Probability, on each channel and in each cycle, of not being ready or not answering."""
    response: Callable[[int], Response] = lambda address: Response.OKAY
    """Response to a burst at an address."""
    seed: int = 0
    bursts: list[Burst] = field(default_factory=list)
    """All bursts, in order."""
    beats: list[int] = field(default_factory=list)
    """Cycle of each data beat."""
    in_flight: int = 0
    """Bursts accepted and not yet answered."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{type(self).__name__} {self.seed}")
        self.bytes = self.port.signature.data_bytes
        self._held: dict[str, tuple] = {}

    def _pause(self) -> bool:
        return self.rng.random() < self.idle

    def _offered(self, channel: str, valid: int, ready: int, payload: tuple) -> bool:
        """Check that an offer stays until it is taken; return whether it is taken."""
        held = self._held.pop(channel, None)
        assert held is None or (valid and payload == held), (
            f"{channel}: offer {held} was withdrawn or changed to {payload}")
        if valid and not ready:
            self._held[channel] = payload
        return bool(valid and ready)

    def _accept(self, cycle: int, ident, address, length, size, burst, cache, prot) -> Burst:
        beats = length + 1
        first, last = address // self.burst_bytes, (address + beats * self.bytes - 1)
        assert (ident, 1 << size, burst, cache, prot) == (0, self.bytes, 1, 0b0011, 0)
        assert address % self.bytes == 0, f"address {address:#x} is not aligned"
        assert first == last // self.burst_bytes, f"{beats} beats at {address:#x} cross a boundary"
        offset = address - self.base
        assert 0 <= offset <= len(self.memory) - beats * self.bytes, f"{address:#x} is outside"
        self.in_flight += 1
        assert self.in_flight <= self.outstanding, f"{self.in_flight} bursts in flight"
        self.bursts.append(Burst(address, beats, cycle, self.response(address)))
        return self.bursts[-1]

    def _answered(self, burst: Burst, cycle: int) -> None:
        burst.answered = cycle
        self.in_flight -= 1


class ReadResponder(_Responder):
    """Answers an :class:`~heddle.rtl.axi.Axi4Read` manager from a memory."""

    async def run(self, ctx) -> None:
        """Run for ever; to be added as a background test bench."""
        axi, offer, cycle = self.port, None, 0
        queue: deque[tuple[int, Burst, int]] = deque()
        while True:
            ready = not self._pause()
            ctx.set(axi.arready, ready)
            if offer is None and queue and queue[0][0] <= cycle and not self._pause():
                offer = queue.popleft()
                _, burst, n = offer
                offset = burst.address - self.base + n * self.bytes
                ctx.set(axi.rdata, int.from_bytes(self.memory[offset:offset + self.bytes],
                                                  "little"))
                ctx.set(axi.rlast, n == burst.beats - 1)
                ctx.set(axi.rresp, burst.response)
            ctx.set(axi.rvalid, offer is not None)
            _, _, valid, *request, taken = await ctx.tick().sample(
                axi.arvalid, axi.arid, axi.araddr, axi.arlen, axi.arsize, axi.arburst,
                axi.arcache, axi.arprot, axi.rready)
            if offer is not None and taken:
                self.beats.append(cycle)
                if n == burst.beats - 1:
                    self._answered(burst, cycle)
                offer = None
            if self._offered("AR", valid, ready, tuple(request)):
                asked = self._accept(cycle, *request)
                due = cycle + self.latency(self.rng)
                queue.extend((due, asked, n) for n in range(asked.beats))
            cycle += 1


class WriteResponder(_Responder):
    """Writes what an :class:`~heddle.rtl.axi.Axi4Write` manager sends to a memory.

    Data may come before their address. They must come without gaps once a burst has begun.
    """

    async def run(self, ctx) -> None:
        """Run for ever; to be added as a background test bench."""
        axi, cycle = self.port, 0
        addresses: deque[Burst] = deque()
        bursts: deque[list[int]] = deque([[]])
        answers: deque[tuple[int, Burst]] = deque()
        answering = False
        while True:
            address_ready, data_ready = not self._pause(), not self._pause()
            ctx.set(axi.awready, address_ready)
            ctx.set(axi.wready, data_ready)
            answering = answering or bool(answers and answers[0][0] <= cycle and not self._pause())
            if answering:
                ctx.set(axi.bresp, answers[0][1].response)
            ctx.set(axi.bvalid, answering)
            _, _, valid, *request, data_valid, data, strobe, last, taken = await ctx.tick().sample(
                axi.awvalid, axi.awid, axi.awaddr, axi.awlen, axi.awsize, axi.awburst,
                axi.awcache, axi.awprot, axi.wvalid, axi.wdata, axi.wstrb, axi.wlast, axi.bready)
            if answering and taken:
                self._answered(answers.popleft()[1], cycle)
                answering = False
            if self._offered("AW", valid, address_ready, tuple(request)):
                addresses.append(self._accept(cycle, *request))
            assert data_valid or not bursts[-1], "W: a gap within a burst"
            if self._offered("W", data_valid, data_ready, (data, strobe, last)):
                assert strobe == (1 << self.bytes) - 1
                self.beats.append(cycle)
                bursts[-1].append(data)
                if last:
                    bursts.append([])
            while addresses and len(bursts) > 1:
                burst, words = addresses.popleft(), bursts.popleft()
                assert len(words) == burst.beats, f"WLAST after {len(words)} of {burst.beats}"
                offset = burst.address - self.base
                if burst.response in (Response.OKAY, Response.EXOKAY):
                    self.memory[offset:offset + burst.beats * self.bytes] = b"".join(
                        word.to_bytes(self.bytes, "little") for word in words)
                answers.append((cycle + self.latency(self.rng), burst))
            cycle += 1
