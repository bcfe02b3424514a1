"""Residual sums and norms in graphs: from floating point to programs on the golden device."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heddle
from heddle.compiler import lower
from heddle.cost import estimate
from heddle.quantise import quantise, relative_error
from heddle.rtl.isa import Opcode


def block(tokens, features, *, pre, rms=False, seed=0):
    """Return a feed-forward block with its norms, as in encoders (post) or decoders (pre)."""
    random = np.random.default_rng(seed)
    gains = random.uniform(0.5, 2, (2, features)) * random.choice([-1, 1], (2, features))
    biases = random.normal(size=(2, features))
    expand, contract = (random.normal(size=shape) for shape in (
        (2 * features, features), (features, 2 * features)))
    graph = heddle.Graph("block")
    x = graph.input("x", tokens=tokens, features=features)
    y = graph.norm("before", x, gains[0], biases[0], rms=rms) if pre else x
    y = graph.linear("contract", graph.linear("expand", y, expand), contract)
    total = graph.add("sum", x, y)
    last = graph.norm("after", total, gains[1], biases[1], rms=rms)
    graph.output(last, *([total] if pre else []))
    return graph, {"x": random.normal(size=(tokens, features)) * random.uniform(0.1, 3, features)}


def check(graph, inputs, geometry, error=0.03):
    quantised = quantise(graph, inputs)
    program = lower(quantised, heddle.preset(geometry))
    result = heddle.run(program, inputs, device="golden", quantised=quantised)
    assert result.report["matches_golden"]
    assert result.report["error"] < error
    return program


@pytest.mark.parametrize("pre", [False, True], ids=["post", "pre"])
@pytest.mark.parametrize("rms", [False, True], ids=["layer", "rms"])
@pytest.mark.parametrize(("geometry", "tokens", "features"), [
    ("tiny", 9, 12), ("tiny", 3, 5), ("ulx3s", 20, 24), ("compact", 40, 70), ("zcu102", 70, 100)])
def test_blocks_run_as_their_integers_say(geometry, tokens, features, pre, rms):
    check(*block(tokens, features, pre=pre, rms=rms), geometry, error=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.booleans(), st.booleans(), st.integers(0, 99))
def test_blocks_of_any_size(tokens, features, pre, rms, seed):
    graph, inputs = block(tokens, features, pre=pre, rms=rms, seed=seed)
    quantised = quantise(graph, inputs)
    result = heddle.run(lower(quantised, heddle.preset("tiny")), inputs, device="golden",
                        quantised=quantised)
    assert result.report["matches_golden"]


def test_evaluation_is_that_of_the_definitions():
    graph = heddle.Graph()
    x = graph.input("x", tokens=3, features=4)
    gain, bias = np.array([1, 2, 3, 4.0]), np.array([0, 1, 0, -1.0])
    graph.norm("layer", x, gain, bias, epsilon=0.25)
    graph.norm("rms", x, gain, epsilon=0.25, rms=True)
    graph.add("sum", "layer", "rms")
    values = np.random.default_rng(0).normal(size=(3, 4))
    got = graph.evaluate({"x": values})
    values = np.float32(values).astype(float)
    variance = values.var(axis=1, keepdims=True)
    layer = (values - values.mean(axis=1, keepdims=True)) / np.sqrt(variance + 0.25) * gain + bias
    rms = values / np.sqrt((values ** 2).mean(axis=1, keepdims=True) + 0.25) * gain
    np.testing.assert_allclose(got["layer"], layer)
    np.testing.assert_allclose(got["rms"], rms)
    np.testing.assert_allclose(got["sum"], layer + rms)


def test_a_norm_takes_the_sum_that_it_reads_along():
    graph, inputs = block(8, 16, pre=False)
    program = check(graph, inputs, "zcu102")
    norms = [i for i in program.decoded() if i.opcode == Opcode.NORM]
    assert [(i["residual"], i["sum"], i["norm"]) for i in norms] == [(1, 0, 1)]
    # A norm of the sum in 18 bits errs less than one of the sum in INT8.
    apart = heddle.Graph()
    total = apart.input("x", tokens=8, features=16)
    apart.output(apart.norm("after", total, graph.layers[-1].gain, graph.layers[-1].bias))
    values = graph.evaluate(inputs)
    together = quantise(graph, inputs)
    rounded = together.integers(inputs)
    exact = sum(together.scales[name].dequantise(rounded[name]) for name in ("x", "contract"))
    wanted = apart.evaluate({"x": exact})["after"]
    got = together.scales["after"].dequantise(rounded["after"])
    coarse = quantise(apart, {"x": values["sum"]}).infer({"x": exact})["after"]
    assert relative_error(got, wanted) < 0.9 * relative_error(coarse, wanted)


def test_a_sum_is_kept_where_something_else_reads_it():
    graph, inputs = block(8, 16, pre=True)
    quantised = quantise(graph, inputs)
    assert [layer.outputs for layer in quantised.layers if layer.name in ("before", "after")] == [
        ("before",), ("sum", "after")]


def test_tensors_that_do_not_fit_pass_through():
    """With a small scratchpad a long sum goes through it tile by tile."""
    geometry = heddle.preset("tiny")
    graph = heddle.Graph()
    features = geometry.scratchpad_bytes // 8 // geometry.lanes
    names = [graph.input(name, tokens=20, features=features) for name in "xy"]
    graph.add("sum", *names)
    graph.output("sum", graph.norm("norm", "sum", np.ones(features)))
    random = np.random.default_rng(0)
    program = check(graph, {name: random.normal(size=(20, features)) for name in names}, "tiny")
    assert program.scratchpad_bytes <= geometry.scratchpad_bytes
    assert sum(slot.part_bytes * 5 for slot in (*program.inputs.values(), *program.outputs.values())
               ) > geometry.scratchpad_bytes


@pytest.mark.parametrize("source", ["norm", "sum"])
@pytest.mark.parametrize("features", [12, 200])
def test_what_follows_reads_what_was_made(source, features):
    """Whether a product can meet tiles as they are made, reads the sum, or finds all in DRAM."""
    graph = heddle.Graph()
    random = np.random.default_rng(features)
    names = [graph.input(name, tokens=30, features=features) for name in "xy"]
    graph.add("sum", *names)
    graph.norm("norm", "sum", np.ones(features))
    graph.linear("product", source, random.normal(size=(12, features)))
    graph.output("product", graph.add("again", "sum", "norm"))
    check(graph, {name: random.normal(size=(30, features)) for name in names}, "tiny")


def test_tiles_are_multiplied_while_others_are_normalised():
    """In a chain the norms cost little beside the products."""
    cycles = {}
    for normed in (False, True):
        graph = heddle.Graph()
        random = np.random.default_rng(0)
        x = y = graph.input("x", tokens=128, features=384)
        for n in range(4):
            y = graph.linear(f"y{n}", y, random.normal(size=(384, 384)))
            y = graph.norm(f"n{n}", graph.add(f"s{n}", x, y), np.ones(384)) if normed else y
            x = y
        graph.output(y)
        program = lower(quantise(graph, {"x": random.normal(size=(128, 384))}),
                        heddle.preset("zcu102"))
        cycles[normed] = estimate(program.decoded(), program.geometry).cycles
    assert cycles[True] < 1.2 * cycles[False]


def test_refusals():
    graph = heddle.Graph()
    x = graph.input("x", tokens=4, features=6)
    graph.input("y", tokens=4, features=8)
    with pytest.raises(ValueError, match=r"y must be \(4, 6\), tokens and features, like x"):
        graph.add("sum", x, "y")
    with pytest.raises(ValueError, match="Gain of n must have 6 along axis 0, not 8"):
        graph.norm("n", x, np.ones(8))
    with pytest.raises(ValueError, match="Bias of n must be finite"):
        graph.norm("n", x, np.ones(6), np.full(6, np.nan))
    with pytest.raises(ValueError, match="Epsilon of n must be at least 0 and finite, not -1"):
        graph.norm("n", x, np.ones(6), epsilon=-1)
    graph = heddle.Graph()
    graph.output(graph.norm("n", graph.input("x", tokens=4, features=6), np.ones(6)))
    with pytest.raises(ValueError, match="sums and norms have fixed scales"):
        quantise(graph, {"x": np.ones((4, 6))}, "token")


def test_padded_heads_are_not_normalised():
    graph = heddle.Graph()
    names = [graph.input(name, tokens=4, features=6) for name in "qkv"]
    graph.output(graph.norm("n", graph.attention("a", *names, heads=2), np.ones(6)))
    inputs = {name: np.random.default_rng(0).normal(size=(4, 6)) for name in names}
    with pytest.raises(ValueError, match="a must be added and normalised without padding"):
        lower(quantise(graph, inputs), heddle.preset("tiny"))


def test_a_tensor_added_to_itself_has_one_place():
    graph = heddle.Graph()
    x = graph.input("x", tokens=9, features=12)
    graph.output(graph.add("twice", x, x))
    program = check(graph, {"x": np.random.default_rng(0).normal(size=(9, 12))}, "tiny")
    parts, words = 3, 12 * 4 // heddle.preset("tiny").word_bytes
    params = heddle.preset("tiny").norm_words(words)
    assert program.scratchpad_bytes == (2 * parts * words + params) * heddle.preset(
        "tiny").word_bytes
