"""Attention through the whole machine: compiler, program, RTL, golden model."""

import numpy as np
import pytest

import heddle
from heddle import Graph, Pattern, Rtl
from heddle.api import run
from heddle.compiler import lower
from heddle.quantise import quantise
from heddle.rtl.geometry import PRESETS

TINY = PRESETS["tiny"]


def tensors(heads, kv_heads, queries, keys, dim, spread=1.0, seed=0):
    rng = np.random.default_rng([seed, heads, queries, keys, dim])
    shapes = (heads, queries, dim), (kv_heads, keys, dim), (kv_heads, keys, dim)
    q, k, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return q * np.float32(spread), k, v


def attention(*qkv, device="rtl", **options):
    result = heddle.attention(*qkv, geometry="tiny", device=device, **options)
    assert result.report["matches_golden"]
    return result


@pytest.mark.parametrize(("heads", "kv_heads", "queries", "keys", "dim"), [
    (1, 1, 1, 1, 1), (1, 1, 4, 4, 4), (2, 2, 9, 21, 5), (3, 3, 16, 16, 8), (1, 1, 40, 7, 3),
    (1, 1, 5, 300, 8), (4, 2, 9, 30, 7), (4, 1, 12, 5, 8), (6, 2, 4, 4, 2), (1, 1, 60, 60, 8)])
def test_shapes(heads, kv_heads, queries, keys, dim):
    report = attention(*tensors(heads, kv_heads, queries, keys, dim)).report
    assert report["error"] < 0.03
    assert report["error_int8"] < 0.02
    assert report["tiles_visited"] == report["tiles_total"]
    assert 0 < report["utilisation"] <= 1


@pytest.mark.parametrize("options", [
    {"causal": True}, {"window": 1}, {"window": 6}, {"window": 3, "dilation": 4},
    {"window": 2, "global_tokens": 3}, {"causal": True, "window": 9}, {"lengths": 17},
    {"lengths": 0}, {"blocks": (np.eye(10, dtype=bool), 4)}], ids=str)
def test_patterns(options):
    report = attention(*tensors(2, 2, 40, 40, 8), **options).report
    assert report["tiles_visited"] < report["tiles_total"]


@pytest.mark.parametrize("share", [0.02, 0.5])
@pytest.mark.parametrize("shape", [(40, 40), (2, 40, 40)])
def test_masks(share, shape):
    rng = np.random.default_rng(0)
    attention(*tensors(2, 1, 40, 40, 8), mask=rng.random(shape) < share)


@pytest.mark.parametrize("scores", ["equal", "rising", "falling", "alternating", "dominant"])
def test_adversarial_rows(scores):
    position = np.linspace(0, 1, 64)
    values = {"equal": np.ones(64), "rising": position, "falling": 1 - position,
              "alternating": np.where(np.arange(64) % 2, 1.0, -1.0),
              "dominant": 1.0 * (np.arange(64) == 40)}[scores]
    q, k = np.ones((1, 4, 8)), np.broadcast_to(values[:, np.newaxis], (1, 64, 8))
    v = np.random.default_rng(0).normal(size=(1, 64, 8))
    for scale in (0.1, 4.0):
        report = attention(q, k, v, scale=scale).report
        assert report["error_int8"] < 0.05


def test_batch_of_other_lengths():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(3, 2, 14, 6)) for _ in range(3))
    result = attention(q, k, v, lengths=[14, 3, 9])
    assert (result.output[1, :, 3:] == 0).all()


@pytest.mark.parametrize(("latency", "bandwidth"), [(0, 0), (400, 3)])
def test_the_memory_changes_the_time_and_nothing_else(latency, bandwidth):
    device = Rtl(TINY, latency=latency, bandwidth=bandwidth)
    attention(*tensors(2, 2, 24, 50, 8), device=device, causal=True)


@pytest.mark.parametrize(("heads", "kv_heads", "dim", "options"), [
    (1, 1, 4, {}), (3, 3, 5, {}), (4, 2, 8, {"causal": True}), (2, 2, 8, {"lengths": 7})])
def test_projections_and_attention_in_one_program(heads, kv_heads, dim, options):
    rng = np.random.default_rng(0)
    tokens, features = 18, 12
    graph = Graph("block")
    x = graph.input("x", tokens=tokens, features=features)
    k, v, q = (graph.linear(name, x, rng.normal(size=(number * dim, features)),
                            rng.normal(size=number * dim))
               for name, number in (("k", kv_heads), ("v", kv_heads), ("q", heads)))
    o = graph.attention("o", q, k, v, heads=heads, kv_heads=kv_heads, scale=0.1,
                        pattern=Pattern(tokens, tokens, heads=heads, **options))
    graph.output(graph.linear("y", o, rng.normal(size=(features, heads * dim))))
    inputs = {"x": rng.normal(size=(tokens, features))}
    quantised = quantise(graph, inputs)
    report = run(lower(quantised, TINY), inputs, quantised=quantised).report
    assert report["matches_golden"]
    assert report["error"] < 0.06


@pytest.mark.parametrize(("widths", "values", "causal"), [
    ([3, 5, 1], [2, 8, 4], True), ([8, 1], [1, 1], False), ([2, 2, 7, 7], [4, 3], False)])
def test_heads_of_several_widths(widths, values, causal):
    rng = np.random.default_rng(0)
    tokens, group = 18, len(widths) // len(values)
    graph = Graph("uneven")
    x = graph.input("x", tokens=tokens, features=12)
    q, k, v = (graph.linear(name, x, rng.normal(size=(size, 12)) / 4) for name, size in (
        ("q", sum(widths)), ("k", sum(widths[::group])), ("v", sum(values))))
    o = graph.attention("o", q, k, v, heads=widths, kv_heads=len(values), value_heads=values,
                        scale=0.4, pattern=Pattern(tokens, tokens, heads=len(widths),
                                                   causal=causal))
    graph.output(graph.linear("y", o, rng.normal(size=(12, group * sum(values)))))
    inputs = {"x": rng.normal(size=(tokens, 12))}
    quantised = quantise(graph, inputs)
    report = run(lower(quantised, TINY), inputs, quantised=quantised).report
    assert report["matches_golden"]
    assert report["error"] < 0.06
