"""MATMUL on the compute engine: the loop nest, its tokens, contexts, and steps without bubbles."""

import random

from heddle.rtl.compute import Compute
from heddle.rtl.isa import Layout, Opcode, Queue, instruction_layout, raw_layout, token
from heddle.rtl.list_loader import entry_layout
from heddle.sim.streams import run_streams

WAIT = token(Queue.LOAD, Queue.COMPUTE)
STORE = token(Queue.COMPUTE, Queue.STORE)
FREE = token(Queue.COMPUTE, Queue.LOAD)
DISTANCE = 5
ENTRY = entry_layout(rows=4, depth=2, steps=16, candidates=1)


def instruction(**fields):
    header = {"opcode": Opcode.MATMUL,
              "waits": [{"token": WAIT, "each": 1}, {}, {}],
              "posts": [{"token": STORE, "each": 1}, {"token": FREE, "each": 0}, {}]}
    fields = {"layout": Layout.VECTORS, "drain": 1} | fields
    bits = instruction_layout(Opcode.MATMUL).const({"header": header, **fields}).as_bits()
    return raw_layout.from_bits(bits)


def simulate(jobs, *, tokens=1.0, free_after=12, ring=4, seed=0, limit=3000, lists=None):
    """Return the steps (cycle, a, b, first, last, accumulate, context) and finished segments.

    Blocks that are asked for are put into ``lists``.
    """
    dut = Compute(pool_bits=12, step_bits=8, contexts=2 * ring, slots=4, tile_steps=2,
                  distance=DISTANCE, entry=ENTRY, channel_words=3)
    rng = random.Random(seed)
    steps, segments, full = [], [], []

    async def array(ctx):
        held, freeing, cycle = 0, [], 0
        while True:
            held += rng.random() < tokens
            ctx.set(dut.tokens.available, (held > 0) << WAIT)
            ctx.set(dut.issue.freed, cycle in freeing)
            ctx.set(dut.entries.valid, 1)
            i = dut.issue
            _, _, take, step, done, wait, segment, *tag = await ctx.tick().sample(
                dut.tokens.take, i.step, i.done, dut.wait_drain, i.segment,
                i.a, i.b, i.first, i.last, i.accumulate, i.context)
            held -= take >> WAIT & 1
            assert held >= 0
            if step:
                steps.append((cycle, *tag))
            if done:
                segments.append(segment)
                if segment.drain:
                    freeing.append(max([cycle + free_after, *(f + 1 for f in freeing[-1:])]))
            if wait:
                full.append(cycle)
            cycle += 1

    async def take_lists(ctx):
        while True:
            ctx.set(dut.block.ready, rng.random() < 0.5)
            _, _, valid, ready, block = await ctx.tick().sample(
                dut.block.valid, dut.block.ready, dut.block.p)
            if valid and ready:
                lists.append((block.gaps, block.steps, block.tiles, block.wide))

    async def watch(ctx):
        for _ in range(limit):
            _, _, busy = await ctx.tick().sample(dut.busy | dut.i.valid)
            if not busy and steps:
                return
        raise AssertionError(f"The engine is still busy after {limit} cycles")

    run_streams(dut, put={"i": jobs}, also=[watch], limit=limit,
                background=[array] + [take_lists] * (lists is not None))
    return steps, segments, full


def test_addresses_tags_and_tokens_of_a_loop_nest():
    job = instruction(a=100, a_stride=10, a_ring=2, b=5, b_stride=20, blocks=3, tiles=2, steps=4,
                      c=50, c_stride=8, c_tile_stride=100, c_part_stride=3)
    steps, segments, _ = simulate([job])
    wanted = []
    for block, a in enumerate((100, 110, 100)):
        for tile in range(2):
            wanted += [(a + s, 5 + 20 * tile + s, s == 0, s == 3, 0, (2 * block + tile) % 4)
                       for s in range(4)]
    assert [step[1:] for step in steps] == wanted
    assert [(s.c, s.channels, s.part_stride) for s in segments] == [
        (50 + 8 * block + 100 * tile, a + 4, 3)
        for block, a in enumerate((100, 110, 100)) for tile in range(2)]
    assert [s.give for s in segments] == [0, 1 << STORE, 0, 1 << STORE, 0, 1 << STORE | 1 << FREE]


def test_no_bubble_between_tiles_blocks_and_instructions():
    jobs = [instruction(a=0, a_stride=8, b=0, b_stride=8, blocks=5, tiles=2, steps=6)] * 3
    steps, _, full = simulate(jobs, ring=8)
    cycles = [step[0] for step in steps]
    assert len(cycles) == 3 * 5 * 2 * 6
    assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
    assert not full


def test_steps_wait_for_tokens_and_for_contexts():
    job = instruction(a=0, a_stride=8, b=0, b_stride=8, blocks=6, tiles=3, steps=2)
    steps, segments, full = simulate([job], tokens=0.02, free_after=40, seed=3)
    assert len(steps) == 36
    assert len(segments) == 18
    assert full


def test_accumulation_visits_the_held_contexts_again_once_they_have_settled():
    common = {"a": 0, "a_stride": 8, "b": 0, "b_stride": 8, "blocks": 2, "tiles": 1}
    jobs = [instruction(**common, steps=3),
            instruction(**common, steps=3, drain=0),
            instruction(**common, steps=1, drain=0, accumulate=1),
            instruction(**common, steps=2, accumulate=1),
            instruction(**common, steps=2)]
    steps, segments, _ = simulate(jobs, free_after=30)
    assert [s.context for s in segments] == [0, 1, 2, 3, 2, 3, 2, 3, 0, 1]
    assert [s.drain for s in segments] == [1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    accumulate = [step[5] for step in steps]
    assert accumulate == [0] * 12 + [1] * 6 + [0] * 4
    last = {}
    for cycle, _, _, first, end, adds, context in steps:
        if first and adds:
            assert cycle - last[context] >= DISTANCE
        if end:
            last[context] = cycle


def test_blocks_ask_for_their_lists_and_others_do_not():
    common = {"a": 100, "a_stride": 20, "b": 4, "b_stride": 8, "blocks": 3}
    jobs = [instruction(**common, tiles=2, steps=5, listed=1, a_ring=2),
            instruction(**common, tiles=1, steps=4),
            instruction(**common, tiles=1, steps=7, listed=1, wide=1, drain=0)]
    lists = []
    steps, segments, _ = simulate(jobs, lists=lists)
    assert lists == [*((a + 5 + 3, 5, 2, 0) for a in (100, 120, 100)),
                     *((a + 7 + 3, 7, 1, 1) for a in (100, 120, 140))]
    assert [s.listed for s in segments] == [1] * 6 + [0] * 3 + [1] * 3
    assert [step[2] for step in steps[:12]] == [4] * 5 + [12] * 5 + [4] * 2


def test_no_bubble_between_blocks_with_lists():
    job = instruction(a=0, a_stride=8, b=0, b_stride=8, blocks=12, tiles=1, steps=6, listed=1)
    steps, *_ = simulate([job], ring=8, lists=[])
    cycles = [step[0] for step in steps]
    assert cycles == list(range(cycles[0], cycles[0] + 12 * 6))
