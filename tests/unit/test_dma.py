"""The transfer engines: every word arrives, tokens tell the truth, and the ports never idle."""

import random
from collections import Counter, deque

import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator

from heddle.rtl.axi import Response
from heddle.rtl.dma import Load, Store
from heddle.rtl.isa import Opcode
from heddle.rtl.walker import Walker
from heddle.sim.responder import ReadResponder, WriteResponder
from heddle.sim.streams import plain, run_streams

BASE = 0x4000_1008  # a multiple of a word, not of a burst
POOL_LATENCY = 5

SIZES = {
    "tiny":   {"ports": 2, "address_bits": 32, "pool_bits": 10, "word_bytes": 8, "beat_bytes": 4,
               "burst_beats": 4, "outstanding": 4},
    "zcu102": {"ports": 4, "address_bits": 40, "pool_bits": 14, "word_bytes": 128,
               "beat_bytes": 16, "burst_beats": 16, "outstanding": 8},
    "single": {"ports": 1, "address_bits": 32, "pool_bits": 10, "word_bytes": 16,
               "beat_bytes": 16, "burst_beats": 1, "outstanding": 3},
}


def base(sizes):
    return BASE // 8 * sizes["word_bytes"]


def instruction(opcode=Opcode.LOAD, waits=(), posts=(), **fields):
    header = {"opcode": opcode}
    for name, entries in ("waits", waits), ("posts", posts):
        header[name] = [*({"token": t, "each": e} for t, e in entries), {}, {}, {}][:3]
    return {"header": header, "count": 1, "rows": 1, **fields}


def iterations(job):
    """Return (offset in DRAM, place in the pool, words) of each row of each iteration."""
    ring = job.get("ring") or 1 << 16
    return [[((job["dram"] + n * job.get("dram_stride", 0) + r * job.get("dram_row_stride", 0))
              % (1 << 32),
              (job["pool"] + n % ring * job.get("pool_stride", 0)
               + r * job.get("pool_row_stride", 0)) % (1 << 24), job["words"])
             for r in range(job["rows"])] for n in range(job["count"])]


def words(job, sizes):
    """Return (offset in DRAM, place in the pool) of each word of each iteration."""
    return [[(offset + w * sizes["word_bytes"], (pool + w) % (1 << sizes["pool_bits"]))
             for offset, pool, count in rows for w in range(count)] for rows in iterations(job)]


def random_job(rng, sizes, **options):
    """Return a job within 64 KB and 1,024 words whose iterations do not overlap in DRAM."""
    word = sizes["word_bytes"]
    count, rows, length = rng.choice([(1, 1, 40), (3, 2, 7), (7, 1, 1), (2, 5, 1), (4, 3, 4)])
    row_stride = length + rng.randrange(3)
    stride = rows * row_stride + rng.randrange(5)
    return instruction(
        dram=word * rng.randrange(1, 50), pool=rng.randrange(300), count=count, rows=rows,
        words=length, ring=rng.choice([0, 1, 2, 50]), dram_stride=word * stride,
        dram_row_stride=word * row_stride, pool_stride=rng.randrange(60),
        pool_row_stride=length + rng.randrange(3), **options)


class TokenModel:
    """Token counters that fill up at random; records what is given and when."""

    def __init__(self, port, supply, rng):
        self.port, self.supply, self.rng = port, supply, rng
        self.counts, self.given = Counter(), []
        self.on_give = lambda number, mask: None

    async def run(self, ctx):
        while True:
            shown = sum(1 << number for number, count in self.counts.items() if count)
            for number in self.supply:
                if self.supply[number] and self.rng.random() < 0.1:
                    self.supply[number] -= 1
                    self.counts[number] += 1
            # A token that was taken shows for one more cycle.
            ctx.set(self.port.available, shown)
            _, _, take, give = await ctx.tick().sample(self.port.take, self.port.give)
            for number in range(32):
                if take >> number & 1:
                    self.counts[number] -= 1
                    assert self.counts[number] >= 0, f"token {number} was taken twice"
            if give:
                self.on_give(len(self.given), give)
                self.given.append(give)


