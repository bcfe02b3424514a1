# amaranth: UnusedElaboratable=no
"""The drain with a behavioural array, softmax and pool, against the golden model."""

import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Cat, ResetInserter, Signal, Value
from amaranth.sim import Simulator

from heddle.rtl.channels import ChannelBuffer, MaskBuffer
from heddle.rtl.drain import Drain, Route
from heddle.rtl.isa import Activation, Layout
from heddle.rtl.lanes import Lanes
from heddle.rtl.requantiser import FACTOR_ROUND, FACTOR_SHIFT
from heddle.rtl.rowbuffer import RowBuffer
from heddle.sim import golden, layouts

SIZES = [(4, 4, 2), (4, 8, 4), (8, 16, 8), (4, 8, 2), (4, 16, 4), (8, 8, 8), (8, 8, 1)]
MIXED = [((4, 4, 2), 1), ((4, 4, 2), 2), ((4, 8, 4), 1), ((4, 8, 4), 2), ((8, 16, 8), 1),
         ((8, 16, 8), 2)]
POOL_BITS = 12


def scale_by_factor(acc, multiplier, shift):
    """Return a tile of accumulators scaled by the factor of each lane."""
    product = (acc + FACTOR_ROUND >> FACTOR_SHIFT) * multiplier
    return np.clip(((product - (product < 0)) >> shift) + 1 >> 1, -127, 127).astype(np.int8)


class Tile:
    """A tile with random contents and where it should go."""

    def __init__(self, rng, sizes, route=Route.REQUANTISE, layout=Layout.VECTORS, *, masked=False,
                 begin=False, end=False, job=0, block=0, give=0, activation=Activation.NONE):
        rows, lanes, depth = sizes
        self.rng = rng
        self.route, self.masked, self.end, self.job, self.block = route, masked, end, job, block
        self.acc = rng.integers(-20000, 20000, (rows, lanes))
        self.fetched = []  # words with parameters
        self.payload = {name: int(rng.integers(0, 1 << bits)) for name, bits in (
            ("c", POOL_BITS), ("part_stride", POOL_BITS), ("channels", POOL_BITS - 1),
            ("multiplier", 17), ("multiplier_shift", 2), ("gain", 17), ("gain_shift", 6))}
        self.payload |= {"route": int(route), "masked": masked, "begin": begin, "end": end,
                         "layout": int(layout), "give": give, "activation": int(activation)}
        self.written, self.mask = [], (1 << rows * lanes) - 1
        if route == Route.SOFTMAX:
            if masked:
                word = rng.bytes(depth * rows)
                self.fetched = [word]
                self.mask &= int.from_bytes(word, "little")
            return
        if route == Route.REQUANTISE:
            shift = 18 if activation == Activation.NONE else 11
            channels = (rng.integers(-1000, 1000, rows), rng.integers(0, 1 << 17, rows),
                        rng.integers(shift, shift + 8, rows), rng.integers(0, 16, rows))
            self.fetched = [word.tobytes() for word
                            in layouts.pack_channels(*channels).reshape(-1, depth * rows)]
            values = golden.requantise(self.acc, *channels, activation)
        else:
            rng = np.random.default_rng(job)  # the same factors for each tile of the job
            self.factor = rng.integers(1 << 16, 1 << 17, lanes), rng.integers(17, 26, lanes)
            values = scale_by_factor(self.acc, *self.factor)
        words = layouts.lay_tile(values, layout, depth)
        addresses = layouts.tile_addresses(self.payload["c"], self.payload["part_stride"], layout,
                                           rows, lanes, depth)
        self.written = [(int(address) % (1 << POOL_BITS), word.tobytes())
                        for address, word in zip(addresses, words, strict=True)]


