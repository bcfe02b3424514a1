"""Issue of steps: order, contexts of the ring, and totals that are added to once they are there."""

import pytest

from heddle.rtl.issue import StepIssuer
from heddle.sim.streams import run_streams

RING = 4


def issue(segments=(), outputs=(), *, distance=5, frees=(), cycles=160):
    """Return (cycle, a, b, first, last, accumulate, context) of all steps, and the full cycles."""
    dut = StepIssuer(pool_bits=10, step_bits=8, context_bits=3, ring=RING, distance=distance)
    steps, full = [], []

    async def watch(ctx):
        for cycle in range(cycles):
            ctx.set(dut.freed, cycle in frees)
            _, _, step, last, done, wait, *tag = await ctx.tick().sample(
                dut.step, dut.last, dut.done, dut.full,
                dut.a, dut.b, dut.first, dut.last, dut.accumulate, dut.context)
            assert done == last
            assert step or not last
            if step:
                steps.append((cycle, *tag))
            if wait:
                full.append(cycle)

    run_streams(dut, put={"i": segments, "outputs": outputs}, also=[watch])
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