class Run:
    """An engine with memory, pool and tokens around it; ``run`` simulates until all is done."""

    def __init__(self, engine, sizes, jobs, *, idle=0.0, pool_idle=None, latency=(1, 1), seed=0,
                 pool_latency=POOL_LATENCY, response=lambda address: Response.OKAY, supply=None,
                 limit=5000):
        self.rng = random.Random(seed)
        self.sizes, self.jobs, self.queue, self.limit = sizes, jobs, deque(jobs), limit
        self.idle, self.pool_idle = idle, idle if pool_idle is None else pool_idle
        self.dram = bytearray(self.rng.randbytes(1 << 16 if sizes["word_bytes"] < 64 else 1 << 18))
        self.pool_latency = pool_latency
        self.pool = {n: self.rng.getrandbits(8 * sizes["word_bytes"]) for n in range(1024)}
        self.writes = Counter()
        self.retired, self.errors, self.beats, self.cycle = [], [], 0, 0
        self.load = engine is Load
        self.dut = engine(**sizes, **({} if self.load else {"latency": POOL_LATENCY}))
        self.reset = Signal()
        self.tokens = TokenModel(self.dut.tokens, dict(supply or {}), random.Random(seed))
        self.ports = [(ReadResponder if self.load else WriteResponder)(
            port=axi, memory=self.dram, base=base(sizes), response=response, idle=idle,
            burst_bytes=sizes["burst_beats"] * sizes["beat_bytes"], seed=seed + n,
            outstanding=sizes["outstanding"], latency=lambda rng: rng.randint(*latency))
            for n, axi in enumerate(self.dut.axi)]

    def word(self, offset):
        return int.from_bytes(self.dram[offset:offset + self.sizes["word_bytes"]], "little")

    async def pool_writes(self, ctx):
        request = self.dut.pool.request
        while True:
            ctx.set(request.ready, ready := self.rng.random() >= self.pool_idle)
            _, _, valid, write = await ctx.tick().sample(request.valid, request.p)
            if valid and ready:
                self.pool[write.addr] = write.data
                self.writes[write.addr, write.data] += 1

    async def pool_reads(self, ctx):
        pool = self.dut.pool
        flight = [None] * self.pool_latency
        while True:
            ctx.set(pool.request.ready, ready := self.rng.random() >= self.pool_idle)
            word = flight.pop(0)
            ctx.set(pool.valid, word is not None)
            ctx.set(pool.data, word or 0)
            _, _, valid, addr = await ctx.tick().sample(pool.request.valid, pool.request.p)
            flight.append(self.pool[addr % 1024] if valid and ready else None)

    async def instructions(self, ctx):
        while True:
            if self.queue:
                ctx.set(self.dut.i.payload, self.queue.popleft())
                ctx.set(self.dut.i.valid, 1)
                await ctx.tick().until(self.dut.i.ready)
                ctx.set(self.dut.i.valid, 0)
            else:
                await ctx.tick()

    async def watch(self, ctx):
        dut, taken, given = self.dut, 0, 0
        ctx.set(dut.base, base(self.sizes))
        while len(self.retired) < len(self.jobs):
            _, _, retired, busy, beats, error, take, give = await ctx.tick().sample(
                dut.retired, dut.busy, dut.beats, dut.error, dut.i.valid & dut.i.ready,
                dut.tokens.give.any())
            assert busy == (taken > len(self.retired))
            taken, given = taken + take, given + give
            self.beats += beats
            if retired:
                self.retired.append((self.cycle, given))
            if error.valid:
                self.errors.append(plain(error))
            self.cycle += 1
            assert self.cycle < self.limit, "the engine hangs"
        await ctx.tick()
        assert not ctx.get(dut.busy)
        assert ctx.get(dut.idle)

    def run(self, *benches, main=None):
        simulator = Simulator(ResetInserter(self.reset)(self.dut))
        simulator.add_clock(1e-6)
        simulator.add_testbench(main or self.watch)
        background = [self.pool_writes if self.load else self.pool_reads, self.instructions,
                      self.tokens.run, *(port.run for port in self.ports), *benches]
        for bench in background:
            simulator.add_testbench(bench, background=True)
        simulator.run()
        return self


