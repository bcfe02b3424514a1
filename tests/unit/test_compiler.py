"""The compiler: any shape gives the right integers, whatever the order of the queues."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import heddle
from heddle import Graph
from heddle.allocator import OperandRing, Pool
from heddle.compiler import lower
from heddle.cost import estimate
from heddle.quantise import quantise
from heddle.rtl.geometry import PRESETS, preset
from heddle.rtl.isa import Opcode
from heddle.sim.executor import execute
from heddle.tiling import Product, choose

TINY = preset("tiny")


def linear(tokens, inputs, outputs, rng, *, bias=True):
    graph = Graph()
    x = graph.input("x", tokens=tokens, features=inputs)
    graph.output(graph.linear("y", x, rng.normal(size=(outputs, inputs)),
                              rng.normal(size=outputs) if bias else None))
    return graph


def check(graph, geometry=TINY, *, seed=None, activations="tensor"):
    """Compile and run a graph; compare all outputs with the layers computed directly."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(graph.tensors[name].tokens, graph.tensors[name].features))
              for name in graph.inputs}
    quantised = quantise(graph, inputs, activations)
    program = lower(quantised, geometry)
    image = program.image(inputs)
    totals = execute(geometry, image, offset=program.offset,
                     instructions=len(program.instructions), seed=seed)
    wanted, got = quantised.integers(inputs), program.integers_of(image)
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    return program, totals


# -- one layer -------------------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 60), inputs=st.integers(1, 300), outputs=st.integers(1, 60),
       seed=st.integers(0, 99))
@example(tokens=1, inputs=1, outputs=1, seed=0)
@example(tokens=60, inputs=300, outputs=60, seed=1)
def test_any_shape(tokens, inputs, outputs, seed):
    check(linear(tokens, inputs, outputs, np.random.default_rng(seed)), seed=seed)


@pytest.mark.parametrize("outputs", [1, 7, 33, 385])
@pytest.mark.parametrize("inputs", [1, 7, 33, 385])
@pytest.mark.parametrize("tokens", [1, 7, 33])
def test_odd_shapes(tokens, inputs, outputs):
    if tokens * inputs * outputs > 33 * 385 * 100:
        tokens = 9  # enough for several slabs
    check(linear(tokens, inputs, outputs, np.random.default_rng(0)))


def test_many_tokens():
    check(linear(385, 33, 7, np.random.default_rng(0)), seed=1)


@pytest.mark.parametrize("geometry", PRESETS)
def test_every_geometry(geometry):
    check(linear(70, 100, 50, np.random.default_rng(0)), preset(geometry), activations="token")


def tiling(tokens, inputs, outputs, words=TINY.scratchpad_words):
    product = Product.of(tokens, inputs, outputs, TINY)
    return product, choose(product, TINY, words, inputs_resident=False, inputs_again=False,
                           outputs_stay=False)


@pytest.mark.parametrize(("shape", "way"), [
    ((8, 32, 16), "all at once"), ((20, 64, 200), "groups"), ((8, 32, 385), "chunks"),
    ((600, 32, 16), "slabs"), ((8, 200, 16), "pieces"), ((2, 900, 8), "single buffers"),
])
def test_each_way_to_cut_a_product(shape, way):
    """The shapes above do take these ways, and each gives the right integers."""
    product, t = tiling(*shape)
    ways = {
        "all at once": (t.slab, t.chunk, t.group) == (product.tiles, product.blocks, product.tiles),
        "groups": t.group < t.slab,
        "chunks": t.chunk < product.blocks,
        "slabs": t.slab < product.tiles,
        "pieces": t.piece < product.steps,
        "single buffers": not t.double,
    }
    assert ways[way]
    check(linear(*shape, np.random.default_rng(0)), seed=2)


@given(tokens=st.integers(1, 500), inputs=st.integers(1, 900), outputs=st.integers(1, 500),
       words=st.integers(64, 1024))
def test_a_tiling_fits(tokens, inputs, outputs, words):
    product, t = tiling(tokens, inputs, outputs, words)
    if t is not None:
        assert t.words(product) <= words
        assert t.group * min(t.piece, product.steps) <= TINY.operand_steps
        assert t.slab == product.tiles or t.slab % t.group == 0


def test_weights_are_loaded_once_if_all_inputs_fit():
    program, totals = check(linear(33, 32, 385, np.random.default_rng(0)))
    product = Product.of(33, 32, 385, TINY)
    words = product.weight_words + product.tiles * product.x_words
    assert totals.read_bytes == words * TINY.word_bytes + program.instructions.size
    assert totals.array_cycles == product.tiles * product.blocks * product.steps


