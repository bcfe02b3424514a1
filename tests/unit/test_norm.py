# amaranth: UnusedElaboratable=no
"""The engine of NORM against the golden model: results, tokens and time, whatever the pool does."""

import random
import re

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from heddle.rtl.export import verilog
from heddle.rtl.isa import Opcode, Queue, token
from heddle.rtl.norm import Norm
from heddle.rtl.norm_lane import NormLane
from heddle.rtl.norm_lanes import NormLanes
from heddle.sim import norm
from heddle.sim.streams import put, run_streams

WAIT, TILE, END = (token(Queue.LOAD, Queue.FILL), token(Queue.FILL, Queue.COMPUTE),
                   token(Queue.FILL, Queue.LOAD))
HEADER = {"opcode": Opcode.NORM, "waits": [{"token": WAIT, "each": 1}, {}, {}],
          "posts": [{"token": TILE, "each": 1}, {"token": END, "each": 0}, {}]}
READ_LATENCY = 5


def random_scales(rng, features):
    """Return parameters over their whole range, most of them as a quantiser makes them."""
    x, o = rng.integers(0, 1 << 16, (2, features)) >> rng.integers(0, 12, (2, features))
    return norm.NormScales(
        x, o, rng.integers(0, 1 << 24, features) >> rng.integers(0, 16, features),
        rng.integers(-1 << 15, 1 << 15, features) >> rng.integers(0, 8, features),
        rng.integers(-1 << 15, 1 << 15, features), features,
        int(rng.integers(0, 1 << 48) >> rng.integers(0, 49)))


