# amaranth: UnusedElaboratable=no
"""The array against sums of products, with every distance at its least."""

import random
from collections import defaultdict

import numpy as np
import pytest

from heddle.rtl.array import Array
from heddle.rtl.cell import NEUTRAL_SHIFT
from heddle.rtl.collector import Collector
from heddle.rtl.export import verilog
from heddle.sim.vectors import play_vectors

SIZES = [(2, 2, 1, 2), (4, 4, 2, 4), (4, 8, 4, 32), (16, 2, 2, 4), (4, 4, 2, 4, 2),
         (4, 4, 2, 4, 8)]


def random_scales(rng, lanes):
    """Return shifts, raises and roundings of one step."""
    shifts = [rng.choice((0, NEUTRAL_SHIFT, 31, rng.integers(32))) for _ in range(lanes)]
    raises, ups = np.divmod(rng.integers(8, size=lanes), 2)
    return np.array(shifts), raises, ups


def scaled(sums, shifts, ups):
    twice = (sums.astype(np.int64) << 12) >> shifts
    return (twice >> 1) + (twice & ups)


def random_schedule(dut, segments, seed):
    """Return inputs of each cycle, drained totals by cycle, and the distances that occur.

    Segments and drains come as early as the array allows, or a few cycles later.
    """
    rng = np.random.default_rng(seed)
    inputs = defaultdict(dict)
    totals = np.zeros((dut.contexts, dut.rows, dut.lanes), np.int32)
    drained, distances = {}, defaultdict(set)
    last, drain = {}, {}
    cycle, next_drain = 0, 0
    for _ in range(segments):
        context = int(rng.integers(dut.contexts))
        steps = int(rng.integers(1, 6))
        accumulate = context in last and rng.random() < 0.5
        start = cycle + int(rng.choice((0, 0, 1, 5)))
        if accumulate:
            start = max(start, last[context] + dut.accumulate_distance)
            distances["accumulate"].add(start - last[context])
        if context in drain:
            start = max(start, drain[context] + dut.reuse_distance - steps + 1)
            distances["reuse"].add(start + steps - 1 - drain[context])
        for step in range(steps):
            a = rng.choice((-127, 127, rng.integers(-127, 128)), (dut.depth, dut.rows))
            b = rng.choice((-128, 127, rng.integers(-128, 128)),
                           (dut.depth, dut.candidates, dut.lanes))
            selectors = rng.integers(dut.candidates, size=a.shape)
            products = a[..., np.newaxis] * np.take_along_axis(b, selectors[..., np.newaxis], 1)
            shifts, raises, ups = random_scales(rng, dut.lanes)
            if step == 0:
                kept = totals[context] >> 8 * raises
                totals[context] = np.where(raises < 3, kept, 0) if accumulate else 0
            totals[context] += scaled(products.sum(axis=0), shifts, ups).astype(np.int32)
            inputs[start + step].update(
                a=packed_weights(a, selectors, dut.candidates),
                b=int.from_bytes(b.astype(np.int8).tobytes(), "little"),
                tag=(step == 0) | (step == steps - 1) << 1 | accumulate << 2 | context << 3,
                **{f"scale_{lane}": int(shifts[lane] | raises[lane] << 5 | ups[lane] << 7)
                   for lane in range(dut.lanes)})
        cycle = start + steps
        last[context] = cycle - 1
        if rng.random() < 0.6:
            when = max(next_drain, last[context] + dut.drain_distance)
            when += int(rng.choice((0, 0, 0, 2)))
            distances["drain"].add(when - last[context])
            distances["drains"].add(when - next_drain)
            inputs[when]["drain"] = 1 | context << 1
            drained[when] = totals[context].copy()
            drain[context], next_drain = when, when + dut.rows // 2
    return fill_gaps(dut, inputs, seed), drained, distances


def packed_weights(a, selectors, candidates):
    width = 8 + (candidates - 1).bit_length()
    return sum((int(weight) & 0xff | int(selector) << 8) << n * width
               for n, (weight, selector) in enumerate(zip(a.flat, selectors.flat, strict=True)))


def fill_gaps(dut, inputs, seed):
    """Return a list of inputs with noise in every cycle without a step."""
    rng = random.Random(seed)
    noise = [{"a": rng.getrandbits(len(dut.a)), "b": rng.getrandbits(len(dut.b)),
              "tag": rng.getrandbits(3 + (dut.contexts - 1).bit_length()) & ~2,
              "drain": rng.getrandbits(1) and rng.randrange(dut.contexts) << 1,
              **{f"scale_{lane}": rng.getrandbits(7) for lane in range(dut.lanes)}}
             for _ in range(max(inputs) + dut.drain_latency + dut.rows + dut.lanes)]
    return [{**gap, **inputs.get(cycle, {})} for cycle, gap in enumerate(noise)]


def check(dut, drained, played):
    """Compare the outputs with the totals that must show."""
    for when, totals in drained.items():
        for row in range(dut.rows):
            for lane in range(dut.lanes):
                # Played outputs are those after the edge that ends a cycle.
                outputs = played[when + dut.drain_latency + row // 2 + lane // 2 - 1]
                shown = outputs[f"o_{row % 2}_{lane}"]
                assert shown == int(totals[row, lane]) & 0xffffffff, (when, row, lane)


@pytest.mark.parametrize("size", SIZES)
def test_random_schedule(size):
    dut = Array(*size)
    inputs, drained, distances = random_schedule(dut, 60, seed=sum(size))
    assert len(drained) > 20
    assert min(distances["accumulate"]) == dut.accumulate_distance
    assert min(distances["drain"]) == dut.drain_distance
    assert min(distances["drains"]) == 0
    assert min(distances["reuse"]) == dut.reuse_distance
    check(dut, drained, play_vectors(dut, inputs))


@pytest.mark.parametrize("technology", ["generic", "xilinx"])
@pytest.mark.parametrize("candidates", [1, 4])
def test_verilog(technology, candidates):
    dut = Array(4, 8, 4, 8, candidates)
    inputs, drained, _ = random_schedule(dut, 500, seed=1)
    check(dut, drained, play_vectors(dut, inputs, technology))


def test_each_cell_is_written_once():
    text = verilog(Array(4, 8, 4, 8), "array", "xilinx")
    assert text.count("DSP48E2 #(") == 4
    assert text.count("heddle_cell_d4_c8 cell_") == 4
    assert text.count("heddle_row_p4_d4_c8 row_") == 4
    text = verilog(Array(4, 8, 4, 8, 2), "array", "xilinx")
    assert text.count("heddle_cell_d4_c8_m2 cell_") == 4
    assert text.count("heddle_row_p4_d4_c8_m2 row_") == 4


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_must_be_even(rows):
    with pytest.raises(ValueError, match=f"rows must be an even number, not {rows}: two rows"):
        Array(rows, 4, 2, 4)


@pytest.mark.parametrize("lanes", [0, 3])
def test_lanes_must_be_even(lanes):
    with pytest.raises(ValueError, match=f"lanes must be an even number, not {lanes}: two lanes"):
        Array(4, lanes, 2, 4)


@pytest.mark.parametrize("rows", [0, 4])
def test_a_collector_takes_a_few_rows(rows):
    with pytest.raises(ValueError, match=f"rows must be between 1 and 3, not {rows}"):
        Collector(4, rows)
