# amaranth: UnusedElaboratable=no
"""AXI4 bursts and a host in front of one memory of words."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

from heddle.rtl.axi import Response
from heddle.rtl.word_port import AxiFront
from heddle.sim.word_memory import WordMemory

SIZE = 4096


class _System(wiring.Component):
    def __init__(self, pace):
        super().__init__({})
        self.front = AxiFront(address_bits=32, data_bytes=4, size=SIZE)
        self.memory = WordMemory(size=SIZE, pace=pace)

    def elaborate(self, platform):
        m = Module()
        m.submodules.front, m.submodules.memory = self.front, self.memory
        wiring.connect(m, self.front.memory, self.memory.port)
        return m


def _simulate(system, *benches):
    simulator = Simulator(system)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


async def _transfer(ctx, port, prefix, **payload):
    for name, value in payload.items():
        ctx.set(getattr(port, prefix + name), value)
    ctx.set(getattr(port, prefix + "valid"), 1)
    await ctx.tick().until(getattr(port, prefix + "ready"))
    ctx.set(getattr(port, prefix + "valid"), 0)


async def _write(ctx, axi, address, words, strobes, pause):
    await _transfer(ctx, axi, "aw", addr=address, len=len(words) - 1, size=2, burst=1)
    for n, (word, strobe) in enumerate(zip(words, strobes, strict=True)):
        while pause():
            await ctx.tick()
        await _transfer(ctx, axi, "w", data=word, strb=strobe, last=n == len(words) - 1)
    ctx.set(axi.bready, 1)
    [response] = await ctx.tick().sample(axi.bresp).until(axi.bvalid)
    ctx.set(axi.bready, 0)
    return response


async def _read(ctx, axi, address, count, pause):
    await _transfer(ctx, axi, "ar", addr=address, len=count - 1, size=2, burst=1)
    words, responses = [], []
    while len(words) < count:
        ready = not pause()
        ctx.set(axi.rready, ready)
        _, _, valid, word, response, last = await ctx.tick().sample(
            axi.rvalid, axi.rdata, axi.rresp, axi.rlast)
        if valid and ready:
            words.append(word)
            responses.append(response)
            assert last == (len(words) == count)
    ctx.set(axi.rready, 0)
    return words, responses


async def _host(ctx, host, address, word=None):
    ctx.set(host.request.payload, {"write": word is not None, "address": address,
                                   "data": word or 0, "strobe": 15})
    ctx.set(host.request.valid, 1)
    await ctx.tick().until(host.request.ready)
    ctx.set(host.request.valid, 0)
    if word is None:
        [data] = await ctx.tick().sample(host.data).until(host.valid)
        return data
    return None


@pytest.mark.parametrize("pace", [1, 2, 5])
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_all_see_one_memory(pace, idle):
    """Bursts in the lower half, the host in the upper one, at the same time."""
    system = _System(pace)
    axi, host = system.front.axi, system.front.host

    async def bursts(ctx):
        rng = random.Random(f"bursts {pace} {idle}")
        memory = {}
        for _ in range(20):
            count = rng.choice([1, 2, 16, 40])
            address = 4 * rng.randrange(SIZE // 8 - count)
            words = [rng.getrandbits(32) for _ in range(count)]
            strobes = [rng.choice([0, 15, rng.getrandbits(4)]) if 4 * n + address in memory else 15
                       for n in range(count)]
            assert Response.OKAY == await _write(ctx, axi, address, words, strobes,
                                                 lambda: rng.random() < idle)
            for n, (word, strobe) in enumerate(zip(words, strobes)):
                keep = sum(0xFF << 8 * k for k in range(4) if not strobe >> k & 1)
                place = address + 4 * n
                memory[place] = memory.get(place, 0) & keep | word & ~keep
            found, responses = await _read(ctx, axi, address, count, lambda: rng.random() < idle)
            assert found == [memory[address + 4 * n] for n in range(count)]
            assert set(responses) == {Response.OKAY}

    async def words(ctx):
        rng = random.Random(f"words {pace} {idle}")
        memory = {}
        for _ in range(60):
            address = SIZE // 2 + 4 * rng.randrange(8)
            if address in memory and rng.random() < 0.5:
                assert await _host(ctx, host, address) == memory[address]
            else:
                memory[address] = rng.getrandbits(32)
                await _host(ctx, host, address, memory[address])

    _simulate(system, bursts, words)


def test_a_ready_manager_gets_a_word_each_cycle():
    system = _System(1)
    cycles = []

    async def ask(ctx):
        for n in range(2):
            await _transfer(ctx, system.front.axi, "ar", addr=256 * n, len=63, size=2, burst=1)

    async def take(ctx):
        ctx.set(system.front.axi.rready, 1)
        for cycle in range(200):
            _, _, valid = await ctx.tick().sample(system.front.axi.rvalid)
            if valid:
                cycles.append(cycle)

    _simulate(system, ask, take)
    assert len(cycles) == 128
    assert cycles[63] - cycles[0] == 63
    assert cycles[64] - cycles[63] <= 5


def test_what_lies_outside_is_answered_with_decerr_and_changes_nothing():
    system = _System(2)
    axi = system.front.axi

    async def bench(ctx):
        def never():
            return False

        assert await _write(ctx, axi, 0, [7], [15], never) == Response.OKAY
        assert await _write(ctx, axi, SIZE, [1, 2, 3], [15] * 3, never) == Response.DECERR
        assert await _write(ctx, axi, 1 << 31, [1], [15], never) == Response.DECERR
        assert (await _read(ctx, axi, SIZE, 5, never))[1] == [Response.DECERR] * 5
        assert await _read(ctx, axi, 0, 1, never) == ([7], [Response.OKAY])

    _simulate(system, bench)


@pytest.mark.parametrize("size", [2048, 5000])
def test_the_size_is_checked(size):
    with pytest.raises(ValueError, match=f"power of two of bytes, 4096 or more, not {size}"):
        AxiFront(address_bits=32, data_bytes=4, size=size)
