"""ATTEND on the compute engine: segments, slots, contexts, tokens, and steps without bubbles."""

import random

import pytest

from heddle.rtl.compute import Compute
from heddle.rtl.drain import Route
from heddle.rtl.isa import Layout, Opcode, Queue, instruction_layout, raw_layout, token
from heddle.rtl.list_loader import entry_layout
from heddle.sim.streams import run_streams

WAIT = token(Queue.FILL, Queue.COMPUTE)
LATE = token(Queue.LOAD, Queue.COMPUTE, 1)
POST = token(Queue.COMPUTE, Queue.STORE)
SLOTS, CONTEXTS, TILE_STEPS, DISTANCE = 16, 32, 2, 4

DEFAULTS = {
    "k": 100, "k_stride": 9, "k_head_stride": 400, "v": 2000, "v_stride": 2, "v_block_stride": 50,
    "v_head_stride": 300, "q": 10, "q_head_stride": 20, "group": 1, "jobs": 1, "tiles": 5,
    "steps": 8, "blocks": 4, "mask": 3000, "mask_stride": 1, "masked": 1, "c": 500, "c_stride": 6,
    "c_part_stride": 3, "c_head_stride": 40, "layout": Layout.BLOCKS, "multiplier": 70000,
    "shift": 2, "gain": 90000, "gain_shift": 33, "begin": 1, "end": 1,
}


def instruction(opcode, *, late=False, **fields):
    header = {"opcode": opcode, "waits": [{"token": WAIT}, {"token": LATE * late, "each": 1}, {}],
              "posts": [{"token": POST}, {}, {}]}
    return instruction_layout(opcode).const({"header": header, **fields})


def raw(const):
    return raw_layout.from_bits(const.as_bits())


def attend(**fields):
    return DEFAULTS | fields