def test_programs_are_reproducible():
    one, other = (check(linear(33, 32, 16, np.random.default_rng(0)))[0] for _ in range(2))
    assert (one.instructions == other.instructions).all()
    assert (one.constants == other.constants).all()


def test_an_instruction_waits_only_for_earlier_ones():
    program, _ = check(linear(60, 150, 60, np.random.default_rng(0)))
    given = [0] * 32
    for instruction in program.decoded():
        for number, each in instruction.waits:
            given[number] -= instruction.count if each else 1
            assert given[number] >= 0
        for number, each in instruction.posts:
            given[number] += instruction.count if each else 1
    assert not any(given)


# -- graphs ----------------------------------------------------------------------------------------

def loads(program, name):
    """LOAD instructions that read an input."""
    slot = program.inputs[name]
    size = -(-slot.tensor.tokens // program.geometry.lanes) * slot.part_bytes
    return [i for i in program.decoded() if i.opcode == Opcode.LOAD
            and slot.offset <= i["dram"] < slot.offset + size]


def test_layers_share_their_input():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", tokens=8, features=32)
    for name in ("query", "key", "value"):
        graph.output(graph.linear(name, x, rng.normal(size=(32, 32)), rng.normal(size=32)))
    program, totals = check(graph, seed=1)
    assert sum(i["words"] * i.count for i in loads(program, "x")) * TINY.word_bytes == 8 * 32
    fills = [i for i in program.decoded() if i.opcode == Opcode.FILL]
    assert sum(i["steps"] * i.count for i in fills) == 2 * 16  # two tiles, filled once
    assert totals.write_bytes == 3 * 8 * 32


def test_inputs_that_are_needed_again_stay():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", tokens=33, features=32)
    for name in ("query", "key"):
        graph.output(graph.linear(name, x, rng.normal(size=(16, 32))))
    program, _ = check(graph)
    assert sum(i["words"] * i.count for i in loads(program, "x")) * TINY.word_bytes == 36 * 32


def chain(tokens, *features, outputs=(-1,)):
    rng = np.random.default_rng(0)
    graph = Graph()
    names = [graph.input("x", tokens=tokens, features=features[0])]
    for n, (inputs, size) in enumerate(itertools.pairwise(features)):
        names.append(graph.linear(f"layer{n}", names[-1], rng.normal(size=(size, inputs))))
    graph.output(*(names[n] for n in outputs))
    return graph


@pytest.mark.parametrize("activations", ["tensor", "token"])
def test_a_chain_stays_in_the_scratchpad(activations):
    program, totals = check(chain(8, 20, 33, 9, 20), activations=activations)
    assert totals.write_bytes == 2 * program.outputs["layer2"].part_bytes
    assert all(i["dram"] < program.constants.size for i in program.decoded()
               if i.opcode == Opcode.LOAD and i not in loads(program, "x"))


def test_a_chain_that_does_not_fit_goes_through_dram():
    program, totals = check(chain(60, 32, 200, 32), seed=3)
    assert totals.write_bytes > 15 * program.outputs["layer1"].part_bytes
    assert not loads(program, "x")[0].waits


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 40), features=st.lists(st.integers(1, 120), min_size=2, max_size=5),
       seed=st.integers(0, 99))
def test_any_chain(tokens, features, seed):
    outputs = range(1, len(features))
    check(chain(tokens, *features, outputs=outputs), seed=seed)


def test_two_inputs():
    rng = np.random.default_rng(0)
    graph = Graph()
    for name, tokens in (("a", 5), ("b", 12)):
        x = graph.input(name, tokens=tokens, features=16)
        graph.output(graph.linear(f"{name}_out", x, rng.normal(size=(8, 16))))
    check(graph)


# -- refusals --------------------------------------------------------------------------------------

def test_what_cannot_fit_is_refused():
    with pytest.raises(ValueError, match=re.escape(
            "Layer y must fit into the scratchpad part by part: the least part of 1100 inputs × 4 "
            "outputs takes 1106 words, but 1024 of 1024 are free")):
        check(linear(1, 1100, 4, np.random.default_rng(0)))


def test_a_graph_without_outputs_is_refused():
    graph = Graph()
    graph.linear("y", graph.input("x", tokens=1, features=1), [[1]])
    with pytest.raises(ValueError, match="A graph must have an output to be compiled"):
        heddle.compile(graph, {"x": [[1]]}, "tiny")


def test_an_unknown_geometry_is_refused():
    with pytest.raises(ValueError, match=f"Geometry must be one of {', '.join(PRESETS)}, not"):
        heddle.linear([[1]], [[1]], geometry="huge")


