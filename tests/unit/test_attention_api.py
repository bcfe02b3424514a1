"""Attention from arrays or graphs to programs, on the golden machine."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import heddle
from heddle import Graph, Pattern, Program
from heddle.api import run
from heddle.compiler import lower
from heddle.quantise import quantise
from heddle.rtl.geometry import PRESETS, preset
from heddle.rtl.isa import Opcode
from heddle.sim.executor import execute

TINY = preset("tiny")


def tensors(*, heads=2, kv_heads=None, queries=9, keys=13, dim=5, batch=None, seed=0):
    rng = np.random.default_rng(seed)
    items = () if batch is None else (batch,)
    return [rng.normal(size=(*items, number, tokens, dim)).astype(np.float32)
            for number, tokens in ((heads, queries), (kv_heads or heads, keys),
                                   (kv_heads or heads, keys))]


def exact(q, k, v, visible=None, scale=None):
    """Attention in float64; a query that sees nothing has zeros."""
    group = q.shape[-3] // k.shape[-3]
    k, v = (np.repeat(x.astype(np.float64), group, axis=-3) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5)
    visible = np.broadcast_to(True if visible is None else visible, scores.shape)
    weights = np.where(visible, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300) @ v


def attention(*qkv, **options):
    result = heddle.attention(*qkv, geometry="tiny", device="golden", **options)
    assert result.report["matches_golden"]
    return result


def error(result, wanted):
    return np.sqrt(np.mean((result.output - wanted) ** 2) / np.mean(wanted ** 2))


def check(graph, inputs, *, geometry=TINY, seed=None):
    """Compile and run a graph; compare all outputs with the layers computed directly."""
    quantised = quantise(graph, inputs)
    program = lower(quantised, geometry)
    image = program.image(inputs)
    execute(geometry, image, offset=program.offset, instructions=len(program.instructions),
            seed=seed)
    wanted, got = quantised.integers(inputs, geometry), program.integers_of(image)
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    return program, quantised


# -- arrays ----------------------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(heads=st.sampled_from([1, 2, 3, 4, 6]), group=st.sampled_from([1, 2, 3]),
       queries=st.integers(1, 40), keys=st.integers(1, 70), dim=st.integers(1, 8),
       causal=st.booleans(), window=st.one_of(st.none(), st.integers(1, 20)),
       share=st.one_of(st.none(), st.floats(0, 1)), spread=st.sampled_from([0.1, 1, 4]),
       seed=st.integers(0, 999))
@example(heads=6, group=3, queries=40, keys=70, dim=8, causal=True, window=None, share=0.1,
         spread=1, seed=0)
@example(heads=1, group=1, queries=5, keys=70, dim=1, causal=False, window=2, share=0.0, spread=1,
         seed=0)
def test_any_shape_and_pattern(heads, group, queries, keys, dim, causal, window, share, spread,
                               seed):
    rng = np.random.default_rng(seed)
    heads = heads * group if heads * group <= 6 else heads
    kv_heads = heads // group if heads % group == 0 else heads
    mask = None if share is None else rng.random((heads, queries, keys)) < share
    pattern = Pattern(queries, keys, heads=heads, mask=mask, causal=causal, window=window)
    graph = Graph()
    for name, number, tokens in (("q", heads, queries), ("k", kv_heads, keys),
                                 ("v", kv_heads, keys)):
        graph.input(name, tokens=tokens, features=number * dim)
    graph.output(graph.attention("o", "q", "k", "v", heads=heads, kv_heads=kv_heads,
                                 pattern=pattern))
    inputs = {name: rng.normal(size=(graph.tensors[name].tokens, graph.tensors[name].features))
              * (spread if name == "q" else 1) for name in graph.inputs}
    program, _ = check(graph, inputs, seed=seed)
    assert program.tiles_visited <= program.tiles_total


@pytest.mark.parametrize("geometry", list(PRESETS))
def test_every_geometry(geometry):
    result = heddle.attention(*tensors(heads=4, kv_heads=2, queries=40, keys=50, dim=7),
                              geometry=geometry, device="golden")
    assert result.report["matches_golden"]
    assert result.report["error"] < 0.03


@pytest.mark.parametrize("options", [{}, {"kv_heads": 1}, {"batch": 3}, {"batch": 2, "kv_heads": 1},
                                     {"dim": 8}, {"dim": 1}, {"queries": 1}, {"keys": 1}])
def test_values(options):
    qkv = tensors(**options)
    result = attention(*qkv)
    assert result.output.shape == qkv[0].shape
    assert result.output.dtype == np.float32
    assert error(result, exact(*qkv)) == pytest.approx(result.report["error"])
    assert result.report["error"] < 0.03
    assert result.report["error_int8"] < 0.02


def test_scale():
    qkv = tensors()
    assert error(attention(*qkv, scale=1.5), exact(*qkv, scale=1.5)) < 0.04
    mean = np.broadcast_to(qkv[2].mean(1, keepdims=True), qkv[0].shape)
    assert error(attention(*qkv, scale=0), mean) < 0.01


def test_values_of_another_width():
    q, k, _ = tensors(dim=5)
    v = tensors(dim=8, seed=1)[2]
    for values in (v, v[..., :2]):
        result = attention(q, k, values)
        assert result.output.shape == (2, 9, values.shape[-1])
        assert result.report["macs"] == 2 * 9 * 13 * (5 + values.shape[-1])
        assert error(result, exact(q, k, values)) < 0.03


def test_patterns_hide():
    query, key = np.ogrid[:20, :20]
    qkv = tensors(queries=20, keys=20)
    for options, visible in (({"causal": True}, key <= query),
                             ({"window": 3}, abs(query - key) < 3),
                             ({"lengths": 7}, (key < 7) & (query < 7)),
                             ({"mask": (key + query) % 3 == 0}, (key + query) % 3 == 0)):
        result = attention(*qkv, **options)
        assert error(result, exact(*qkv, visible)) < 0.03, options
        assert result.report["macs"] == 2 * 2 * 5 * visible.sum() < result.report["macs_dense"]


def test_queries_that_see_nothing_are_zero():
    qkv = tensors(queries=12, keys=12, batch=2)
    result = attention(*qkv, lengths=[5, 0])
    assert (result.output[0, :, 5:] == 0).all()
    assert (result.output[1] == 0).all()
    assert result.output[0, :, :5].any()


def test_hidden_tiles_take_no_steps():
    qkv = tensors(queries=40, keys=40)
    dense, local = attention(*qkv).report, attention(*qkv, window=2).report
    assert dense["tiles_visited"] == dense["tiles_total"] == local["tiles_total"] == 200
    assert local["array_cycles"] * 200 == dense["array_cycles"] * local["tiles_visited"]


def test_scratchpad_does_not_grow():
    small, large = (attention(*tensors(queries=4, keys=keys, dim=8)).report
                    for keys in (64, 2000))
    assert small["scratchpad_bytes"] == large["scratchpad_bytes"]


def test_what_is_in_the_scratchpad_is_not_loaded_again():
    one, many = (attention(*tensors(heads=1, queries=queries, keys=32, dim=8)).report
                 for queries in (4, 40))
    more = many["dram_read_bytes"] - one["dram_read_bytes"]
    assert more <= 9 * (4 * 8 + 4 * 64)  # queries, and four instructions, for each further tile


# -- graphs ----------------------------------------------------------------------------------------

def block(*, tokens=13, features=12, heads=2, kv_heads=None, dim=5, seed=0, **pattern):
    """Projections, attention, and the projection of its output."""
    rng = np.random.default_rng(seed)
    kv_heads = kv_heads or heads
    graph = Graph("block")
    x = graph.input("x", tokens=tokens, features=features)
    k, v, q = (graph.linear(name, x, rng.normal(size=(number * dim, features)) / features ** 0.5,
                            rng.normal(size=number * dim) / 9)
               for name, number in (("k", kv_heads), ("v", kv_heads), ("q", heads)))
    o = graph.attention("o", q, k, v, heads=heads, kv_heads=kv_heads,
                        pattern=Pattern(tokens, tokens, heads=heads, **pattern))
    graph.output(graph.linear("y", o, rng.normal(size=(features, heads * dim)),
                              rng.normal(size=features)))
    return graph, {"x": rng.normal(size=(tokens, features))}


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(1, 24), features=st.integers(1, 20), heads=st.integers(1, 3),
       group=st.integers(1, 2), dim=st.integers(1, 8), causal=st.booleans(),
       seed=st.integers(0, 99))
def test_any_block(tokens, features, heads, group, dim, causal, seed):
    graph, inputs = block(tokens=tokens, features=features, heads=heads * group, kv_heads=heads,
                          dim=dim, seed=seed, causal=causal)
    check(graph, inputs, seed=seed)


def test_projections_do_not_pass_through_dram():
    graph, inputs = block()
    program, _ = check(graph, inputs)
    assert list(program.outputs) == ["y"]
    stores = [i for i in program.decoded() if i.opcode == Opcode.STORE]
    words = sum(i["count"] * i["rows"] * i["words"] for i in stores)
    assert words * TINY.word_bytes == 4 * 4 * 12  # four tiles of four tokens


def test_all_heads_in_one_instruction():
    graph, inputs = block(tokens=8, heads=3)
    program, _ = check(graph, inputs)
    attends = [i for i in program.decoded() if i.opcode == Opcode.ATTEND]
    assert [i["jobs"] for i in attends] == [3, 3]


def test_keys_in_the_scratchpad_are_not_cut_into_chunks():
    """A tile of queries visits three tiles of keys with masks, wherever they start."""
    graph, inputs = block(tokens=40, heads=3, window=3)
    program, _ = check(graph, inputs)
    attends = [i for i in program.decoded() if i.opcode == Opcode.ATTEND]
    assert [(i["jobs"], i["tiles"]) for i in attends] == [(3, 2), *[(3, 3)] * 8, (3, 2)]


def test_block_is_near_float():
    graph, inputs = block(tokens=40, features=16, dim=8, causal=True)
    quantised = quantise(graph, inputs)
    report = run(lower(quantised, TINY), inputs, device="golden", quantised=quantised).report
    assert report["matches_golden"]
    assert report["error"] < 0.03


def test_attention_of_an_output_that_is_stored_and_used():
    graph, inputs = block()
    graph.output("o")
    check(graph, inputs)


def test_queries_of_another_sequence():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", tokens=10, features=6)
    graph.input("k", tokens=17, features=8)
    graph.input("v", tokens=17, features=8)
    q = graph.linear("q", x, rng.normal(size=(8, 6)))
    graph.output(graph.attention("o", q, "k", "v", heads=2))
    check(graph, {name: rng.normal(size=(graph.tensors[name].tokens, graph.tensors[name].features))
                  for name in graph.inputs})


# -- heads of several widths -----------------------------------------------------------------------

def uneven(widths, values, *, group=1, tokens=13, features=12, linear=True, seed=0, **pattern):
    """As :func:`block`, with heads of any widths; or attention alone, of inputs."""
    rng = np.random.default_rng(seed)
    graph = Graph("uneven")
    sizes = {"q": sum(widths), "k": sum(widths[::group]), "v": sum(values)}
    if linear:
        graph.input("x", tokens=tokens, features=features)
        for name, size in sizes.items():
            graph.linear(name, "x", rng.normal(size=(size, features)), rng.normal(size=size) / 9)
    else:
        for name, size in sizes.items():
            graph.input(name, tokens=tokens, features=size)
    o = graph.attention("o", "q", "k", "v", heads=widths, kv_heads=len(values), value_heads=values,
                        scale=0.3, pattern=Pattern(tokens, tokens, heads=len(widths), **pattern))
    graph.output(o)
    if linear:
        graph.output(graph.linear("y", o, rng.normal(size=(features, group * sum(values)))))
    return graph, {name: rng.normal(size=(tokens, graph.tensors[name].features)).astype("f4")
                   for name in graph.inputs}


@settings(max_examples=40, deadline=None)
@given(heads=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4),
       group=st.integers(1, 2), tokens=st.integers(1, 24), linear=st.booleans(),
       causal=st.booleans(), seed=st.integers(0, 99))
def test_any_heads(heads, group, tokens, linear, causal, seed):
    keys, values = zip(*heads)
    graph, inputs = uneven(np.repeat(keys, group), values, group=group, tokens=tokens,
                           linear=linear, seed=seed, causal=causal)
    program, _ = check(graph, inputs, seed=seed)
    pairs = tokens * (tokens + 1) // 2 if causal else tokens ** 2
    products = tokens * 12 * (sum(keys) * (1 + group) + sum(values) * (1 + group)) if linear else 0
    assert program.macs == products + group * pairs * (sum(keys) + sum(values))
    assert program.macs_dense == products + group * tokens ** 2 * (sum(keys) + sum(values))


def test_heads_of_several_widths_are_computed_one_by_one():
    graph, inputs = uneven([3, 1, 5], [2, 7, 4], linear=False)
    q, k, v = (np.split(inputs[name], cuts, axis=1) for name, cuts in (
        ("q", [3, 4]), ("k", [3, 4]), ("v", [2, 9])))
    wanted = np.concatenate([exact(*(x[np.newaxis] for x in head), scale=0.3)[0]
                             for head in zip(q, k, v)], axis=1)
    np.testing.assert_allclose(graph.evaluate(inputs)["o"], wanted)
    quantised = quantise(graph, inputs)
    assert np.sqrt(np.mean((quantised.infer(inputs, TINY)["o"] - wanted) ** 2)
                   / np.mean(wanted ** 2)) < 0.03


def test_pairs_are_those_of_each_head():
    mask = np.zeros((2, 13, 13), bool)
    mask[0, :, :2] = mask[1, :, 5] = True
    graph, inputs = uneven([3, 7], [5, 1], linear=False, mask=mask)
    program, _ = check(graph, inputs)
    assert program.macs == 13 * 2 * (3 + 5) + 13 * 1 * (7 + 1)


def test_heads_as_a_number_or_as_widths_are_the_same_program():
    programs = []
    for heads in (3, [5, 5, 5]):
        graph = Graph()
        for name in "qkv":
            graph.input(name, tokens=9, features=15)
        graph.output(graph.attention("o", "q", "k", "v", heads=heads))
        inputs = {name: np.random.default_rng(0).normal(size=(9, 15)) for name in "qkv"}
        programs.append(check(graph, inputs)[0])
    one, other = programs
    np.testing.assert_array_equal(one.instructions, other.instructions)
    np.testing.assert_array_equal(one.image(inputs), other.image(inputs))


def test_all_heads_of_several_widths_are_one_instruction():
    graph, inputs = uneven([5, 3, 1], [2, 2, 6], tokens=8)
    program, _ = check(graph, inputs)
    attends = [i for i in program.decoded() if i.opcode == Opcode.ATTEND]
    assert [(i["jobs"], i["steps"], i["blocks"]) for i in attends] == [(3, 3, 2)] * 2


def test_program_file(tmp_path):
    graph, inputs = uneven([5, 3], [2, 6], causal=True)
    program, _ = check(graph, inputs)
    program.save(tmp_path / "block")
    loaded = Program.load(tmp_path / "block")
    np.testing.assert_array_equal(loaded.image(inputs), program.image(inputs))
    assert (loaded.macs, loaded.macs_dense) == (program.macs, program.macs_dense)
    assert loaded.tiles_visited == program.tiles_visited < loaded.tiles_total


# -- refusals --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("change", "message"), [
    (lambda o: o.update(q=np.zeros((2, 3))),
     "Queries must be [heads, queries, dim] or [batch, heads, queries, dim], not of shape (2, 3)"),
    (lambda o: o.update(k=np.zeros((2, 13, 4))), "Keys must have 5 along axis 2, not 4"),
    (lambda o: o.update(v=np.zeros((2, 12, 5))), "Values must have 13 along axis 1, not 12"),
    (lambda o: o.update(k=np.zeros((1, 2, 13, 5))), "Keys must have 3 axes, not 4"),
    (lambda o: o.update(q=np.full((2, 9, 5), np.nan)), "Queries must be finite"),
    (lambda o: o.update(q=np.zeros((2, 0, 5))), "Queries must have at least 1 along axis 1, not 0"),
    (lambda o: o.update(k=np.zeros((3, 13, 5)), v=np.zeros((3, 13, 5))),
     "Heads of o must be a multiple of its 3 heads of keys and values, not 2"),
    (lambda o: o.update(v=np.zeros((1, 13, 5))), "Values must have 2 along axis 0, not 1"),
    (lambda o: o.update(scale=-1.0), "Scale of o must be at least 0 and finite, not -1.0"),
    (lambda o: o.update(window=0), "Window must be at least 1, not 0"),
    (lambda o: o.update(mask=np.ones((9, 12), bool)), "Mask must be [queries, keys] = (9, 13)"),
    (lambda o: o.update(lengths=14), "Length of item 0 must be between 0 and its 13 keys, not 14"),
    (lambda o: o.update(zip("qkv", tensors(dim=9))),
     "Heads of o must have at most 8 features on tiny, not 9"),
    (lambda o: o.update(v=np.zeros((2, 13, 9))),
     "Heads of o must have at most 8 features on tiny, not 9"),
    (lambda o: o.update(geometry="huge"), "Geometry must be one of "),
    (lambda o: o.update(device="gpu"), "Device must be one of "),
])
def test_refusals(change, message):
    options = dict(zip("qkv", tensors()), geometry="tiny", device="golden")
    change(options)
    with pytest.raises(ValueError, match=re.escape(message)):
        heddle.attention(**options)


def test_wrong_types():
    q, k, v = tensors()
    with pytest.raises(TypeError, match="Mask must be boolean"):
        attention(q, k, v, mask=np.ones((9, 13)))
    with pytest.raises(TypeError, match="Keys must have real numbers, not complex128"):
        attention(q, k.astype(complex), v)


def test_graph_refusals():
    def fresh():
        graph = Graph()
        for name in "qkv":
            graph.input(name, tokens=4, features=6)
        return graph

    def refuses(message, act):
        graph = fresh()
        with pytest.raises(ValueError, match=re.escape(message)):
            act(graph)

    refuses("Features of q must be a multiple of its 4 heads, not 6",
            lambda g: g.attention("o", "q", "k", "v", heads=4))
    refuses("Heads of o must have the 6 features of q together, not 5",
            lambda g: g.attention("o", "q", "k", "v", heads=[2, 3]))
    refuses("Heads of o must have at least 1 feature each, not [6, 0]",
            lambda g: g.attention("o", "q", "k", "v", heads=[6, 0]))
    refuses("Heads of o must have at least 1 feature each, not []",
            lambda g: g.attention("o", "q", "k", "v", heads=[]))
    refuses("Heads of keys of o must have the 6 features of k together, not 3",
            lambda g: g.attention("o", "q", "k", "v", heads=2, kv_heads=1))
    refuses("Heads 0 and 1 of o share their keys, so they must be equally wide, not 2 and 4",
            lambda g: g.attention("o", "q", "k", "v", heads=[2, 4], kv_heads=1))
    refuses("Heads of keys and values of o must be at least 1, not 0",
            lambda g: g.attention("o", "q", "k", "v", heads=2, kv_heads=0))
    refuses("Heads of values of o must have the 6 features of v together, not 7",
            lambda g: g.attention("o", "q", "k", "v", heads=2, value_heads=[3, 4]))
    refuses("Heads of values of o must be 2, not 3",
            lambda g: g.attention("o", "q", "k", "v", heads=2, value_heads=[2, 2, 2]))
    refuses("Scale of o must be given, as its heads have 2 to 4 features",
            lambda g: g.attention("o", "q", "k", "v", heads=[2, 4]))
    refuses("Heads of o must be at least 1, not 0",
            lambda g: g.attention("o", "q", "k", "v", heads=0))
    refuses("Tensors of o must be 3, not 2", lambda g: g.attention("o", "q", "k", "k"))
    refuses("Queries of the pattern of o must be 4, not 5",
            lambda g: g.attention("o", "q", "k", "v", pattern=Pattern(5, 4)))
    refuses("Heads of the pattern, times its batch, of o must be 2, not 1",
            lambda g: g.attention("o", "q", "k", "v", heads=2, pattern=Pattern(4, 4)))
    refuses("q must be read by attention alone",
            lambda g: (g.attention("o", "q", "k", "v"), g.linear("y", "q", np.eye(6))))
    refuses("q must be read by o alone",
            lambda g: (g.linear("y", "q", np.eye(6)), g.attention("o", "q", "k", "v")))
    refuses("Keys and values of o must both be inputs, or both be made by layers",
            lambda g: g.attention("o", "q", "k", g.linear("w", "v", np.eye(6))))
    refuses("A graph with factors for the tokens must have ",
            lambda g: (g.output(g.attention("o", "q", "k", "v")),
                       quantise(g, {n: np.ones((4, 6)) for n in "qkv"}, "token")))


def test_output_read_by_attention():
    graph, _ = block()
    with pytest.raises(ValueError, match="Output must not be read by attention, as 'k' is"):
        graph.output("k")


def test_keys_that_do_not_fit():
    graph, inputs = block(tokens=400, heads=4, dim=8)
    with pytest.raises(ValueError, match="Keys and values must fit into the scratchpad, but "):
        check(graph, inputs)
