"""The AXI memory: contents, latency, bandwidth, fairness and error responses."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.rtl.axi import Response
from heddle.sim.bucket import Bucket
from heddle.sim.memory import AxiMemory

BYTES = 4


def memory(ports=1, **settings):
    dut = AxiMemory(ports=ports, address_bits=32, data_bytes=BYTES)
    return dut, {"size": 4096, "latency": 10, **settings}


def simulate(dut, settings, *benches):
    def configured(bench):
        async def run(ctx):
            for name, value in settings.items():
                ctx.set(getattr(dut.settings, name), value)
            await bench(ctx)
        return run

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(configured(bench))
    simulator.run()


async def ask(ctx, axi, channel, address, beats, *, size=2, burst=1):
    """Transfer one address; the clock edge of the transfer is the last that passes."""
    for name, value in ("addr", address), ("len", beats - 1), ("size", size), ("burst", burst):
        ctx.set(getattr(axi, channel + name), value)
    ctx.set(getattr(axi, channel + "valid"), 1)
    await ctx.tick().until(getattr(axi, channel + "ready"))
    ctx.set(getattr(axi, channel + "valid"), 0)


async def read_beats(ctx, axi, beats, *, idle=0.0, rng=None):
    """Return data, responses, and cycles of the beats; cycle 1 follows the call."""
    got, responses, cycles, cycle = [], [], [], 0
    while len(got) < beats:
        ready = not idle or rng.random() >= idle
        ctx.set(axi.rready, ready)
        _, _, valid, word, response, last = await ctx.tick().sample(
            axi.rvalid, axi.rdata, axi.rresp, axi.rlast)
        cycle += 1
        assert cycle < 5000
        if valid and ready:
            got.append(word)
            responses.append(response)
            cycles.append(cycle)
            assert last == (len(got) == beats)
    ctx.set(axi.rready, 0)
    return got, responses, cycles


async def write_beats(ctx, axi, words, *, strobes=None, idle=0.0, rng=None):
    for number, word in enumerate(words):
        while idle and rng.random() < idle:
            await ctx.tick()
        ctx.set(axi.wdata, int(word))
        ctx.set(axi.wstrb, strobes[number] if strobes else (1 << BYTES) - 1)
        ctx.set(axi.wlast, number == len(words) - 1)
        ctx.set(axi.wvalid, 1)
        await ctx.tick().until(axi.wready)
        ctx.set(axi.wvalid, 0)


async def response(ctx, axi):
    """Return the response of a write and the cycle in which it came."""
    ctx.set(axi.bready, 1)
    for cycle in range(1, 5000):
        _, _, valid, value = await ctx.tick().sample(axi.bvalid, axi.bresp)
        if valid:
            ctx.set(axi.bready, 0)
            return value, cycle
    raise AssertionError("No write response came")


async def write(ctx, axi, address, words, **options):
    await ask(ctx, axi, "aw", address, len(words))
    await write_beats(ctx, axi, words, **options)
    return (await response(ctx, axi))[0]


async def read(ctx, axi, address, beats, **options):
    await ask(ctx, axi, "ar", address, beats)
    return await read_beats(ctx, axi, beats, **options)


@pytest.mark.parametrize("bandwidth", [0, 3, 6])
def test_contents(bandwidth):
    """Two ports write and read their halves at random, with strobes, gaps and a base."""
    base = 0x1000
    dut, settings = memory(2, bandwidth=bandwidth, base=base)
    model = np.zeros(4096, np.uint8)

    def bench(port):
        rng = random.Random(port)
        axi = dut.axi[port]

        async def run(ctx):
            for _ in range(12):
                beats = rng.randint(1, 16)
                offset = BYTES * rng.randrange(512 - beats) + 2048 * port
                words = [rng.getrandbits(32) for _ in range(beats)]
                strobes = [rng.getrandbits(4) for _ in range(beats)]
                assert await write(ctx, axi, base + offset, words, strobes=strobes, idle=0.3,
                                   rng=rng) == Response.OKAY
                for i, (word, strobe) in enumerate(zip(words, strobes)):
                    for lane in range(BYTES):
                        if strobe >> lane & 1:
                            model[offset + BYTES * i + lane] = word >> 8 * lane & 0xFF
                first = max(2048 * port, offset - 3 * BYTES)
                got, responses, _ = await read(ctx, axi, base + first, 16, idle=0.3, rng=rng)
                assert got == model[first:first + 64].view(np.uint32).tolist()
                assert set(responses) == {Response.OKAY}
        return run

    simulate(dut, settings, bench(0), bench(1))


@pytest.mark.parametrize("latency", [0, 5, 6, 40])
def test_latency(latency):
    dut, settings = memory(latency=latency)
    axi = dut.axi[0]

    async def bench(ctx):
        await ctx.tick().repeat(3)
        _, _, cycles = await read(ctx, axi, 64, 8)
        assert cycles == list(range(max(latency, 5), max(latency, 5) + 8))
        await ask(ctx, axi, "aw", 64, 2)
        await ctx.tick().repeat(3)
        await write_beats(ctx, axi, [1, 2])
        assert (await response(ctx, axi))[1] == max(latency, 2)

    simulate(dut, settings, bench)


def test_outstanding():
    """Bursts asked for one after the other overlap their latencies, and come without gaps."""
    dut, settings = memory(latency=40)
    axi = dut.axi[0]

    async def bench(ctx):
        await ctx.tick()
        for address in range(0, 256, 32):
            await ask(ctx, axi, "ar", address, 8)
        cycles = []
        start = 8
        for _ in range(8):
            more = (await read_beats(ctx, axi, 8))[2]
            cycles += [start + cycle for cycle in more]
            start += more[-1]
        assert cycles == list(range(41, 41 + 64))

    simulate(dut, settings, bench)


def test_bandwidth_is_shared():
    """Four ports read while two of them also write: 6 bytes a cycle, shared equally."""
    dut, settings = memory(4, latency=5, bandwidth=6)
    beats, cycles = [0] * 6, 600

    def reader(port):
        async def run(ctx):
            axi = dut.axi[port]
            ctx.set(axi.araddr, 0)
            ctx.set(axi.arlen, 15)
            ctx.set(axi.arsize, 2)
            ctx.set(axi.arburst, 1)
            ctx.set(axi.arvalid, 1)
            ctx.set(axi.rready, 1)
            for _ in range(cycles):
                _, _, valid = await ctx.tick().sample(axi.rvalid)
                beats[port] += valid
        return run

    def writer(port):
        async def run(ctx):
            axi = dut.axi[port]
            ctx.set(axi.awaddr, 0)
            ctx.set(axi.awlen, 0)
            ctx.set(axi.awsize, 2)
            ctx.set(axi.awburst, 1)
            ctx.set(axi.awvalid, 1)
            ctx.set(axi.wvalid, 1)
            ctx.set(axi.wlast, 1)
            ctx.set(axi.bready, 1)
            for _ in range(cycles):
                _, _, ready = await ctx.tick().sample(axi.wready)
                beats[4 + port] += ready
        return run

    simulate(dut, settings, *map(reader, range(4)), *map(writer, range(2)))
    assert cycles * 6 - 100 <= BYTES * sum(beats) <= cycles * 6
    assert max(beats) - min(beats) <= 4


def test_bucket_is_exact():
    """A bandwidth that is no multiple of a beat is reached on average, and none is saved up."""
    dut = Bucket(requesters=4, data_bytes=16)

    async def bench(ctx):
        ctx.set(dut.bandwidth, 40)
        await ctx.tick().repeat(10)  # nobody wants any
        ctx.set(dut.want, 0b1111)
        counts = []
        for _ in range(16):
            counts.append(ctx.get(dut.grant).bit_count())
            await ctx.tick()
        assert max(counts) <= 3
        assert 40 * 16 <= 16 * sum(counts) <= 40 * 16 + 15
        ctx.set(dut.bandwidth, 0)
        assert ctx.get(dut.grant) == 0b1111
        ctx.set(dut.want, 0b0101)
        assert ctx.get(dut.grant) == 0b0101

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_errors():
    dut, settings = memory(size=256, base=0x1000, error_first=0x1040, error_end=0x1044)
    axi = dut.axi[0]
    okay, slave_error = Response.OKAY, Response.SLVERR

    async def bench(ctx):
        assert (await read(ctx, axi, 0x103C, 3))[1] == [okay, slave_error, okay]
        assert (await read(ctx, axi, 0x10F8, 4))[1] == [okay, okay, slave_error, slave_error]
        assert (await read(ctx, axi, 0x0FFC, 1))[1] == [slave_error]
        assert await write(ctx, axi, 0x103C, [7, 8, 9]) == slave_error
        assert await write(ctx, axi, 0x103C, [6]) == okay
        assert await write(ctx, axi, 0x10FC, [5, 4]) == slave_error
        assert (await read(ctx, axi, 0x103C, 3))[0] == [6, 0, 9]
        await ask(ctx, axi, "aw", 0x1000, 2)
        await write_beats(ctx, axi, [1])  # last too early
        await write_beats(ctx, axi, [1])
        assert (await response(ctx, axi))[0] == slave_error

    simulate(dut, settings, bench)


@pytest.mark.parametrize(("address", "beats", "form"), [
    (0x000, 1, {"burst": 0}), (0x000, 2, {"size": 1}), (0x002, 1, {}), (0xFF8, 3, {})])
def test_illegal_bursts(address, beats, form):
    dut, settings = memory(size=8192)
    axi = dut.axi[0]

    async def bench(ctx):
        await ask(ctx, axi, "ar", address, beats, **form)
        assert set((await read_beats(ctx, axi, beats))[1]) == {Response.SLVERR}
        await ask(ctx, axi, "ar", 0xFF8, 2)
        assert set((await read_beats(ctx, axi, 2))[1]) == {Response.OKAY}

    simulate(dut, settings, bench)