# -- the interface ---------------------------------------------------------------------------------

def test_linear():
    rng = np.random.default_rng(0)
    x, w, bias = rng.normal(size=(33, 7)), rng.normal(size=(20, 7)), rng.normal(size=20)
    result = heddle.linear(x, w, bias, geometry="tiny", device="golden")
    assert result.output.dtype == np.float32
    assert result.output.shape == (33, 20)
    report = result.report
    assert report["error"] < 0.015
    assert np.abs(result.output - (x @ w.T + bias)).max() < 0.1
    assert report["matches_golden"] is True
    assert (report["workload"], report["geometry"], report["device"]) == (
        "linear 33x7x20", "tiny", "golden")
    assert report["macs"] == report["macs_dense"] == 33 * 7 * 20
    assert report["peak_macs_per_cycle"] == 32
    assert report["array_cycles"] == 9 * 5 * 4
    assert report["dram_write_bytes"] == 9 * 5 * 16
    assert report["scratchpad_bytes"] <= TINY.scratchpad_bytes
    assert [name for name in report if report[name] is None] == [
        "cycles", "wait_dma", "wait_operands", "wait_drain", "wait_softmax", "utilisation",
        "milliseconds", "gops"]


@pytest.mark.parametrize(("arguments", "message"), [
    (([1.0], [[1.0]]), "x must have 2 axes, not 1"),
    (([[1.0]], [[1.0, 2.0]]), "w must have 1 along axis 1, not 2"),
    (([[1.0]], [[1.0]], [1.0, 2.0]), "Bias of y must have 1 along axis 0, not 2"),
    (([[np.nan]], [[1.0]]), "x must be finite in float32, but element (0, 0) is nan"),
    (([[1.0]], np.zeros((0, 1))), "w must have at least 1 along axis 0, not 0"),
])
def test_linear_refuses_bad_arrays(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        heddle.linear(*arguments, geometry="tiny", device="golden")


def test_linear_refuses_unknown_devices():
    with pytest.raises(ValueError, match=r"Device must be one of golden, rtl, .*not 'fpga'"):
        heddle.linear([[1]], [[1]], geometry="tiny", device="fpga")


# -- memories --------------------------------------------------------------------------------------

def test_pool_is_first_fit_and_reuses_late():
    pool = Pool(100)
    a, b = pool.allocate(30), pool.allocate(30)
    assert (a.start, b.start) == (0, 30)
    pool.release(a)
    assert pool.allocate(20).start == 60  # not where a was, as there is room
    assert pool.largest == 30
    assert pool.allocate(30).start == 0
    assert pool.allocate(30) is None
    assert pool.allocate(20, top=True).start == 80
    assert pool.peak == 100


def test_regions_can_be_split():
    pool = Pool(10)
    first, rest = pool.split(pool.allocate(10), 4)
    assert (first.start, first.end, rest.start, rest.end) == (0, 4, 4, 10)
    pool.release(first)
    assert pool.largest == 4


def test_operands_are_found_until_they_are_overwritten():
    ring = OperandRing(64)
    assert [ring.put(name, 30) for name in "abc"] == [0, 30, 0]
    assert [ring.find(name) for name in "abc"] == [None, 30, 0]


# -- speed -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("shape", "utilisation"), [
    ((128, 384, 1536), 0.93), ((512, 768, 3072), 0.98), ((128, 384, 384), 0.765),
    ((128, 1536, 384), 0.77), ((512, 1536, 384), 0.93),
])
def test_expected_utilisation(shape, utilisation):
    tokens, inputs, outputs = shape
    graph = linear(*shape, np.random.default_rng(0))
    program = heddle.compile(graph, {"x": np.ones((1, inputs))}, "zcu102")
    cycles = estimate(program.decoded(), program.geometry).cycles
    peak = program.geometry.peak_macs_per_cycle
    assert tokens * inputs * outputs / (cycles * peak) > utilisation


def test_a_layer_starts_while_the_one_before_is_computed():
    rng = np.random.default_rng(0)
    graph = Graph()
    sources = [graph.input(name, tokens=128, features=384) for name in ("hidden", "context")]
    for name, x in zip(("query", "key", "value", "output"), (sources[0],) * 3 + (sources[1],)):
        graph.output(graph.linear(name, x, rng.normal(size=(384, 384))))
    program = heddle.compile(graph, {x: np.ones((1, 384)) for x in sources}, "zcu102")
    e = estimate(program.decoded(), program.geometry)
    assert e.array_cycles == 4 * 4608
    assert e.cycles < 20_000
