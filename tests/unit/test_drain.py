# amaranth: UnusedElaboratable=no
"""The drain with a behavioural array and pool, against the golden model."""

import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from heddle.rtl.channels import ChannelBuffer
from heddle.rtl.drain import Drain, DrainControl
from heddle.rtl.isa import Layout
from heddle.rtl.lanes import Lanes
from heddle.sim import golden

SIZES = [(4, 4, 2), (4, 8, 4), (8, 16, 8), (4, 8, 2), (4, 16, 4), (8, 8, 8), (8, 8, 1)]
POOL_BITS = 12


class Tile:
    """A tile with random contents and where it should go."""

    def __init__(self, rng, number, rows, lanes, depth, layout):
        self.acc = rng.integers(-20000, 20000, (rows, lanes))
        self.bias = rng.integers(-1000, 1000, rows)
        self.multiplier = rng.integers(0, 1 << 17, rows)
        self.shift = rng.integers(18, 26, rows)
        self.channels = int(rng.integers(0, 1 << POOL_BITS - 1))
        packed = golden.pack_channels(self.bias, self.multiplier, self.shift)
        self.channel_words = packed.reshape(-1, depth * rows)
        self.payload = {
            "c": int(rng.integers(0, 1 << POOL_BITS)),
            "part_stride": int(rng.integers(0, 1 << POOL_BITS)),
            "channels": self.channels, "layout": int(layout), "give": 1 << number % 31,
        }
        values = golden.requantise(self.acc, self.bias, self.multiplier, self.shift)
        words = golden.lay_tile(values, layout, depth)
        addresses = golden.tile_addresses(self.payload["c"], self.payload["part_stride"], layout,
                                          rows, lanes, depth)
        self.written = [(int(address) % (1 << POOL_BITS), word.tobytes())
                        for address, word in zip(addresses, words, strict=True)]