class Bench:
    """Feeds tiles to a drain, plays the rest of the world, and records what happens when.

    Outputs take contexts in the upper half, a quarter by turns; all other tiles take a ring.
    """

    def __init__(self, rows, lanes, depth, *, contexts=16, ring=None, softmax_rows=1, jobs=32,
                 array_latency=None, settle=9, reuse=0, end_distance=1, latency=(3, 10),
                 softmax_latency=(12, 60), idle=0.3, seed=0):
        self.sizes = rows, lanes, depth
        self.contexts, self.ring = contexts, ring or contexts
        self.softmax_rows = softmax_rows
        self.settle, self.reuse, self.end_distance = settle, reuse, end_distance
        self.latency, self.softmax_latency = latency, softmax_latency
        self.idle = idle
        self.rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.array_latency = array_latency or rows // 2
        self.dut = Drain(rows=rows, lanes=lanes, depth=depth, contexts=contexts,
                         softmax_rows=softmax_rows, pool_bits=POOL_BITS,
                         array_latency=self.array_latency, settle=settle, reuse=reuse, jobs=jobs,
                         end_distance=end_distance)
        self.reset = Signal()
        self.cycle = 0
        # What comes at row and lane of the array's output, and as factors of a lane.
        self.ports = {(row, lane): self.dut.i[row][lane]
                      for row in range(2) for lane in range(lanes)}
        self.ports |= {("factor", lane): Value.cast(self.dut.factors[lane])
                       for lane in range(lanes)}
        self.inputs = {}  # (cycle, *port): value
        self.shown = {}
        self.scores = []
        self.clear()

    def clear(self):
        self.accepted, self.commands, self.freed, self.emptied = [], [], [], []
        self.words, self.given, self.busy, self.started = [], [], [], []
        self.factor_cycles = []
        self.held = {}  # context: tile, until it may be overwritten
        self.left, self.taken = deque(), 0
        self.asked = 0
        self.reads = deque()  # (cycle of the answer, word)

    def tiles(self, count, layouts=tuple(Layout)):
        return [Tile(self.rng, self.sizes, layout=layouts[n % len(layouts)], give=1 << n % 31,
                     activation=self.random.choice(list(Activation))) for n in range(count)]

    def mix(self, jobs, *, others=0.2, masked=0.5, ahead=100):
        """Return tiles of attention jobs and, between them, others.

        Scores of ``ahead`` jobs at most come before the outputs of an earlier one are out.
        """
        choose = self.random
        waiting, tiles, running, made = deque(), [], 0, 0
        while made < jobs or waiting:
            if choose.random() < others:
                tiles += self.tiles(1, (choose.choice(list(Layout)),))
            elif waiting and (made == jobs or running == ahead or choose.random() < 0.6):
                tiles.append(waiting.popleft())
                running -= tiles[-1].end
            elif made < jobs and running < ahead:
                count, blocks = choose.randint(1, 4), choose.randint(1, self.contexts // 4)
                tiles += [Tile(self.rng, self.sizes, Route.SOFTMAX, begin=n == 0,
                               end=n == count - 1, job=made, masked=choose.random() < masked)
                          for n in range(count)]
                waiting += [Tile(self.rng, self.sizes, Route.FACTOR, choose.choice(list(Layout)),
                                 begin=n == 0, end=n == blocks - 1, job=made, block=n)
                            for n in range(blocks)]
                made, running = made + 1, running + 1
        for n, tile in enumerate(tile for tile in tiles if tile.written):
            tile.payload["give"] = 1 << n % 31
        return tiles

    def simulate(self, bench):
        simulator = Simulator(ResetInserter(self.reset)(self.dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()

    def run(self, tiles, limit=8000):
        async def bench(ctx):
            await self.feed(ctx, tiles, limit)
        self.simulate(bench)

    async def feed(self, ctx, tiles, limit):
        """Offer the tiles as contexts become free; return when all are gone and all is quiet."""
        waiting = deque(tiles)
        end = self.cycle + limit
        self.fetched = [(tile.payload["channels"] + n, word)
                        for tile in tiles for n, word in enumerate(tile.fetched)]
        while len(self.commands) < len(tiles) or self.busy[-1]:
            assert self.cycle < end, f"{len(waiting)} of {len(tiles)} wait after {limit} cycles"
            await self.step(ctx, waiting)
        for _ in range(20):
            await self.step(ctx, waiting)

    def context(self, tile):
        if tile.route == Route.FACTOR:
            return self.contexts // 2 + tile.job % 2 * (self.contexts // 4) + tile.block
        return self.taken % self.ring

    def precedes_scores(self, tile):
        """Tell whether the tile may not come yet, as there are scores that have not left."""
        return tile.route == Route.REQUANTISE and len(self.of(Route.SOFTMAX)) < sum(
            accepted.route == Route.SOFTMAX for _, accepted in self.accepted)

    def of(self, *routes):
        """Return the cycles in which tiles with these routes were commanded."""
        return [cycle for cycle, tile in self.commands if tile.route in routes]

    async def step(self, ctx, waiting):
        dut, now = self.dut, self.cycle
        offered = waiting[0] if waiting and self.random.random() >= self.idle else None
        if offered and (self.context(offered) in self.held or self.precedes_scores(offered)):
            offered = None
        ctx.set(dut.tiles.valid, offered is not None)
        if offered:
            ctx.set(dut.tiles.p, offered.payload | {"context": self.context(offered)})
        for place, port in self.ports.items():
            value = self.inputs.pop((now, *place), 0x2BAD)
            if self.shown.get(place) != value:
                ctx.set(port, value)
                self.shown[place] = value
        ctx.set(dut.factor_valid, now in self.factor_cycles)
        answer = self.reads.popleft()[1] if self.reads and self.reads[0][0] <= now else None
        ctx.set(dut.params.valid, answer is not None)
        ctx.set(dut.params.data, answer if answer is not None else 0x2BAD)
        ctx.set(dut.params.request.ready, self.random.random() >= self.idle)
        ctx.set(dut.pool.request.ready, 1)
        await self.sample(ctx, offered, waiting)
        self.cycle += 1

    async def sample(self, ctx, offered, waiting):
        dut, now = self.dut, self.cycle
        signals = {name: port for name, port in (
            ("taken", dut.tiles.ready), ("asked", dut.params.request.valid),
            ("addr", dut.params.request.p), ("granted", dut.params.request.ready),
            ("command", dut.command.valid), ("context", dut.command.context),
            ("freed", dut.freed), ("emptied", dut.emptied), ("wrote", dut.pool.request.valid),
            ("word_addr", dut.pool.request.p.addr), ("word", dut.pool.request.p.data),
            ("give", dut.give), ("busy", dut.busy), ("start", dut.softmax_start),
            ("tile", dut.softmax_tile), ("mask", dut.softmax_mask),
            ("scores", Cat(dut.scores)))}
        values = await ctx.tick().sample(*signals.values())
        got = dict(zip(signals, values[2:], strict=True))
        assert got["taken"], "the drain must be ready as long as contexts are free"
        if offered:
            self.held[self.context(offered)] = waiting.popleft()
            self.taken += offered.route != Route.FACTOR
            self.accepted.append((now, offered))
        if got["asked"] and got["granted"]:
            self.answer(got["addr"])
        if got["command"]:
            self.leave(self.held[got["context"]])
        if got["freed"]:
            self.freed.append(now)
            self.free(lambda tile: tile.route != Route.FACTOR, lambda tile: True)
        if got["emptied"]:
            self.emptied.append(now)
            self.free(lambda tile: tile.route == Route.FACTOR, lambda tile: tile.end)
        if got["wrote"]:
            size = len(dut.pool.request.p.data) // 8
            self.words.append((now, got["word_addr"], got["word"].to_bytes(size, "little")))
        if got["give"]:
            self.given.append((now, got["give"]))
        if got["start"]:
            self.started.append((now, got["tile"], got["mask"]))
        self.scores.append(got["scores"])
        self.busy.append(got["busy"])

    def answer(self, addr):
        """Check what is read, in order, and send it later."""
        expected, word = self.fetched[self.asked]
        assert addr == expected
        self.asked += 1
        earliest = self.reads[-1][0] + 1 if self.reads else 0
        self.reads.append((max(earliest, self.cycle + self.random.randint(*self.latency)),
                           int.from_bytes(word, "little")))

    def leave(self, tile):
        """Send the rows of a tile from the array, and the factors that the softmax makes of it."""
        self.commands.append((self.cycle, tile))
        start = self.cycle + self.array_latency
        for (row, lane), value in np.ndenumerate(tile.acc):
            place = start + row // 2 + lane // 2, row % 2, lane
            assert place not in self.inputs, "two tiles leave the array at once"
            self.inputs[place] = int(value)
        if tile.route == Route.SOFTMAX and tile.end:
            arrival = self.random.randint(*self.softmax_latency) + max(
                [start, *self.factor_cycles[-1:]])
            self.factor_cycles.append(arrival)
            multiplier, shift = Tile(self.rng, self.sizes, Route.FACTOR, job=tile.job).factor
            for lane in range(len(multiplier)):
                self.inputs[arrival + lane // 2, "factor", lane] = int(
                    multiplier[lane] | shift[lane] << 17)
        self.left.append(tile)

    def free(self, member, last):
        """Free the contexts of the oldest of these tiles that left, up to one that is last."""
        for tile in [tile for tile in self.left if member(tile)]:
            self.left.remove(tile)
            self.held = {context: held for context, held in self.held.items() if held is not tile}
            if last(tile):
                return

    def check(self, tiles):
        """Everything arrived, in order and in time, its tokens one cycle after the last word."""
        # Scores may leave before outputs, and nothing else before what came earlier.
        for left_out in (Route.SOFTMAX, Route.FACTOR):
            assert [tile for _, tile in self.commands if tile.route != left_out] == [
                tile for tile in tiles if tile.route != left_out]
        accepted = {tile: cycle for cycle, tile in self.accepted}
        assert all(command - accepted[tile] >= self.settle for command, tile in self.commands)
        assert self.freed == [command + self.reuse for command, tile in self.commands
                              if tile.route != Route.FACTOR]
        assert self.emptied == [command + self.reuse for command, tile in self.commands
                                if tile.route == Route.FACTOR and tile.end]
        written = [tile for tile in tiles if tile.written]
        assert [word[1:] for word in self.words] == [w for tile in written for w in tile.written]
        if written:
            per_tile = len(written[0].written)
            ends = [word[0] for word in self.words[per_tile - 1::per_tile]]
            assert self.given == [(end + 1, tile.payload["give"])
                                  for end, tile in zip(ends, written, strict=True)]
        self.check_scores()

    def check_scores(self):
        lanes = self.sizes[1]
        scored = [(command, tile) for command, tile in self.commands
                  if tile.route == Route.SOFTMAX]
        assert [start for start, _, _ in self.started] == [
            command + self.dut.softmax_latency for command, _ in scored]
        ends = [command for command, tile in scored if tile.end]
        assert all(np.diff(ends) >= self.end_distance)
        for (start, told, mask), (_, tile) in zip(self.started, scored, strict=True):
            assert mask == tile.mask
            assert all(told[name] == tile.payload[name] for name in told.shape().members)
            for (row, lane), value in np.ndenumerate(tile.acc):
                place = (row % self.softmax_rows * lanes + lane) * 32
                values = self.scores[start + row // self.softmax_rows + lane // 2]
                assert values >> place & 0xFFFFFFFF == int(value) & 0xFFFFFFFF


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sizes", SIZES)
def test_random_stalls(sizes, seed):
    bench = Bench(*sizes, contexts=(4, 16)[seed], array_latency=sizes[0] // 2 + 3 * seed,
                  seed=seed)
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
    assert set(np.diff([cycle for cycle, _ in bench.commands])) == {sizes[0]}
    assert set(np.diff([cycle for cycle, _ in bench.given])) == {sizes[0]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sizes", "softmax_rows"), MIXED)
def test_random_mix(sizes, softmax_rows, seed):
    contexts, jobs = ((8, 32), (16, 4), (4, 8))[seed]
    bench = Bench(*sizes, contexts=contexts, ring=contexts // 2, jobs=jobs, seed=seed, reuse=seed,
                  softmax_rows=softmax_rows, array_latency=sizes[0] // 2 + seed,
                  latency=((3, 10), (1, 1), (1, 40))[seed], settle=(9, 0, 23)[seed],
                  end_distance=(1, 40, 23)[seed])
    tiles = bench.mix(8, ahead=jobs - 2)  # scores may overtake the outputs of two jobs
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("sizes", "softmax_rows"), MIXED)
def test_a_mix_leaves_as_soon_as_it_can(sizes, softmax_rows, seed):
    """Each tile takes ``rows / 2`` cycles of the array, unless its own path is slower."""
    rows = sizes[0]
    bench = Bench(*sizes, contexts=32, ring=16, softmax_rows=softmax_rows, idle=0, seed=seed,
                  latency=(Drain.READ_LATENCY,) * 2, softmax_latency=(10, 10))
    # Channels of shallow words take all the cycles of a tile, which leaves none for masks.
    tiles = bench.tiles(1) + bench.mix(12, masked=0 if sizes[2] == 2 else 0.5)
    bench.run(tiles)
    bench.check(tiles)
    accepted = {tile: cycle for cycle, tile in bench.accepted}
    array, lanes, softmax, products = 0, 0, 0, 0
    for command, tile in bench.commands:
        fetch = Drain.READ_LATENCY + 7 + len(tile.fetched) if tile.fetched else bench.settle
        ready = accepted[tile] + fetch
        if tile.route == Route.SOFTMAX:
            ready = max(ready, products + 1)
            # The tile before took no time in which these scores could leave if they were ready.
            assert softmax_rows == 2 or ready > array - rows // 2 or softmax >= array
            earliest = max(ready, softmax)
            softmax = command + rows // softmax_rows
        else:
            factors = bench.factor_cycles[tile.job] + 2 if tile.route == Route.FACTOR else 0
            earliest = max(ready, lanes, factors)
            # With two rows a cycle it is the scores that wait.
            assert softmax_rows == 1 or earliest > array - rows // 2 or lanes == array + rows // 2
            lanes = command + rows
            products = command if tile.route == Route.REQUANTISE else products
        assert command <= max(earliest, array)
        array = command + rows // 2


@pytest.mark.parametrize("softmax_rows", [1, 2])
def test_scores_and_outputs_share_the_array(softmax_rows):
    """Scores leave at the rate of the softmax and outputs in the time that remains.

    If there is none, they take turns from when the factors are there.
    """
    rows, blocks = 8, 8
    bench = Bench(rows, 16, 8, contexts=4 * blocks, ring=2 * blocks, softmax_rows=softmax_rows,
                  idle=0, latency=(Drain.READ_LATENCY,) * 2, softmax_latency=(20, 20))
    tiles = [Tile(bench.rng, bench.sizes, Route.SOFTMAX, begin=True, end=True)]
    for n in range(blocks):
        tiles += [Tile(bench.rng, bench.sizes, Route.FACTOR, end=n == blocks - 1, block=n, give=1),
                  *(Tile(bench.rng, bench.sizes, Route.SOFTMAX, job=1) for _ in range(2))]
    bench.run(tiles)
    bench.check(tiles)
    scores, outputs = bench.of(Route.SOFTMAX), bench.of(Route.FACTOR)
    assert set(np.diff(outputs)) == {rows}
    ready = bench.factor_cycles[0] + 2
    if softmax_rows == 1:
        assert set(np.diff(scores)) == {rows}
        assert outputs[0] == next(s for s in scores if s + rows // 2 >= ready) + rows // 2
    else:
        assert ready <= outputs[0] <= ready + rows // 2
        together = sorted(scores + [output for output in outputs if output < scores[-1]])
        assert set(np.diff(together)) == {rows // 2}
        assert len(together) > len(scores) + blocks // 4


@pytest.mark.parametrize("softmax_rows", [1, 2])
def test_scores_wait_for_earlier_products(softmax_rows):
    """Contexts of the ring are freed in order, even if scores are there before parameters."""
    bench = Bench(4, 8, 4, softmax_rows=softmax_rows, idle=0, latency=(100, 100))
    tiles = bench.tiles(3)
    tiles += [Tile(bench.rng, bench.sizes, Route.SOFTMAX) for _ in range(3)]
    bench.run(tiles)
    bench.check(tiles)
    assert bench.of(Route.SOFTMAX)[0] == bench.of(Route.REQUANTISE)[-1] + 2


def test_ends_of_jobs_keep_their_distance():
    bench = Bench(4, 8, 4, idle=0, end_distance=23, settle=60)
    tiles = [Tile(bench.rng, bench.sizes, Route.SOFTMAX, begin=end, end=end)
             for end in (True, False, True, True, False, False)]
    bench.run(tiles)
    bench.check(tiles)
    assert np.diff(bench.of(Route.SOFTMAX)).tolist() == [4, 19, 23, 4, 4]


@pytest.mark.parametrize("route", [Route.REQUANTISE, Route.SOFTMAX])
def test_parameters_wait_for_room(route):
    """More tiles wait than the buffers hold the parameters of."""
    bench = Bench(8, 16, 8, contexts=64, settle=150, latency=(1, 1), idle=0)
    tiles = [Tile(bench.rng, bench.sizes, route, masked=True, give=1) for _ in range(80)]
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("softmax_rows", [1, 2])
def test_timing_of_scores(softmax_rows, masked):
    bench = Bench(4, 8, 4, settle=12, array_latency=1, latency=(1, 1), idle=0,
                  softmax_rows=softmax_rows)
    tiles = [Tile(bench.rng, bench.sizes, Route.SOFTMAX, masked=masked)]
    bench.run(tiles)
    bench.check(tiles)
    accepted, command, start = bench.accepted[0][0], bench.commands[0][0], bench.started[0][0]
    assert command == accepted + bench.settle
    assert start == command + 1 + (0 if softmax_rows == 2 else RowBuffer.LATENCY)
    assert [n for n, busy in enumerate(bench.busy) if busy] == [*range(accepted + 1, start + 1)]


def test_outputs_wait_for_their_factors():
    bench = Bench(4, 8, 4, contexts=8, ring=4, idle=0, softmax_latency=(200, 200))
    tiles = [Tile(bench.rng, bench.sizes, Route.SOFTMAX, begin=True, end=True),
             *(Tile(bench.rng, bench.sizes, Route.FACTOR, end=n == 1, block=n, give=1 << n)
               for n in range(2))]
    bench.run(tiles)
    bench.check(tiles)
    assert [command - bench.factor_cycles[0] for command in bench.of(Route.FACTOR)] == [2, 6]


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


@pytest.mark.parametrize(("settle", "reuse", "array_latency"), [(0, 0, 1), (2, 1, 4), (40, 7, 9)])
def test_timing_of_one_tile(settle, reuse, array_latency):
    rows, lanes, depth = 4, 8, 4
    bench = Bench(rows, lanes, depth, settle=settle, reuse=reuse, array_latency=array_latency,
                  latency=(1, 1), idle=0)
    tiles = bench.tiles(1)
    bench.run(tiles)
    bench.check(tiles)
    accepted, command = bench.accepted[0][0], bench.commands[0][0]
    assert command == accepted + settle if settle == 40 else command >= accepted + settle
    last_row = command + array_latency + RowBuffer.LATENCY + Lanes(lanes, 2).latency + rows - 1
    assert bench.words[0][0] == last_row + 2 == command + bench.dut.pool_latency
    given = bench.given[0][0]
    assert [n for n, busy in enumerate(bench.busy) if busy] == [*range(accepted + 1, given + 1)]


def test_contexts_settle_before_their_command():
    bench = Bench(4, 8, 4, contexts=4, settle=23, reuse=5, idle=0.7)
    tiles = bench.tiles(30)
    bench.run(tiles)
    bench.check(tiles)


@pytest.mark.parametrize("after", [11, 16, 23, 30, 37, 51, 90, 130])
def test_mid_run_reset(after):
    """Nothing of the tiles under way shows after a reset, and new ones find all as at first."""
    bench = Bench(4, 8, 4, ring=8, settle=23, reuse=7, latency=(1, 3), softmax_latency=(10, 20),
                  idle=0.2, seed=after)
    lost, tiles = bench.mix(5), bench.mix(3)

    async def run(ctx):
        waiting = deque(lost)
        bench.fetched = [(tile.payload["channels"] + n, word)
                         for tile in lost for n, word in enumerate(tile.fetched)]
        for cycle in range(after):
            ctx.set(bench.reset, cycle == after - 1)
            await bench.step(ctx, waiting)
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
    sizes = {"rows": 4, "lanes": 4, "depth": 2, "contexts": 4, "pool_bits": 8, "settle": 9,
             "reuse": 0}
    with pytest.raises(ValueError, match="Word must have at least the 64 bits of a channel's "
                                         "parameters, not 32"):
        ChannelBuffer(rows=4, tiles=4, word_bits=32)
    with pytest.raises(ValueError, match="Word must have at least the 256 bits of a tile's mask, "
                                         "not 128"):
        MaskBuffer(bits=256, masks=4, word_bits=128)
    with pytest.raises(ValueError, match="Array latency must be at least 1 cycle, not 0"):
        Drain(**sizes, array_latency=0)
    with pytest.raises(ValueError, match="Rows a cycle to the softmax must be 1 or 2, not 4"):
        Drain(**sizes, array_latency=2, softmax_rows=4)
