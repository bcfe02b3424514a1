"""Stream test bench: feeds and collects the streams of a component in Amaranth's own simulator."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from amaranth.lib import data, wiring
from amaranth.sim import Simulator

__all__ = ["Transfers", "get", "plain", "put", "run_streams"]


@dataclass
class Transfers:
    """What passed through the streams of a run; index it with the name of a collected stream."""

    payloads: dict[str, list[Any]] = field(default_factory=dict)
    """Payloads of each collected stream."""
    cycles: dict[str, list[int]] = field(default_factory=dict)
    """Cycle of each transfer, of the fed streams too; cycle 0 ends with the first clock edge."""

    def __getitem__(self, name: str) -> list[Any]:
        return self.payloads[name]


def plain(value: Any) -> Any:
    """Return a simulated value with structs as dictionaries and arrays as lists."""
    if not isinstance(value, data.Const):
        return value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [plain(value[i]) for i in range(layout.length)]
    return {name: plain(value[name]) for name, _ in layout}


async def put(ctx, port, values: Iterable[Any], *, idle: float = 0.0,
              rng: random.Random | None = None, limit: int = 10_000, name: str = "input"
              ) -> list[int]:
    """Feed ``values`` to the stream ``port`` and return the cycle of each transfer.

    Each value is offered after a random gap, in which a cycle follows with probability ``idle``,
    and stays until it is taken.

    Raises
    ------
    AssertionError
        If not all are taken within ``limit`` cycles.
    """
    rng = rng or random.Random(0)
    cycles: list[int] = []
    cycle = 0
    for number, value in enumerate(values):
        while rng.random() < idle:
            cycle += 1
            await ctx.tick()
        ctx.set(port.payload, value)
        if not port.signature.always_valid:
            ctx.set(port.valid, 1)
        ready = False
        while not ready:
            assert cycle < limit, f"{name}: value {number} was not taken within {limit} cycles"
            _, _, ready = await ctx.tick().sample(port.ready)
            cycle += 1
        cycles.append(cycle - 1)
        if not port.signature.always_valid:
            ctx.set(port.valid, 0)
    return cycles


async def get(ctx, port, count: int, *, idle: float = 0.0, quiet: int = 0,
              rng: random.Random | None = None, limit: int = 10_000, name: str = "output"
              ) -> tuple[list[Any], list[int]]:
    """Collect ``count`` payloads of the stream ``port`` and the cycle of each transfer.

    In each cycle the stream is held up with probability ``idle``. After the last payload it is
    watched for ``quiet`` cycles more.

    Raises
    ------
    AssertionError
        If the payloads do not come within ``limit`` cycles, if an offer is withdrawn or changed
        before it is taken, or if something is offered in the quiet cycles.
    """
    rng = rng or random.Random(0)
    payloads: list[Any] = []
    cycles: list[int] = []
    offer, cycle = None, 0
    while len(payloads) < count or cycle <= (cycles or [-1])[-1] + quiet:
        assert cycle < limit or len(payloads) == count, (
            f"{name}: {len(payloads)} of {count} payloads came within {limit} cycles")
        ready = port.signature.always_ready or rng.random() >= idle
        if not port.signature.always_ready:
            ctx.set(port.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        payload = plain(payload)
        assert offer is None or (valid and payload == offer), (
            f"{name}: offer {offer!r} was withdrawn or changed to {payload!r} before it was taken "
            f"in cycle {cycle}")
        assert not valid or len(payloads) < count, f"{name}: {payload!r} came after all {count}"
        offer = payload if valid and not ready else None
        if valid and ready:
            payloads.append(payload)
            cycles.append(cycle)
        cycle += 1
    if not port.signature.always_ready:
        ctx.set(port.ready, 0)
    return payloads, cycles


def run_streams(dut: wiring.Component, *, put: Mapping[str, Iterable[Any]] | None = None,
                get: Mapping[str, int] | None = None, idle: float = 0.0, seed: int = 0,
                limit: int = 10_000, quiet: int = 8,
                also: Iterable[Callable[[Any], Awaitable[None]]] = (),
                background: Iterable[Callable[[Any], Awaitable[None]]] = ()) -> Transfers:
    """Simulate ``dut``, feeding and collecting several streams at once, and return what passed.

    Parameters
    ----------
    put
        Values for each input stream by name; ``"queue.0"`` is item 0 of the array ``queue``.
    get
        Number of payloads expected of each output stream.
    idle
        Probability of a gap in each cycle on each stream.
    seed
        Seed of the gaps.
    limit
        Cycles within which everything must have passed.
    quiet
        Cycles after its last payload in which an output must offer nothing.
    also
        More test benches (``async def bench(ctx)``); the run lasts until they have ended.
    background
        More test benches that run only while the others do.

    Raises
    ------
    AssertionError
        If a stream does not transfer what was expected in time or breaks the stream rules.
    """
    result = Transfers()
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for name, values in (put or {}).items():
        simulator.add_testbench(_putter(dut, name, values, result, idle=idle, limit=limit,
                                        rng=random.Random(f"{seed} {name}")))
    for name, count in (get or {}).items():
        simulator.add_testbench(_getter(dut, name, count, result, idle=idle, limit=limit,
                                        quiet=quiet, rng=random.Random(f"{seed} {name}")))
    for bench in also:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()
    return result


def _port(dut: wiring.Component, name: str) -> Any:
    port: Any = dut
    for part in name.split("."):
        port = port[int(part)] if part.isdigit() else getattr(port, part)
    return port


def _putter(dut, name, values, result, **options):
    async def bench(ctx):
        result.cycles[name] = await put(ctx, _port(dut, name), values, name=name, **options)
    return bench


def _getter(dut, name, count, result, **options):
    async def bench(ctx):
        result.payloads[name], result.cycles[name] = await get(
            ctx, _port(dut, name), count, name=name, **options)
    return bench