class Bench:
    """Feeds tiles to a drain, plays array and pool, and records what happens in which cycle."""

    def __init__(self, rows, lanes, depth, *, contexts=16, array_latency=None, settle=9, reuse=0,
                 latency=(3, 10), idle=0.3, seed=0):
        self.sizes = rows, lanes, depth
        self.contexts = contexts
        self.settle = settle
        self.reuse = reuse
        self.latency = latency
        self.idle = idle
        self.rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.array_latency = array_latency or rows
        self.dut = Drain(rows=rows, lanes=lanes, depth=depth, contexts=contexts,
                         pool_bits=POOL_BITS, array_latency=self.array_latency, settle=settle,
                         reuse=reuse)
        self.reset = Signal()
        self.cycle = 0
        self.rows = {}  # (cycle, lane): value at the output of the array
        self.clear()

    def clear(self):
        self.accepted, self.commands, self.freed = [], [], []
        self.words, self.given, self.busy = [], [], []
        self.held = {}  # context: tile
        self.asked = 0
        self.reads = deque()  # (cycle of the answer, word)

    def tiles(self, count, layouts=tuple(Layout)):
        return [Tile(self.rng, n, *self.sizes, layouts[n % len(layouts)]) for n in range(count)]

    def simulate(self, bench):
        simulator = Simulator(ResetInserter(self.reset)(self.dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    def run(self, tiles, limit=5000):
        async def bench(ctx):
            await self.feed(ctx, tiles, limit)
        self.simulate(bench)

    async def feed(self, ctx, tiles, limit):
        """Offer the tiles as contexts become free; return when all are written and all is quiet."""
        waiting = deque(tiles)
        end = self.cycle + limit
        while waiting or len(self.given) < len(tiles) or self.busy[-1]:
            assert self.cycle < end, f"{len(self.given)} of {len(tiles)} tiles in {limit} cycles"
            await self.step(ctx, waiting, tiles)
        for _ in range(20):
            await self.step(ctx, waiting, tiles)

    async def step(self, ctx, waiting, tiles):
        dut, now = self.dut, self.cycle
        free = len(self.accepted) - len(self.freed) < self.contexts
        offered = waiting[0] if waiting and free and self.random.random() >= self.idle else None
        ctx.set(dut.tiles.valid, offered is not None)
        if offered:
            ctx.set(dut.tiles.p, offered.payload)
        for lane, port in enumerate(dut.i):
            ctx.set(port, self.rows.pop((now, lane), 0x2BAD))
        answer = self.reads.popleft()[1] if self.reads and self.reads[0][0] <= now else None
        ctx.set(dut.params.valid, answer is not None)
        ctx.set(dut.params.data, answer if answer is not None else 0x2BAD)
        ctx.set(dut.params.request.ready, self.random.random() >= self.idle)
        ctx.set(dut.pool.request.ready, 1)
        await self.sample(ctx, offered, waiting, tiles)
        self.cycle += 1

    async def sample(self, ctx, offered, waiting, tiles):
        dut, now = self.dut, self.cycle
        (_, _, taken, asked, addr, granted, command, context, freed, wrote, word_addr, word, give,
         busy) = await ctx.tick().sample(
            dut.tiles.ready, dut.params.request.valid, dut.params.request.p,
            dut.params.request.ready, dut.command.valid, dut.command.context, dut.freed,
            dut.pool.request.valid, dut.pool.request.p.addr, dut.pool.request.p.data, dut.give,
            dut.busy)
        assert taken, "the drain must be ready as long as contexts are free"
        if offered:
            self.held[len(self.accepted) % self.contexts] = waiting.popleft()
            self.accepted.append(now)
        if asked and granted:
            self.reads.append(self.answer(addr, now, tiles))
        if command:
            self.commands.append(now)
            self.leave(self.held.pop(context))
        if freed:
            self.freed.append(now)
        if wrote:
            self.words.append((now, word_addr, word.to_bytes(len(dut.pool.request.p.data) // 8,
                                                             "little")))
        if give:
            self.given.append((now, give))
        self.busy.append(busy)

    def answer(self, addr, now, tiles):
        """Find the word of the tile whose parameters are being read, in order."""
        tile = tiles[self.asked // len(tiles[0].channel_words)]
        word = self.asked % len(tile.channel_words)
        assert addr == tile.channels + word
        self.asked += 1
        earliest = self.reads[-1][0] + 1 if self.reads else 0
        return (max(earliest, now + self.random.randint(*self.latency)),
                int.from_bytes(tile.channel_words[word].tobytes(), "little"))

    def leave(self, tile):
        for (row, lane), value in np.ndenumerate(tile.acc):
            self.rows[self.cycle + self.array_latency + row + lane // 2, lane] = int(value)

    def check(self, tiles):
        """Everything arrived, in order and in time, its tokens one cycle after the last word."""
        assert all(command - accepted >= self.settle for accepted, command
                   in zip(self.accepted, self.commands, strict=True))
        assert self.freed == [command + self.reuse for command in self.commands]
        per_tile = len(tiles[0].written)
        assert [word[1:] for word in self.words] == [w for tile in tiles for w in tile.written]
        ends = [word[0] for word in self.words[per_tile - 1::per_tile]]
        assert self.given == [(end + 1, tile.payload["give"])
                              for end, tile in zip(ends, tiles, strict=True)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sizes", SIZES)
def test_random_stalls(sizes, seed):
    bench = Bench(*sizes, contexts=(4, 16)[seed], array_latency=sizes[0] + 3 * seed, seed=seed)
    tiles = bench.tiles(24, bench.random.sample(list(Layout) * 4, 12))
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize("layout", [*Layout, None])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_tile_every_rows_cycles(sizes, layout):
    """Back-to-back tiles leave no bubble, with parameters as far away as the drain may hide."""
    bench = Bench(*sizes, latency=(Drain.READ_LATENCY,) * 2, idle=0)
    tiles = bench.tiles(12, tuple(Layout) if layout is None else (layout,))
    bench.run(tiles)
    bench.check(tiles)
    assert set(np.diff(bench.commands)) == {sizes[0]}
    assert set(np.diff([cycle for cycle, _ in bench.given])) == {sizes[0]}


@pytest.mark.parametrize("contexts", [2, 4])
def test_always_ready_while_contexts_are_free(contexts):
    bench = Bench(4, 8, 4, contexts=contexts, array_latency=11, settle=0, idle=0)
    tiles = bench.tiles(12)
    bench.run(tiles)
    bench.check(tiles)


def test_a_slow_pool_only_delays():
    bench = Bench(4, 8, 4, latency=(100, 100), idle=0)
    tiles = bench.tiles(12)
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize(("settle", "reuse", "array_latency"), [(0, 0, 2), (2, 1, 4), (40, 7, 9)])
def test_timing_of_one_tile(settle, reuse, array_latency):
    rows, lanes, depth = 4, 8, 4
    bench = Bench(rows, lanes, depth, settle=settle, reuse=reuse, array_latency=array_latency,
                  latency=(1, 1), idle=0)
    tiles = bench.tiles(1)
    bench.run(tiles)
    bench.check(tiles)
    accepted, command = bench.accepted[0], bench.commands[0]
    assert command == accepted + settle if settle == 40 else command >= accepted + settle
    last_row = command + array_latency + Lanes(lanes).latency + rows - 1
    assert bench.words[0][0] == last_row + 2
    given = bench.given[0][0]
    assert [n for n, busy in enumerate(bench.busy) if busy] == [*range(accepted + 1, given + 1)]


def test_contexts_settle_before_their_command():
    bench = Bench(4, 8, 4, contexts=4, settle=23, reuse=5, idle=0.7)
    tiles = bench.tiles(30)
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize("after", [11, 16, 23, 30, 37, 51])
def test_mid_run_reset(after):
    """Nothing of the tiles under way shows after a reset, and new ones start with context 0."""
    bench = Bench(4, 8, 4, settle=23, reuse=7, latency=(1, 3), idle=0.2, seed=after)
    lost, tiles = bench.tiles(12), bench.tiles(8)

    async def run(ctx):
        waiting = deque(lost)
        for cycle in range(after):
            ctx.set(bench.reset, cycle == after - 1)
            await bench.step(ctx, waiting, lost)
        ctx.set(bench.reset, 0)
        bench.clear()
        await bench.feed(ctx, tiles, 2000)

    bench.simulate(run)
    bench.check(tiles)


def test_the_pool_must_be_ready():
    bench = Bench(4, 4, 2, idle=0)
    original = bench.sample

    async def unready(ctx, *rest):
        ctx.set(bench.dut.pool.request.ready, 0)
        await original(ctx, *rest)

    bench.sample = unready
    with pytest.raises(AssertionError, match="The pool made the drain wait"):
        bench.run(bench.tiles(1))


def test_refusals():
    with pytest.raises(ValueError, match="Contexts must be a power of two from 2 up, not 12"):
        DrainControl(rows=4, contexts=12, settle=9, reuse=0)
    with pytest.raises(ValueError, match="Word must have at least the 64 bits of a channel's "
                                         "parameters, not 32"):
        ChannelBuffer(rows=4, tiles=4, pool_bits=8, word_bits=32)
    with pytest.raises(ValueError, match="Array latency must be at least 2 cycles, not 1"):
        Drain(rows=4, lanes=4, depth=2, contexts=4, pool_bits=8, array_latency=1, settle=9,
              reuse=0)
