"""What the cost model runs on: a clock, and a memory that serves bursts."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from functools import partial

from .rtl.geometry import Geometry

__all__ = ["Clock", "Memory", "Process"]

Process = Generator[float | None, None, None]
"""Yields the cycle in which it goes on, or ``None`` to go on when something has happened."""

_READ_AGAIN = 1  # from the last beat of a read to the next address, beyond the latency
_WRITE_AGAIN = 4  # the same of a write, from its response


class Clock:
    """Runs processes in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._idle: list[Process] = []

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def start(self, process: Process) -> None:
        """Let a process run until it waits, and go on as it says."""
        for time in process:
            if time is None:
                self._idle.append(process)
                return
            if time > self.now:
                self.at(time, lambda: self.start(process))
                return

    def notify(self) -> None:
        """Let the processes look again that wait for something to happen."""
        idle, self._idle = self._idle, []
        for process in idle:
            self.at(self.now, partial(self.start, process))

    def run(self) -> None:
        """Run until nothing more happens."""
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class Memory:
    """Serves bursts: in order on each port, all ports sharing the bandwidth."""

    def __init__(self, clock: Clock, geometry: Geometry, latency: int, bandwidth: int) -> None:
        self.clock = clock
        self.latency = latency
        self.beat_bytes = geometry.dma_bytes
        self.bandwidth = bandwidth or 2 * geometry.dma_ports * geometry.dma_bytes
        self.limit = geometry.outstanding
        self._free = 0.0
        self._ports = {write: [0.0] * geometry.dma_ports for write in (False, True)}
        self._under_way = {write: [0] * geometry.dma_ports for write in (False, True)}
        self._written: list[deque[bool]] = [deque() for _ in range(geometry.dma_ports)]
        self._turn = {False: 0, True: 0}

    def room(self, write: bool) -> list[int]:
        """Return the ports that take another burst, the next in turn first."""
        ports = self._under_way[write]
        turns = [(self._turn[write] + n) % len(ports) for n in range(len(ports))]
        return [port for port in turns if ports[port] < self.limit
                and not (write and len(self._written[port]) >= 2 * self.limit)]

    def end_write(self) -> None:
        """Note that all bursts of an iteration are under way.

        Each port keeps its writes that are not answered in a queue, and such ends among them.
        """
        for written in self._written:
            if written:
                written.append(False)

    def burst(self, port: int, size: int, write: bool, done: Callable[[], None]) -> None:
        """Transfer a burst through a port."""
        self._turn[write] = (port + 1) % len(self._under_way[write])
        self._under_way[write][port] += 1
        if write:
            self._written[port].append(True)

        def transfer() -> None:
            start = max(self.clock.now, self._ports[write][port])
            self._free = max(self._free, start) + size / self.bandwidth
            end = max(self._free, start + size / self.beat_bytes)
            self._ports[write][port] = end
            self.clock.at(end + (self.latency + _WRITE_AGAIN if write else 0), finish)

        def finish() -> None:
            self._under_way[write][port] -= 1
            if write:
                written = self._written[port]
                written.popleft()
                while written and not written[0]:
                    written.popleft()
            done()
            self.clock.notify()

        self.clock.at(self.clock.now + (0 if write else self.latency + _READ_AGAIN), transfer)