# -- walker ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("name", SIZES)
def test_bursts_cover_the_rows_and_end_at_boundaries(name, idle):
    sizes = SIZES[name]
    word, span = sizes["word_bytes"], sizes["burst_beats"] * sizes["beat_bytes"]
    rng = random.Random(name)
    jobs = [random_job(rng, sizes, posts=[(9, 1), (10, 0)]) for _ in range(12)]
    dut = Walker(**{key: sizes[key] for key in ("address_bits", "pool_bits", "word_bytes")},
                 burst_words=span // word)

    async def place(ctx):
        ctx.set(dut.base, base(sizes))

    rows = [row for job in jobs for rows in iterations(job) for row in [*rows, None]]
    gives = iter([(1 << 9 | (n == job["count"] - 1) << 10, n == job["count"] - 1)
                  for job in jobs for n in range(job["count"])])
    wanted = []
    for row in rows:
        if row is None:
            wanted.append(next(gives))
            continue
        offset, pool, count = row
        while count:
            address = base(sizes) + offset
            part = min(count, (span - address % span) // word)
            wanted.append((address, pool % (1 << sizes["pool_bits"]), part - 1))
            offset, pool, count = offset + part * word, pool + part, count - part
    got = run_streams(dut, put={"i": jobs}, get={"o": len(wanted)}, idle=idle, also=[place],
                      limit=20_000)
    assert [(item["give"], item["retire"]) if item["end"]
            else (item["address"], item["pool"], item["words"]) for item in got["o"]] == wanted


def test_walker_makes_a_burst_a_cycle_of_long_rows_and_a_row_a_cycle_of_short_ones():
    dut = Walker(address_bits=32, pool_bits=10, word_bytes=8, burst_words=2)
    jobs = [instruction(dram=0, pool=0, words=200),
            instruction(dram=8, pool=0, rows=100, words=1, dram_row_stride=16)]
    cycles = run_streams(dut, put={"i": jobs}, get={"o": 202}).cycles["o"]
    assert cycles[99] - cycles[0] == 99
    assert cycles[200] - cycles[101] == 99
    assert cycles[101] - cycles[99] < 10


@pytest.mark.parametrize("field", ["count", "rows", "words"])
def test_an_empty_instruction_moves_nothing_and_gives_its_tokens_once(field):
    dut = Walker(address_bits=32, pool_bits=10, word_bytes=8, burst_words=2)
    job = instruction(posts=[(9, 1), (10, 0)], **{"dram": 0, "pool": 0, "count": 3, "rows": 2,
                                                  "words": 5, field: 0})
    got = run_streams(dut, put={"i": [job, job]}, get={"o": 2})
    for item in got["o"]:
        assert (item["end"], item["retire"], item["give"]) == (1, 1, 1 << 9 | 1 << 10)


def test_strides_may_go_backwards():
    sizes = SIZES["tiny"]
    job = instruction(dram=800, pool=20, count=3, rows=2, words=1, dram_stride=(1 << 32) - 80,
                      dram_row_stride=(1 << 32) - 8, pool_stride=(1 << 24) - 3, pool_row_stride=1)
    dut = Walker(address_bits=32, pool_bits=10, word_bytes=8, burst_words=2)
    got = run_streams(dut, put={"i": [job]}, get={"o": 9})
    assert [(i["address"], i["pool"]) for i in got["o"] if not i["end"]] == [
        (800, 20), (792, 21), (720, 17), (712, 18), (640, 14), (632, 15)]
    assert words(job, sizes)[2] == [(640, 14), (632, 15)]


# -- load and store --------------------------------------------------------------------------------

WAIT, EACH, LAST = 9, 10, 11
CASES = [("tiny", 0.0, 0.0, (1, 1)), ("tiny", 0.2, 0.0, (1, 60)), ("tiny", 0.4, 0.6, (1, 20)),
         ("zcu102", 0.2, 0.3, (1, 60)), ("single", 0.3, 0.5, (1, 20))]


def random_jobs(rng, sizes, count):
    """Jobs that take and give tokens and do not overlap in DRAM, as a store must not."""
    jobs = [random_job(rng, sizes, waits=[(WAIT, 1)], posts=[(EACH, 1), (LAST, 0)])
            for _ in range(count)]
    for n, job in enumerate(jobs):
        job["dram"] += n * 200 * sizes["word_bytes"]
    return jobs


def check_tokens_and_ends(run):
    assert run.tokens.given == [1 << EACH | (n == job["count"] - 1) << LAST
                                for job in run.jobs for n in range(job["count"])]
    assert run.beats == sum(len(port.beats) for port in run.ports)
    done = 0
    for job, (_, given) in zip(run.jobs, run.retired, strict=True):
        done += job["count"]
        assert given == done
    assert not run.errors


@pytest.mark.parametrize(("name", "idle", "pool_idle", "latency"), CASES)
def test_load_delivers_every_word_before_its_token(name, idle, pool_idle, latency):
    sizes = SIZES[name]
    jobs = random_jobs(random.Random(f"{name} {idle}"), sizes, 5)
    run = Run(Load, sizes, jobs, idle=idle, pool_idle=pool_idle, latency=latency,
              supply={WAIT: sum(job["count"] for job in jobs)})
    parts = [part for job in jobs for part in words(job, sizes)]
    wanted = Counter()

    def on_give(number, mask):
        wanted.update((pool, run.word(offset)) for offset, pool in parts[number])
        assert wanted <= run.writes

    run.tokens.on_give = on_give
    run.run()
    assert run.writes == wanted
    check_tokens_and_ends(run)


@pytest.mark.parametrize(("name", "idle", "pool_idle", "latency"), CASES)
def test_store_is_answered_for_every_word_before_its_token(name, idle, pool_idle, latency):
    sizes = SIZES[name]
    jobs = random_jobs(random.Random(f"{name} {idle}"), sizes, 5)
    run = Run(Store, sizes, jobs, idle=idle, pool_idle=pool_idle, latency=latency,
              supply={WAIT: sum(job["count"] for job in jobs)})
    parts = [part for job in jobs for part in words(job, sizes)]
    wanted = bytearray(run.dram)
    for part in parts:
        for offset, pool in part:
            wanted[offset:offset + sizes["word_bytes"]] = run.pool[pool % 1024].to_bytes(
                sizes["word_bytes"], "little")

    def on_give(number, mask):
        answered = {at for port in run.ports for burst in port.bursts if burst.answered is not None
                    for at in range(burst.address, burst.address + burst.beats * port.bytes)}
        assert {base(sizes) + offset for offset, _ in parts[number]} <= answered

    run.tokens.on_give = on_give
    run.run()
    assert run.dram == wanted
    check_tokens_and_ends(run)


def rate(run):
    """Return beats a cycle and port while all ports transfer."""
    first, last = max(p.beats[0] for p in run.ports), min(p.beats[-1] for p in run.ports)
    beats = sum(first <= cycle <= last for port in run.ports for cycle in port.beats)
    return beats / (last + 1 - first) / len(run.ports)


@pytest.mark.parametrize("engine", [Load, Store])
@pytest.mark.parametrize(("name", "latency", "length"), [("tiny", 4, 60), ("zcu102", 100, 150)])
def test_each_port_transfers_a_beat_a_cycle_across_iterations_and_instructions(
        engine, name, latency, length):
    sizes = SIZES[name]
    jobs = [instruction(dram=0, pool=0, count=2, words=length, posts=[(EACH, 1)],
                        dram_stride=length * sizes["word_bytes"])] * 2
    run = Run(engine, sizes, jobs, latency=(latency, latency)).run()
    assert rate(run) >= 0.97


def test_a_pool_slower_than_stated_only_costs_time():
    sizes = SIZES["tiny"]
    run = Run(Store, sizes, [instruction(dram=0, pool=0, words=100)],
              pool_latency=8 * POOL_LATENCY).run()
    assert [run.word(8 * n) for n in range(100)] == [run.pool[n] for n in range(100)]


def test_a_slow_port_gets_fewer_bursts():
    sizes = SIZES["tiny"]
    run = Run(Load, sizes, [instruction(dram=0, pool=0, words=200)])
    run.ports[0].idle = 0.8
    run.run()
    slow, fast = (len(port.bursts) for port in run.ports)
    assert slow < fast / 2
    assert run.cycle < 400  # in equal shares: over 1000


@pytest.mark.parametrize("engine", [Load, Store])
def test_error_responses_are_reported_with_their_burst_and_the_engine_runs_on(engine):
    sizes = SIZES["tiny"]
    first, end = base(sizes) + 200, base(sizes) + 300
    run = Run(engine, sizes, [instruction(dram=0, pool=0, words=80, posts=[(EACH, 0)])] * 2,
              idle=0.3, response=lambda address: (Response.DECERR if first <= address < end
                                                  else Response.EXOKAY))
    run.tokens.on_give = lambda number, mask: [] if run.errors else pytest.fail("given too early")
    run.run()
    failed = {(n, burst.address) for n, port in enumerate(run.ports) for burst in port.bursts
              if burst.response is Response.DECERR}
    assert len(failed) > 5
    assert {(error["port"], error["address"]) for error in run.errors} <= failed
    assert {error["response"] for error in run.errors} == {Response.DECERR}
    # Ports that fail in the same cycle share a report.
    assert len(run.errors) > len(failed) / 2


@pytest.mark.parametrize("engine", [Load, Store])
@pytest.mark.parametrize(("cycle", "pool_idle"), [(20, 0), (45, 0.3), (60, 0.9)])
def test_after_stop_and_idle_a_reset_clears_everything(engine, cycle, pool_idle):
    sizes = SIZES["tiny"]
    run = Run(engine, sizes, [instruction(dram=0, pool=0, words=500)], idle=0.2,
              pool_idle=pool_idle, latency=(5, 30))

    async def main(ctx):
        dut = run.dut
        ctx.set(dut.base, base(sizes))
        await ctx.tick().repeat(cycle)
        ctx.set(dut.stop, 1)
        await ctx.tick().until(dut.idle)
        bursts = [len(port.bursts) for port in run.ports]
        assert 0 < sum(bursts) < 80
        for _ in range(30):
            assert ctx.get(dut.idle)
            assert not any(port.in_flight for port in run.ports)
            await ctx.tick()
        assert [len(port.bursts) for port in run.ports] == bursts
        ctx.set(run.reset, 1)
        await ctx.tick().repeat(POOL_LATENCY + 1)
        ctx.set(run.reset, 0)
        ctx.set(dut.stop, 0)
        run.jobs = [instruction(dram=8, pool=4, words=40, posts=[(EACH, 0)])]
        run.queue.extend(run.jobs)
        run.writes.clear()
        await run.watch(ctx)

    run.run(main=main)
    assert run.tokens.given == [1 << EACH]
    if engine is Load:
        assert run.writes == Counter((4 + n, run.word(8 + 8 * n)) for n in range(40))
    else:
        assert [run.word(8 + 8 * n) for n in range(40)] == [run.pool[4 + n] for n in range(40)]


@pytest.mark.parametrize("name", ["tiny", "zcu102"])
def test_the_program_is_read_beside_the_data(name):
    sizes = SIZES[name]
    rng = random.Random(name)
    beat = sizes["beat_bytes"]
    bursts = [(base(sizes) // 4096 * 4096 + 8192 + n * sizes["burst_beats"] * beat,
               rng.randint(1, sizes["burst_beats"])) for n in range(12)]
    run = Run(Load, sizes, [instruction(dram=0, pool=0, words=120)], idle=0.2, pool_idle=0.3,
              latency=(1, 20))
    got = []

    async def request(ctx):
        fetch = run.dut.fetch
        for address, beats in bursts:
            ctx.set(fetch.payload, {"address": address, "beats": beats - 1})
            ctx.set(fetch.valid, 1)
            await ctx.tick().until(fetch.ready)
            ctx.set(fetch.valid, 0)
            await ctx.tick().repeat(rng.randint(1, 8))

    async def collect(ctx):
        fetched = run.dut.fetched
        ctx.set(fetched.ready, 1)
        while True:
            _, _, valid, word = await ctx.tick().sample(fetched.valid, fetched.payload)
            if valid:
                got.append(word)

    run.run(request, collect)
    assert run.writes == Counter((n, run.word(n * sizes["word_bytes"])) for n in range(120))
    wanted = [int.from_bytes(run.dram[at:at + beat], "little") for address, beats in bursts
              for at in range(address - base(sizes), address - base(sizes) + beats * beat, beat)]
    assert got == wanted


def test_no_burst_waits_behind_the_program():
    """While the program keeps its port busy, the others take all there is to load."""
    sizes, latency = SIZES["tiny"], 60
    run = Run(Load, sizes, [instruction(dram=0, pool=0, words=40)], latency=(latency, latency))
    program = base(sizes) // 4096 * 4096 + 8192

    async def request(ctx):
        fetch = run.dut.fetch
        ctx.set(run.dut.fetched.ready, 1)
        ctx.set(fetch.payload, {"address": program, "beats": sizes["burst_beats"] - 1})
        ctx.set(fetch.valid, 1)

    async def watch(ctx):
        ctx.set(run.dut.base, base(sizes))
        while not ctx.get(run.dut.retired):
            await ctx.tick()
            run.cycle += 1
            assert run.cycle < run.limit

    run.run(request, main=watch)
    loads = [[burst for burst in port.bursts if burst.address < program] for port in run.ports]
    assert len(loads[0]) <= 1  # dealt before the first of the program came
    rounds = -(-sum(map(len, loads)) // sizes["outstanding"])
    assert run.cycle < (rounds + 1) * (latency + 20)
