"""Token counters and gates: no token is lost, taken twice, or taken before it was given."""

import random
from collections import Counter

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from heddle.rtl.isa import NO_TOKEN, Queue, token
from heddle.rtl.tokens import Gate, Tokens

TO_LOAD = token(Queue.FILL, Queue.LOAD), token(Queue.STORE, Queue.LOAD, 1)


def header(waits=(), posts=()):
    return {name: [*({"token": t, "each": e} for t, e in entries), {}, {}, {}][:3]
            for name, entries in (("waits", waits), ("posts", posts))}


def mask(*numbers):
    return sum(1 << number for number in numbers)


def simulate(dut, *benches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for n, bench in enumerate(benches):
        simulator.add_testbench(bench, background=n > 0)
    simulator.run()


def test_counters_count_and_show_what_they_hold():
    dut = Tokens(count_bits=4)
    rng = random.Random(1)
    pairs = [(p, w) for p in Queue for w in Queue if p != w]
    numbers = {token(p, w, n): (p, w) for p, w in pairs for n in (0, 1)}

    async def bench(ctx):
        counts, shown = Counter(), Counter()
        for _ in range(600):
            gives, takes = [0] * 4, [0] * 4
            for number, (poster, waiter) in numbers.items():
                available = ctx.get(dut.port[waiter].available) >> number & 1
                assert available == (shown[number] > 0)
                # At times a token is given and taken at once.
                if counts[number] < 15 and rng.random() < 0.3:
                    gives[poster] |= 1 << number
                taken = shown[number] > 0 and rng.random() < 0.3
                takes[waiter] |= taken << number
                shown[number] = counts[number] - taken
            for queue in Queue:
                ctx.set(dut.port[queue].give, gives[queue])
                ctx.set(dut.port[queue].take, takes[queue])
                counts.update(n for n in range(32) if gives[queue] >> n & 1)
                counts.subtract(n for n in range(32) if takes[queue] >> n & 1)
            await ctx.tick()

    simulate(dut, bench)


def test_another_queues_tokens_do_not_show():
    dut = Tokens()

    async def bench(ctx):
        ctx.set(dut.port[Queue.FILL].give, 0xFFFFFFFF)
        await ctx.tick()
        ctx.set(dut.port[Queue.FILL].give, 0)
        await ctx.tick()
        for queue in set(Queue) - {Queue.FILL}:
            assert ctx.get(dut.port[queue].available) == mask(
                token(Queue.FILL, queue, 0), token(Queue.FILL, queue, 1))
        assert ctx.get(dut.port[Queue.FILL].available) == 0

    simulate(dut, bench)


@pytest.mark.parametrize("outermost", [0, 1])
def test_a_gate_posts_per_iteration_and_at_the_end(outermost):
    dut = Gate()
    each, last = token(Queue.LOAD, Queue.FILL), token(Queue.LOAD, Queue.STORE, 1)

    async def bench(ctx):
        ctx.set(dut.header, header(posts=[(each, 1), (NO_TOKEN, 1), (last, 0)]))
        ctx.set(dut.last, outermost)
        await ctx.tick()
        assert ctx.get(dut.posts) == mask(each) | mask(last) * outermost
        assert ctx.get(dut.tokens.give) == 0
        ctx.set(dut.done, 1)
        assert ctx.get(dut.tokens.give) == ctx.get(dut.posts)

    simulate(dut, bench)


class GateWithTokens(wiring.Component):
    """The gate of the LOAD queue at real counters."""

    def __init__(self):
        self.gate, self.tokens = Gate(), Tokens()
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate, m.submodules.tokens = self.gate, self.tokens
        wiring.connect(m, self.gate.tokens, self.tokens.port[Queue.LOAD])
        return m


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_each_iteration_takes_its_tokens_once_and_never_early(rate):
    dut = GateWithTokens()
    gate, rng = dut.gate, random.Random(rate)
    given, granted = Counter(), []
    jobs = [(rng.randint(1, 6), [(TO_LOAD[0], rng.randint(0, 1)), (NO_TOKEN, 1),
                                 (rng.choice(TO_LOAD), rng.randint(0, 1))]) for _ in range(40)]

    def needed(waits, first):
        return {number for number, each in waits if number != NO_TOKEN and (each or first)}

    total = Counter(t for count, waits in jobs for n in range(count) for t in needed(waits, n == 0))

    async def engine(ctx):
        taken, taking = Counter(), 0
        for count, waits in jobs:
            ctx.set(gate.header, header(waits))
            for n in range(count):
                ctx.set(gate.first, n == 0)
                ctx.set(gate.request, 1)
                grant, waited = 0, 0
                while not grant:
                    _, _, grant, take, blocked = await ctx.tick().sample(
                        gate.granted, gate.tokens.take, gate.blocked)
                    assert take == taking  # a cycle after the grant
                    taking = mask(*needed(waits, n == 0)) * grant
                    waited += 1
                    assert waited < 5000, "no grant"
                assert waited >= 2
                assert not blocked
                taken.update(needed(waits, n == 0))
                assert taken <= given
                granted.append(n)
                ctx.set(gate.request, 0)
                if rng.random() < 0.5:
                    _, _, take = await ctx.tick().sample(gate.tokens.take)
                    assert take == taking
                    taking = 0

    async def poster(ctx):
        while True:
            for number, queue in zip(TO_LOAD, (Queue.FILL, Queue.STORE)):
                give = given[number] < total[number] and rng.random() < rate
                ctx.set(dut.tokens.port[queue].give, mask(number) * give)
                given[number] += give
            await ctx.tick()

    simulate(dut, engine, poster)
    assert len(granted) == sum(count for count, _ in jobs)
    assert given == total


def test_a_gate_names_what_it_lacks():
    dut = GateWithTokens()

    async def bench(ctx):
        ctx.set(dut.gate.header, header([(TO_LOAD[0], 0), (TO_LOAD[1], 0)]))
        ctx.set(dut.gate.first, 1)
        ctx.set(dut.gate.request, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.gate.blocked) == mask(*TO_LOAD)
        ctx.set(dut.tokens.port[Queue.STORE].give, mask(TO_LOAD[1]))
        await ctx.tick()
        ctx.set(dut.tokens.port[Queue.STORE].give, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.gate.blocked) == mask(TO_LOAD[0])
        assert not ctx.get(dut.gate.granted)

    simulate(dut, bench)
