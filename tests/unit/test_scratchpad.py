# amaranth: UnusedElaboratable=no
"""Scratchpad: every client sees its words, in order, whatever the others do."""

import random

import pytest

from heddle.rtl.ram import DualPortRam
from heddle.rtl.scratchpad import Scratchpad
from heddle.sim.streams import run_streams

WORDS = 32


def port_of(dut, name):
    name, _, number = name.partition(".")
    return getattr(dut, name)[int(number)] if number else getattr(dut, name)


def simulate(banks, *, readers, writers, idle, seed=0):
    """Write all words through ``writers`` first, then read through ``readers`` at once."""
    rng = random.Random(seed)
    dut = Scratchpad(WORDS, 16, banks, lists=2)
    content = [rng.randrange(1 << 16) for _ in range(WORDS)]
    split = {name: [{"addr": a, "data": content[a]} for a in range(WORDS) if a % len(writers) == n]
             for n, name in enumerate(writers)}
    reads = {name: [rng.randrange(WORDS) for _ in range(60)] for name in readers}
    seen = {name: [] for name in readers}

    async def collect(ctx):
        while True:
            _, _, *ports = await ctx.tick().sample(
                *(x for name in readers for x in (port_of(dut, name).valid,
                                                  port_of(dut, name).data)))
            for name, valid, word in zip(readers, ports[::2], ports[1::2], strict=True):
                if valid:
                    seen[name].append(word)

    async def write_then_read(ctx):
        for name in writers:
            port = getattr(dut, name).request
            for payload in split[name]:
                ctx.set(port.payload, payload)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
        ctx.set(dut.a_en, 1)
        gate.append(True)
        await ctx.tick().repeat(600)

    gate = []

    def reader(name):
        async def bench(ctx):
            port = port_of(dut, name).request
            gaps = random.Random(f"{seed} {name}")
            while not gate:
                await ctx.tick()
            for addr in reads[name]:
                while gaps.random() < idle:
                    await ctx.tick()
                ctx.set(port.payload, addr)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)
        return bench

    run_streams(dut, also=[write_then_read, *(reader(name) for name in readers)],
                background=[collect])
    return {name: ([content[a] for a in reads[name]], seen[name]) for name in readers}


@pytest.mark.parametrize("banks", [1, 2, 4])
@pytest.mark.parametrize("idle", [0.0, 0.4])
def test_words_reach_their_reader_in_order(banks, idle):
    result = simulate(banks, readers=("params", "lists.0", "lists.1", "fill", "store"),
                      writers=("drain", "load", "norm"),
                      idle=idle, seed=banks)
    for wanted, seen in result.values():
        assert seen == wanted


def test_array_port_reads_beside_a_busy_port():
    dut = Scratchpad(WORDS, 16, 2)
    seen = []

    async def bench(ctx):
        ctx.set(dut.load.request.valid, 1)
        for addr in range(WORDS):
            ctx.set(dut.load.request.p, {"addr": addr, "data": 1000 + addr})
            await ctx.tick().until(dut.load.request.ready)
        ctx.set(dut.load.request.p, {"addr": 0, "data": 1000})
        await ctx.tick().repeat(3)
        ctx.set(dut.a_en, 1)
        for cycle in range(WORDS + Scratchpad.A_LATENCY):
            ctx.set(dut.a_addr, cycle % WORDS)
            if cycle >= Scratchpad.A_LATENCY:
                seen.append(ctx.get(dut.a_data))
            await ctx.tick()

    run_streams(dut, also=[bench])
    assert seen[1:] == [1000 + addr for addr in range(1, WORDS)]


def test_the_drain_never_waits_and_the_rest_share_fairly():
    """Parameters and lists, which come seldom, follow the drain; the others take what is left."""
    dut = Scratchpad(WORDS, 16, 2, lists=2)
    first = {"drain": (0, 4, 8, 12), "params": (1,), "lists.0": (2,), "lists.1": (3,)}
    taken = {name: 0 for name in (*first, "fill", "store", "load", "norm")}

    async def bench(ctx):
        ports = [port_of(dut, name).request for name in taken]
        for cycle in range(256):
            for name, port in zip(taken, ports, strict=True):
                ctx.set(port.valid, cycle % 16 in first.get(name, range(16)))
            _, _, *ready = await ctx.tick().sample(*(port.ready for port in ports))
            assert sum(ready) == 1
            for name, hit in zip(taken, ready, strict=True):
                taken[name] += hit

    run_streams(dut, also=[bench])
    assert taken == {"drain": 64, "params": 16, "lists.0": 16, "lists.1": 16, "fill": 36,
                     "store": 36, "load": 36, "norm": 36}


def test_refusals():
    with pytest.raises(ValueError, match="Scratchpad words must be a multiple of 4 banks, not 6"):
        Scratchpad(6, 8, 4)
    assert DualPortRam(8, 16).a_addr.shape().width == 4