def scores_of(runs):
    """Return what the segments of scores must have, in order."""
    wanted = []
    for run in runs:
        for job in range(run["jobs"]):
            for tile in range(run["tiles"]):
                wanted.append({
                    "a": run["k"] + job // run["group"] * run["k_head_stride"]
                         + tile * run["k_stride"],
                    "b": run["q"] + job * run["q_head_stride"], "steps": run["steps"],
                    "context": len(wanted) % (CONTEXTS // 2), "fresh": 1, "accumulate": 0,
                    "probability": 0, "release": 0, "give": 0, "drain": 1, "route": Route.SOFTMAX,
                    "masked": run["masked"], "begin": run["begin"] and tile == 0,
                    "end": run["end"] and tile == run["tiles"] - 1,
                    "channels": run["mask"] + tile * run["mask_stride"],
                    "multiplier": run["multiplier"], "multiplier_shift": run["shift"],
                    "gain": run["gain"], "gain_shift": run["gain_shift"],
                })
    return wanted


def outputs_of(runs):
    """Return what the segments of outputs must have, in order."""
    wanted, half, slot = [], 0, 0
    for run in runs:
        for job in range(run["jobs"]):
            for tile in range(run["tiles"]):
                last_tile = tile == run["tiles"] - 1
                for block in range(run["blocks"]):
                    last_block = block == run["blocks"] - 1
                    wanted.append({
                        "a": run["v"] + job // run["group"] * run["v_head_stride"]
                             + block * run["v_block_stride"] + tile * run["v_stride"],
                        "b": slot % SLOTS * TILE_STEPS, "steps": TILE_STEPS,
                        "context": CONTEXTS // 2 + half * CONTEXTS // 4 + block, "fresh": 0,
                        "accumulate": not (run["begin"] and tile == 0), "probability": 1,
                        "release": last_block, "drain": run["end"] and last_tile,
                        "route": Route.FACTOR, "end": run["end"] and last_tile and last_block,
                        "c": run["c"] + job * run["c_head_stride"] + block * run["c_stride"],
                        "part_stride": run["c_part_stride"], "layout": run["layout"],
                        "give": (1 << POST) * (job == run["jobs"] - 1 and last_tile and last_block),
                    })
                slot += 1
            half ^= run["end"]
    return wanted


class Environment:
    """The array, the drain and the softmax as the engine sees them; checks what it may rely on."""

    def __init__(self, *, ready_after=lambda: 60, ready_every=1, drain_after=20, factor_after=50,
                 tokens=1.0, late_from=0, seed=0):
        self.dut = Compute(pool_bits=14, step_bits=9, contexts=CONTEXTS, slots=SLOTS,
                           tile_steps=TILE_STEPS, distance=DISTANCE,
                           entry=entry_layout(rows=4, depth=2, steps=16, candidates=1),
                           channel_words=1)
        self.ready_after, self.ready_every = ready_after, ready_every
        self.drain_after, self.factor_after = drain_after, factor_after
        self.tokens = tokens
        self.late_from = late_from
        self.rng = random.Random(seed)
        self.steps, self.segments, self.taken, self.taken_late = [], [], [], []
        self.waits = {"wait_softmax": [], "wait_drain": [], "retired": []}

    def run(self, instructions, limit=4000):
        async def watch(ctx):
            for _ in range(limit):
                _, _, busy = await ctx.tick().sample(self.dut.busy | self.dut.i.valid)
                if not busy and self.steps:
                    return
            raise AssertionError(f"The engine is still busy after {limit} cycles")

        run_streams(self.dut, put={"i": [raw(each) for each in instructions]}, also=[watch],
                    background=[self._surroundings], limit=limit)
        assert len(self.waits["retired"]) == len(instructions)
        return self

    def routed(self, route):
        return [segment for _, segment in self.segments if segment.route == route]

    async def _surroundings(self, ctx):
        dut, cycle, tokens = self.dut, 0, 0
        events = {"ready": [], "freed": [], "emptied": []}
        last = {}
        factors = []
        ready = released = open_halves = in_ring = asked = 0
        while True:
            tokens += self.rng.random() < self.tokens
            late = cycle >= self.late_from
            ctx.set(dut.tokens.available, (tokens > 0) << WAIT | late << LATE)
            strobes = {name: cycle in times for name, times in events.items()}
            ctx.set(dut.ready, strobes["ready"])
            ctx.set(dut.issue.freed, strobes["freed"])
            ctx.set(dut.emptied, strobes["emptied"])
            i = dut.issue
            _, _, take, step, done, segment, first, *others = await ctx.tick().sample(
                dut.tokens.take, i.step, i.done, i.segment, i.first,
                i.a, i.b, i.context, i.accumulate,
                *(getattr(dut, name) for name in self.waits))
            a, b, context, accumulate, *waits = others
            for name, wait in zip(self.waits, waits, strict=True):
                if wait:
                    self.waits[name].append(cycle)
            if take >> LATE & 1:
                assert late
                self.taken_late.append(cycle)
            if take >> WAIT & 1:
                tokens -= 1
                self.taken.append(cycle)
                assert tokens >= 0
            if step:
                self.steps.append((cycle, a, b))
            if step and first:
                if accumulate:
                    assert cycle - last[context] >= DISTANCE
                if segment.probability:
                    assert segment.b // TILE_STEPS == released % SLOTS
                    assert released < ready, "probabilities are read before they are ready"
                    if not accumulate and context % (CONTEXTS // 4) == 0:
                        open_halves += 1
                        assert open_halves <= 2, "an output is overwritten before it is drained"
                if segment.fresh:
                    in_ring += 1
                    assert in_ring <= CONTEXTS // 2
                if segment.route == Route.SOFTMAX:
                    asked += 1
                    assert asked - released <= SLOTS
            if done:
                last[context] = cycle
                self.segments.append((cycle, segment))
                released += segment.release
                if segment.fresh and segment.drain:
                    events["freed"].append(
                        max(cycle + self.drain_after, *(t + 1 for t in events["freed"][-1:]), 0))
                if segment.route == Route.SOFTMAX:
                    events["ready"].append(
                        max(cycle + self.ready_after(),
                            *(t + self.ready_every for t in events["ready"][-1:]), 0))
                    if segment.end:
                        factors.append(events["ready"][-1] + self.factor_after)
                if segment.route == Route.FACTOR and segment.end:
                    events["emptied"].append(max(cycle + self.drain_after, factors.pop(0),
                                                 *(t + 1 for t in events["emptied"][-1:])))
            ready += strobes["ready"]
            in_ring -= strobes["freed"]
            open_halves -= strobes["emptied"]
            cycle += 1


def check(environment, runs):
    """Compare the segments of scores and of outputs with those that ``runs`` ask for."""
    for route, wanted in ((Route.SOFTMAX, scores_of(runs)), (Route.FACTOR, outputs_of(runs))):
        got = [{name: segment[name] for name in wanted[0]} for segment in environment.routed(route)]
        assert got == wanted


def run(runs, **options):
    environment = Environment(**options)
    environment.run([instruction(Opcode.ATTEND, **each) for each in runs])
    check(environment, runs)
    return environment


def test_heads_of_one_instruction_share_keys_and_values_in_groups():
    run([attend(jobs=6, group=3, tiles=4)])


@pytest.mark.parametrize("fields", [
    {"steps": 2, "blocks": 1}, {"steps": 16, "blocks": 8}, {"tiles": 1, "jobs": 5},
    {"masked": 0, "mask_stride": 0}, {"tiles": 20},
])
def test_shapes(fields):
    run([attend(**fields)])


def test_a_head_goes_on_over_several_instructions_and_is_drained_after_the_last():
    runs = [attend(tiles=3, end=0), attend(tiles=1, k=700, v=800, mask=50, begin=0, end=0),
            attend(tiles=2, begin=0), attend(tiles=1), attend(tiles=2, end=0),
            attend(tiles=2, begin=0)]
    environment = run(runs)
    gives = [segment.give for segment in environment.routed(Route.FACTOR) if segment.give]
    assert gives == [1 << POST] * len(runs)


def test_random_runs_with_random_delays():
    rng = random.Random(7)
    for seed in range(3):
        runs, going = [], False
        for n in range(8):
            end = int(rng.random() < 0.5 or n == 7)
            whole = not going and end
            runs.append(attend(tiles=rng.randint(1, 9), jobs=rng.randint(1, 4) if whole else 1,
                               group=rng.randint(1, 3), steps=rng.randint(1, 16),
                               blocks=rng.randint(1, 8) if not going else runs[-1]["blocks"],
                               begin=int(not going), end=end, k=rng.randrange(4096),
                               v=rng.randrange(4096), masked=rng.randint(0, 1)))
            going = not end
        run(runs, ready_after=lambda: rng.randint(20, 150), drain_after=rng.randint(8, 80),
            factor_after=rng.randint(0, 100), tokens=rng.choice([1.0, 0.02]), seed=seed)


def test_each_instruction_takes_its_tokens_once():
    environment = run([attend(jobs=3, tiles=4), attend(tiles=30)], tokens=0.01, seed=1)
    assert len(environment.taken) == 2


def test_late_waits_hold_up_outputs_but_no_scores():
    """Scores go on, those of the next instruction too, as long as there are slots."""
    runs = [attend(tiles=3), attend(tiles=30)]
    environment = Environment(late_from=500)
    environment.run([instruction(Opcode.ATTEND, late=True, **each) for each in runs])
    check(environment, runs)
    before = [segment.route for cycle, segment in environment.segments if cycle < 500]
    assert before == [Route.SOFTMAX] * SLOTS
    assert len(environment.taken_late) == len(runs)
    assert not [cycle for cycle in environment.waits["wait_softmax"] if 250 < cycle < 500]


def bubbles(environment, skip, tail):
    """Return the cycles without a step between the first ``skip`` and the last ``tail`` cycles."""
    cycles = [step[0] for step in environment.steps]
    window = [c for c in cycles if cycles[0] + skip <= c <= cycles[-1] - tail]
    return window[-1] - window[0] + 1 - len(window)


@pytest.mark.parametrize(("steps", "blocks", "latency", "every"), [
    (8, 4, 100, 16), (8, 4, 100, 1), (4, 4, 60, 8), (6, 3, 60, 1), (16, 8, 100, 16)])
def test_no_bubbles_in_the_steady_state(steps, blocks, latency, every):
    runs = [attend(steps=steps, blocks=blocks, tiles=25)] * 2
    environment = run(runs, ready_after=lambda: latency, ready_every=every)
    tail = latency + SLOTS * every  # outputs alone do not fill the time of the last softmaxes
    assert bubbles(environment, 2 * latency, tail) == 0
    assert not [c for c in environment.waits["wait_softmax"]
                if 2 * latency < c < environment.steps[-1][0] - tail]
    assert not environment.waits["wait_drain"]


def test_the_wait_for_the_first_probabilities_is_counted():
    environment = run([attend(tiles=2)], ready_after=lambda: 90)
    cycles = [step[0] for step in environment.steps]
    bubble = cycles[-1] - cycles[0] + 1 - len(cycles)
    assert bubble - 8 < len(environment.waits["wait_softmax"]) < bubble
    assert cycles[15] < environment.waits["wait_softmax"][0] <= cycles[15] + 2


def test_no_bubbles_between_heads():
    environment = run([attend(jobs=6, tiles=8)], ready_after=lambda: 100)
    assert bubbles(environment, 200, 200) == 0


def test_products_and_attention_stay_in_order():
    product = {"a": 0, "a_stride": 8, "b": 0, "b_stride": 8, "blocks": 3, "tiles": 2, "steps": 6,
               "drain": 1}
    runs = [attend(), attend(tiles=3, jobs=2)]
    environment = Environment()
    environment.run([instruction(Opcode.MATMUL, **product),
                     *(instruction(Opcode.ATTEND, **each) for each in runs),
                     instruction(Opcode.MATMUL, **product)])
    routes = [segment.route for _, segment in environment.segments]
    assert routes[:6] == routes[-6:] == [Route.REQUANTISE] * 6
    assert Route.REQUANTISE not in routes[6:-6]
    ring = [segment.context for _, segment in environment.segments if segment.fresh]
    assert ring == [n % (CONTEXTS // 2) for n in range(len(ring))]


def test_slow_drains_hold_up_the_next_but_one_head():
    environment = run([attend(jobs=4, tiles=1)], factor_after=300)
    assert environment.waits["wait_drain"]
