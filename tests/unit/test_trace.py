"""The schedule trace: every instruction once, in its place, with the times of the cost model."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heddle
from heddle.cost import estimate
from heddle.device import Counters, Run
from heddle.occupancy import KINDS
from heddle.rtl.isa import Queue
from heddle.trace import trace, write

RNG = np.random.default_rng(0)


def encoder(tokens, features):
    """A program with layers of each kind, and its input."""
    graph = heddle.Graph("encoder")
    x = graph.input("x", tokens=tokens, features=features)
    q, k, v = (graph.linear(name, x, RNG.normal(size=(features, features))) for name in "qkv")
    o = graph.linear("o", graph.attention("a", q, k, v, heads=2),
                     RNG.normal(size=(features, features)))
    n = graph.norm("n", graph.add("s", x, o), np.ones(features))
    graph.output(graph.linear("y", n, RNG.normal(size=(5, features))))
    values = {"x": RNG.normal(size=(tokens, features)).astype(np.float32)}
    return heddle.compile(graph, values, "tiny"), values


@pytest.fixture(scope="module")
def program():
    return encoder(21, 16)[0]


def tracks(events):
    """The events of each queue, in the order of time, and those of the layers."""
    found = {number: [] for number in range(len(Queue) + 1)}
    for event in events:
        if event["ph"] == "X":
            found[event["tid"]].append(event)
    return [sorted(track, key=lambda event: event["args"]["cycle"]) for track in found.values()]


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 40), features=st.sampled_from([8, 12, 16]))
def test_every_instruction_is_there_once_and_none_overlaps(tokens, features):
    program, _ = encoder(tokens, features)
    *queues, _ = tracks(trace(program)["traceEvents"])
    instructions = program.decoded()
    assert sorted(event["args"]["number"] for track in queues for event in track) == list(
        range(len(instructions)))
    for queue, track in zip(Queue, queues):
        assert [event["args"]["instruction"] for event in track] == [
            str(i) for i in instructions if i.queue == queue]
        for one, other in pairwise(track):
            assert one["args"]["cycle"] + one["args"]["cycles"] <= other["args"]["cycle"]
        assert all(event["args"]["waited"] >= 0 <= event["dur"] for event in track)


def test_instructions_have_the_names_of_their_layers(program):
    names = program.layer_names()
    *queues, layers = tracks(trace(program)["traceEvents"])
    for event in (event for track in queues for event in track):
        i = program.decoded()[event["args"]["number"]]
        assert event["name"] == f"{names[event['args']['number']]} {i.opcode.name}"
    operations = {event["name"] for track in queues for event in track}
    assert {"q LOAD", "q FILL", "q MATMUL", "a ATTEND", "n NORM", "y STORE"} <= operations
    assert not {"q STORE", "n MATMUL", "a MATMUL", "o ATTEND"} & operations
    assert [event["name"] for event in layers] == ["q", "k", "v", "a", "o", "y"]


def test_amounts_are_those_of_a_run():
    program, values = encoder(21, 16)
    counters = heddle.run(program, values, device="golden").run.counters
    load, _, compute, store, _ = tracks(trace(program)["traceEvents"])
    fetched = program.instructions.size
    assert sum(event["args"]["bytes"] for event in load) == counters.read_bytes - fetched
    assert sum(event["args"]["bytes"] for event in store) == counters.write_bytes
    assert sum(event["args"]["steps"] for event in compute) == counters.array_cycles


def test_counters(program):
    events = trace(program)["traceEvents"]
    expected = estimate(program.decoded(), program.geometry)
    values = {}
    for event in events:
        if event["ph"] == "C":
            [value] = event["args"].values()
            values.setdefault(event["name"], []).append((event["ts"], value))
    use = np.array(values.pop("array"))
    cycles = np.diff(use[:, 0]) * program.geometry.clock_mhz_assumed
    assert cycles.sum() == pytest.approx(expected.cycles)
    assert (use[:-1, 1] * cycles).sum() == pytest.approx(expected.array_cycles, rel=1e-4)
    assert use[:, 1].min() >= 0
    assert use[:, 1].max() <= 1
    assert set(values) == {f"in queue {queue.name}" for queue in Queue}
    for times in values.values():
        assert times[0][1] == times[-1][1] == 0
        assert all(0 <= number <= 4 for _, number in times)
        assert all(one < other for (one, _), (other, _) in pairwise(times))
    assert max(number for times in values.values() for _, number in times) > 1


def test_file_is_strict_json_that_says_what_its_times_are(program, tmp_path):
    def refuse(constant):
        raise ValueError(constant)

    write(tmp_path / "trace.json", program)
    read = json.loads((tmp_path / "trace.json").read_text(), parse_constant=refuse)
    assert read == trace(program)
    assert "from a model, not from a run" in read["otherData"]["times"]
    assert read["otherData"]["cycles_measured"] is None
    assert {event["pid"] for event in read["traceEvents"]} == {1}


def test_a_run_adds_what_was_measured(program):
    samples = np.array([[64, 0, 0, 0], [32, 16, 8, 4], [1, 0, 0, 0]])
    run = Run(np.zeros(0, np.uint8), Counters(130, 97, 0, 0), 64, samples)
    result = trace(program, run)
    assert result["otherData"]["cycles_measured"] == 130
    windows = [event for event in result["traceEvents"] if event["pid"] == 2 and event["ph"] == "C"]
    clock = program.geometry.clock_mhz_assumed
    assert [event["ts"] * clock for event in windows] == pytest.approx([0, 64, 128, 130])
    assert list(windows[0]["args"]) == list(KINDS)
    assert list(windows[1]["args"].values()) == [.5, .25, .125, .0625, .0625]
    assert set(windows[3]["args"].values()) == {0}


def test_a_golden_run_adds_nothing(program):
    run = Run(np.zeros(0, np.uint8), Counters(None, 1, 0, 0))
    assert trace(program, run) == trace(program)