class Bench:
    """An engine with a pool of words, in which instructions find their operands."""

    def __init__(self, lanes, word_bits, *, idle=0.0, seed=0):
        self.lanes, self.word_bytes = lanes, word_bits // 8
        self.dut = Norm(lanes=lanes, pool_bits=12, word_bits=word_bits)
        self.idle = idle
        self.rng = np.random.default_rng(seed)
        self.pool = np.zeros((1 << 12, self.word_bytes), np.uint8)
        self.pool[:] = self.rng.integers(0, 256, self.pool.shape)
        self.wanted = self.pool.copy()
        self.jobs, self.gives, self.free = [], [], 0
        self.reset = Signal()

    def place(self, words):
        start, self.free = self.free, self.free + words
        return start

    def add(self, features, count=1, words=None, **flags):
        """Add an instruction; its results are wanted in the pool."""
        vectors = self.word_bytes // self.lanes
        words = words or -(-features // vectors)
        scales = random_scales(self.rng, features).padded(words * vectors)
        table = norm.pack_norm(scales, self.word_bytes, norm=flags.get("norm", 0))
        fields = {name: self.place(count * words + 3) for name in "xosc"}
        fields |= {f"{name}_stride": words for name in "xosc"}
        fields |= {"params": self.place(len(table)), "count": count, "words": words}
        for pool in (self.pool, self.wanted):
            pool[fields["params"]:][:len(table)] = table
        for tile in range(count):
            x, o = (self.wanted[fields[name] + tile * words:][:words].view(np.int8)
                    .reshape(-1, self.lanes) for name in "xo")
            y = norm.values(x, o if flags.get("residual") else None, scales)
            results = {"s": norm.store_sum(y, scales) if flags.get("sum") else None,
                       "c": norm.normalise(y, scales, rms=flags.get("rms", 0))
                       if flags.get("norm") else None}
            for name, result in results.items():
                if result is not None:
                    self.wanted[fields[name] + tile * words:][:words] = (
                        result.view(np.uint8).reshape(words, -1))
        self.jobs.append({"header": HEADER, **fields, **scales.fields, **flags})

    async def _memory(self, ctx):
        source, target = self.dut.source, self.dut.target
        rng, flight = random.Random(1), [None] * READ_LATENCY
        while True:
            reads = rng.random() >= self.idle
            ctx.set(source.request.ready, reads)
            ctx.set(target.request.ready, rng.random() >= self.idle)
            address = flight.pop(0)
            ctx.set(source.valid, address is not None)
            ctx.set(source.data, 0 if address is None else
                    int.from_bytes(self.pool[address].tobytes(), "little"))
            _, _, reset, asked, address, written, write = await ctx.tick().sample(
                self.reset, source.request.valid & source.request.ready, source.request.p,
                target.request.valid & target.request.ready, target.request.p)
            flight.append(address if asked else None)
            if reset:
                flight = [None] * READ_LATENCY
            if written:
                self.pool[write.addr] = np.frombuffer(
                    write.data.to_bytes(self.word_bytes, "little"), np.uint8)

    async def _watch(self, ctx):
        """Give a token now and then, and note those that are posted, and what was written then."""
        dut, rng, held, cycle, retired = self.dut, random.Random(2), 0, 0, 0
        while retired < len(self.jobs):
            held += rng.random() < 0.1 or not self.idle
            ctx.set(dut.tokens.available, (held > 0) << WAIT)
            _, _, take, give, done, busy = await ctx.tick().sample(
                dut.tokens.take, dut.tokens.give, dut.retired, dut.busy)
            assert take in (0, 1 << WAIT)
            held -= take >> WAIT & 1
            assert held >= 0
            assert busy or not give
            if give:
                self.gives.append((cycle, give, bool(done)))
            retired += done
            cycle += 1
            assert cycle < 30_000

    def run(self):
        """Execute all, and check."""
        run_streams(self.dut, put={"i": self.jobs}, also=[self._watch], background=[self._memory],
                    limit=30_000)
        return self.check()

    def run_after(self, cuts):
        """Begin and reset after each of these numbers of cycles, and then execute all."""
        dut = self.dut

        async def bench(ctx):
            ctx.set(dut.tokens.available, 1 << WAIT)
            for cycles in cuts:
                ctx.set(dut.i.payload, self.jobs[0])
                ctx.set(dut.i.valid, 1)
                await ctx.tick().repeat(cycles)
                ctx.set(dut.i.valid, 0)
                ctx.set(self.reset, 1)
                await ctx.tick()
                ctx.set(self.reset, 0)
                assert not ctx.get(dut.busy)
            await put(ctx, dut.i, self.jobs)
            await self._watch(ctx)

        simulator = Simulator(ResetInserter(self.reset)(dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(self._memory, background=True)
        simulator.run()
        return self.check()

    def check(self):
        """Compare the pool and the tokens; return the cycles at which tiles ended."""
        np.testing.assert_array_equal(self.pool, self.wanted)
        each, end = 1 << TILE, 1 << TILE | 1 << END
        assert [(give, done) for _, give, done in self.gives] == [
            (end if tile == job["count"] - 1 else each, tile == job["count"] - 1)
            for job in self.jobs for tile in range(job["count"])]
        return [cycle for cycle, *_ in self.gives]


SHAPES = [(4, 64), (2, 64), (8, 128), (16, 512), (8, 64)]
"""Lanes, and bits of a word: several words of parameters a word of vectors, one, and fewer."""


@pytest.mark.parametrize(("lanes", "word_bits"), SHAPES)
@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_all_flags(lanes, word_bits, idle):
    bench = Bench(lanes, word_bits, idle=idle, seed=lanes)
    for flags in range(16):
        residual, norms, rms, sums = (flags >> n & 1 for n in range(4))
        if norms or sums:
            bench.add(int(bench.rng.integers(1, 30)), residual=residual, norm=norms, rms=rms,
                      sum=sums)
    bench.run()


@pytest.mark.parametrize("idle", [0.0, 0.3])
def test_tiles_and_padding(idle):
    bench = Bench(4, 64, idle=idle, seed=7)
    bench.add(21, count=5, words=16, residual=1, norm=1, sum=1)
    bench.add(8, count=3, words=4, norm=1)
    bench.add(1, count=4, words=3, sum=1, residual=1)
    bench.run()


@pytest.mark.parametrize("name", ["x", "o"])
def test_in_place(name):
    bench = Bench(4, 64, seed=3)
    bench.add(24, count=2, residual=1, norm=1)
    job = bench.jobs[0]
    words = 2 * job["words"]
    bench.wanted[job[name]:][:words] = bench.wanted[job["c"]:][:words]
    bench.wanted[job["c"]:][:words] = bench.pool[job["c"]:][:words]
    job["c"] = job[name]
    bench.run()


def test_a_reset_in_mid_run_leaves_nothing_behind():
    bench = Bench(4, 64, idle=0.2, seed=9)
    bench.add(17, count=1, residual=1, norm=1, sum=1)
    bench.run_after(range(1, 200, 9))


@pytest.mark.parametrize(("lanes", "word_bits", "flags", "a_word"), [
    (16, 512, {"norm": 1}, (4, 4)),
    (16, 512, {"norm": 1, "residual": 1}, (4, 4)),
    (16, 512, {"sum": 1, "residual": 1}, (4, 0)),
    (32, 1024, {"norm": 1, "residual": 1, "sum": 1}, (4, 4)),  # as in zcu102
    (4, 64, {"norm": 1}, (3, 3)),                    # bound by the port: two words of parameters
    (4, 64, {"norm": 1, "residual": 1}, (4, 4)),
])
def test_time_of_a_tile(lanes, word_bits, flags, a_word):
    """A row each cycle, or a word each cycle, in each pass, and a fixed time besides."""
    words = 24
    bench = Bench(lanes, word_bits)
    bench.add(words * (word_bits // 8 // lanes), count=3, words=words, **flags)
    ends = bench.run()
    times = set(np.diff(ends))
    assert len(times) == 1
    rest = times.pop() - words * sum(a_word)
    dut = NormLanes(lanes)
    fixed = 16 + dut.latency - NormLane.LATENCY[1] + NormLane.LATENCY[flags.get("norm", 0)]
    assert abs(rest - fixed - flags.get("norm", 0) * dut.root_latency) <= 2


@pytest.mark.parametrize("lanes", [0, 3, -2])
def test_lanes_refused(lanes):
    with pytest.raises(ValueError, match=f"Lanes must be a positive even number, not {lanes}"):
        NormLanes(lanes)


def test_pairs_are_written_once():
    text = verilog(NormLanes(16), "lanes", "generic")
    assert len(re.findall(r"^module heddle_norm_lane_pair\b", text, re.M)) == 1
    assert len(re.findall(r"^ +heddle_norm_lane_pair\b", text, re.M)) == 8
