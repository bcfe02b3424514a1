"""Issue of steps: order, contexts of the ring, and totals that are added to once they are there."""

import pytest

from heddle.rtl.issue import StepIssuer
from heddle.rtl.list_loader import entry_layout
from heddle.sim.streams import run_streams

RING = 4
ENTRY = entry_layout(rows=4, depth=2, steps=16, candidates=2)


def issue(segments=(), outputs=(), *, distance=5, frees=(), cycles=160, entries=()):
    """Return (cycle, a, b, first, last, accumulate, context) of all steps, and the full cycles.

    An entry that is there from a cycle on is given as (cycle, entry); for a step with one, ``b`` is
    (b, addresses, selectors), and a cycle in which the lack of one holds a segment up is full.
    """
    dut = StepIssuer(pool_bits=10, step_bits=8, context_bits=3, ring=RING, distance=distance,
                     entry=ENTRY)
    steps, full, left = [], [], list(entries)

    async def watch(ctx):
        for cycle in range(cycles):
            ctx.set(dut.freed, cycle in frees)
            _, _, step, last, done, wait, listed, entry, a, b, *tag = await ctx.tick().sample(
                dut.step, dut.last, dut.done, dut.full | dut.unlisted, dut.segment.listed,
                dut.entry, dut.a, dut.b, dut.first, dut.last, dut.accumulate, dut.context)
            assert done == last
            assert step or not last
            chosen = list(entry.addresses), entry.selectors
            if step and not listed:
                assert chosen == ([0] * 2, 0)
            if step:
                steps.append((cycle, a, (b, *chosen) if listed else b, *tag))
            if wait:
                full.append(cycle)

    async def lists(ctx):
        cycle = 0
        while True:
            there = bool(left) and left[0][0] <= cycle
            ctx.set(dut.entries.valid, there)
            if there:
                ctx.set(dut.entries.p, left[0][1])
            _, _, taken = await ctx.tick().sample(dut.entries.ready)
            if taken:
                assert there, "an entry was taken that was not there"
                left.pop(0)
            cycle += 1

    run_streams(dut, put={"i": segments, "outputs": outputs}, also=[watch], background=[lists])
    assert not left
    return steps, full


def adding(context, steps, **fields):
    return {"context": context, "steps": steps, "accumulate": 1, **fields}


@pytest.mark.parametrize("length", [1, 2, 5])
def test_segments_follow_back_to_back_with_their_addresses_and_tags(length):
    segments = [{"a": 100 * n, "b": 40 * n, "steps": length, "context": n} for n in range(6)]
    steps, full = issue(segments)
    assert [step[1:] for step in steps] == [
        (100 * n + s, 40 * n + s, s == 0, s == length - 1, 0, n)
        for n in range(6) for s in range(length)]
    assert [step[0] for step in steps] == list(range(steps[0][0], steps[0][0] + 6 * length))
    assert not full


@pytest.mark.parametrize("distance", [2, 5])
@pytest.mark.parametrize("contexts", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 3])
def test_a_segment_waits_for_its_total_just_as_long_as_needed(distance, contexts, length):
    segments = [adding(n % contexts, length) for n in range(4 * contexts)]
    steps, _ = issue([], segments, distance=distance)
    starts = [step[0] for step in steps if step[3]]
    ends = [step[0] for step in steps if step[4]]
    for n in range(1, len(starts)):
        earliest = ends[n - 1] + 1
        if n >= contexts:
            earliest = max(earliest, ends[n - contexts] + distance)
        assert starts[n] == earliest


def test_outputs_come_second_and_fill_the_waits_of_the_first():
    segments = [adding(7, 2, a=1), adding(7, 2, a=11), {"context": 6, "steps": 2, "a": 21}]
    outputs = [{"context": n, "steps": 1, "a": 101 + 10 * n} for n in range(3)]
    steps, _ = issue(segments, outputs, distance=3)
    assert [step[1] for step in steps] == [1, 2, 101, 111, 11, 12, 21, 22, 121]
    assert [step[0] for step in steps] == list(range(steps[0][0], steps[0][0] + 9))


def test_fresh_segments_wait_for_the_ring_and_others_do_not():
    fresh = [{"context": n % RING, "steps": 3, "fresh": 1} for n in range(RING + 2)]
    steps, full = issue(fresh, frees=(40, 60))
    starts = [step[0] for step in steps if step[3]]
    assert starts[:RING] == [starts[0] + 3 * n for n in range(RING)]
    assert starts[RING:] == [42, 62]
    assert full


def test_outputs_pass_by_a_segment_that_waits_for_the_ring():
    fresh = [{"context": n % RING, "steps": 3, "fresh": 1} for n in range(RING + 1)]
    steps, _ = issue(fresh, [adding(5, 3)] * 8, frees=(140,), distance=8)
    contexts = [step[6] for step in steps if step[3]]
    assert contexts[-1] == 0
    assert contexts.count(5) == 8


def entry(n):
    return {"addresses": [n % 16, 15 - n % 16], "selectors": 37 * n & 0xff}


@pytest.mark.parametrize("length", [1, 2, 5])
def test_steps_of_a_list_have_its_entries_and_stay_where_their_tile_starts(length):
    segments = [{"a": 100 * n, "b": 40 * n, "steps": length, "context": n, "listed": n % 3 < 2}
                for n in range(6)]
    listed = [(0, entry(n)) for n in range(4 * length)]
    steps, full = issue(segments, entries=listed)
    wanted, entries = [], iter(listed)
    for n in range(6):
        for s in range(length):
            b = 40 * n + s
            if n % 3 < 2:
                e = next(entries)[1]
                b = 40 * n, e["addresses"], e["selectors"]
            wanted.append((100 * n + s, b))
    assert [step[1:3] for step in steps] == wanted
    assert [step[0] for step in steps] == list(range(steps[0][0], steps[0][0] + 6 * length))
    assert not full


def test_a_segment_waits_for_its_list_and_outputs_pass_it_by():
    segments = [{"steps": 3, "context": n, "listed": 1} for n in range(2)]
    entries = [(0, entry(n)) for n in range(3)] + [(60, entry(n)) for n in range(3)]
    steps, full = issue(segments, [adding(7, 2, a=50)], entries=entries, distance=2)
    assert [step[1] for step in steps] == [0, 1, 2, 50, 51, 0, 1, 2]
    assert steps[-3][0] == 61
    assert full == list(range(steps[4][0] + 1, 60))
