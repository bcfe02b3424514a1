"""Column pruning of transformers: what is left computes the same as the masked weights."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.prune import (
    AttentionWeights,
    PrunedTransformer,
    TransformerLayer,
    footprint,
    magnitude,
    prune_transformer,
)
from heddle.rtl.geometry import PRESETS

ZCU102 = PRESETS["zcu102"]


def transformer(seed, encoders, decoders, features, heads, hidden):
    """Return layers of random weights."""
    random = np.random.default_rng(seed)

    def weight(outputs, inputs):
        return random.standard_normal((outputs, inputs), np.float32)

    def attention():
        return AttentionWeights(*(weight(features, features) for _ in "qkvo"), heads)

    return [TransformerLayer(attention(), weight(hidden, features), weight(features, hidden),
                             attention() if decoder else None)
            for decoder in [False] * encoders + [True] * decoders]


@pytest.fixture(scope="module")
def base():
    """Transformer-base: d = 512, 8 heads, 2,048 hidden features, 6 + 6 layers."""
    return transformer(0, 6, 6, 512, 8, 2048)


@pytest.mark.parametrize(("sparsity", "giga"), [(0.8, "1.28"), (0.75, "1.65"), (0.7, "2.03")])
def test_transformer_base_has_the_operations_of_the_paper(base, sparsity, giga):
    pruned = prune_transformer(base, sparsity, geometry=ZCU102)
    assert f"{pruned.operations(100) / 1e9:.2f}" == giga
    k, d, ff, n = 1 - sparsity, 512, 2048, 100
    attention = 3 * d * d * k + d * d * k * k
    feed_forward = d * ff * k + ff * d * k * k
    macs = 6 * (attention + feed_forward) + 6 * (2 * attention + feed_forward)
    paper = 2 * (n * macs + 18 * 2 * n * n * d * k)
    assert abs(pruned.operations(100) / paper - 1) < 2e-3
    for layers in pruned.layers[:6], pruned.layers[6:]:
        for part in layers[0].parts:
            for name in ("qk", "values", "outputs"):
                kept = sum(getattr(layer.parts[part], name).size for layer in layers)
                assert abs(kept - 6 * d * k) <= 0.5
        assert abs(sum(layer.hidden.size for layer in layers) - 6 * ff * k) <= 0.5
        assert abs(sum(layer.outputs.size for layer in layers) - 6 * d * k) <= 0.5


def test_heads_of_the_pruned_base_fill_blocks(base):
    by_rank = prune_transformer(base, 0.8)
    pruned = prune_transformer(base, 0.8, geometry=ZCU102)
    widths, ranked = ([width for layer in p.layers for part in layer.parts.values()
                       for width in part.qk_widths + part.v_widths] for p in (pruned, by_rank))
    assert max(widths) == 16 < max(ranked)
    assert pruned.coarse == 0.5
    for layer in pruned.layers:
        for name, weight in layer.weights.items():
            assert len(weight) <= (1024 if name == "ffn.1" else 256)
    steps, ranked_steps = (sum(cost.steps for layer in p.layers
                               for cost in layer.footprint(ZCU102).values())
                           for p in (pruned, by_rank))
    assert steps < 0.93 * ranked_steps


def attend(q, k, v, heads):
    """Return the attention of matrices ``[tokens, features]`` that are cut at the given widths."""
    outputs = []
    for qk, value in zip(*heads):
        scores = q[:, qk] @ k[:, qk].T
        e = np.exp(scores - scores.max(1, keepdims=True))
        outputs.append(e / e.sum(1, keepdims=True) @ v[:, value])
    return np.concatenate(outputs, 1)


def cuts(widths):
    ends = np.cumsum((0, *widths))
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.sampled_from([None, PRESETS["tiny"]]), st.integers(0, 80))
def test_rectangles_compute_what_masked_weights_compute(seed, geometry, percent):
    layers = transformer(seed, 2, 1, 24, 3, 20)
    pruned = prune_transformer(layers, percent / 100, geometry=geometry)
    x = np.random.default_rng(seed).standard_normal((5, 24)).astype(np.float64)
    for layer, left in zip(layers, pruned.layers):
        masked = {name: weight * left.masks[name] for name, weight in layer.weights.items()}
        for name, part in left.parts.items():
            q, k, v = (x @ masked[f"{name}.{each}"].T for each in "qkv")
            heads = cuts([8, 8, 8])
            wanted = attend(q, k, v, (heads, heads)) @ masked[f"{name}.o"].T
            found = np.zeros_like(wanted)
            context = attend(x @ part.q.T, x @ part.k.T, x @ part.v.T,
                             (cuts(part.qk_widths), cuts(part.v_widths)))
            found[:, part.outputs] = context @ part.o.T
            np.testing.assert_allclose(found, wanted, atol=1e-9)
        wanted = np.maximum(x @ masked["ffn.1"].T, 0) @ masked["ffn.2"].T
        found = np.zeros_like(wanted)
        found[:, left.outputs] = np.maximum(x @ left.w1.T, 0) @ left.w2.T
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.sampled_from([None, PRESETS["tiny"]]), st.integers(0, 80))
def test_pruning_masked_weights_changes_nothing(seed, geometry, percent):
    layers = transformer(seed, 2, 1, 24, 3, 20)
    masks = [left.masks for left in prune_transformer(layers, percent / 100,
                                                      geometry=geometry).layers]

    def masked(name, part, mask):
        return AttentionWeights(*(getattr(part, each) * mask[f"{name}.{each}"]
                                  for each in "qkvo"), part.heads)

    again = [TransformerLayer(
        masked("self", layer.attention, mask), layer.w1 * mask["ffn.1"], layer.w2 * mask["ffn.2"],
        None if layer.cross is None else masked("cross", layer.cross, mask))
        for layer, mask in zip(layers, masks)]
    for mask, left in zip(masks, prune_transformer(again, percent / 100,
                                                   geometry=geometry).layers):
        for name in mask:
            np.testing.assert_array_equal(left.masks[name], mask[name])


def scores_of(layers):
    return [{name: magnitude(weight) for name, weight in layer.weights.items()}
            for layer in layers]


def test_gammas_decide():
    layers = transformer(1, 1, 0, 16, 2, 16)
    gammas = scores_of(layers)
    for name in gammas[0]:
        gammas[0][name] = np.where(np.arange(16) % 2, -3.0, 0.1)
    gammas[0]["self.q"][:] = 1
    left = prune_transformer(layers, 0.5, scores=gammas).layers[0]
    odd = np.arange(1, 16, 2)
    for kept in (left.attention.qk, left.attention.values, left.attention.outputs, left.hidden,
                 left.outputs):
        np.testing.assert_array_equal(kept, odd)
    np.testing.assert_array_equal(left.attention.q, layers[0].attention.q[odd])
    np.testing.assert_array_equal(left.attention.o, layers[0].attention.o[np.ix_(odd, odd)])
    np.testing.assert_array_equal(left.w2, layers[0].w2[np.ix_(odd, odd)])


def test_encoders_and_decoders_are_groups_of_their_own():
    layers = transformer(2, 2, 2, 24, 3, 32)
    gammas = scores_of(layers)
    for n, factor in enumerate((1, 100, 1, 1)):
        gammas[n] = {name: factor * scores for name, scores in gammas[n].items()}
    hidden = [left.hidden.size for left in
              prune_transformer(layers, 0.75, coarse=0.5, scores=gammas).layers]
    assert hidden[:2] == [1, 15]  # of 64 a quarter; every weight keeps one
    assert sum(hidden[2:]) == 16
    assert min(hidden[2:]) > 1


def test_a_step_is_offered_as_a_whole_transformer():
    layers = transformer(3, 1, 1, 24, 3, 32)
    seen = []

    def accept(candidate):
        assert isinstance(candidate, PrunedTransformer)
        seen.append(candidate)
        return candidate.operations(4) > 20_000

    pruned = prune_transformer(layers, 0.8, accept=accept)
    assert pruned.sparsity == seen[-2].sparsity < 0.8
    assert pruned.operations(4) > 20_000 >= seen[-1].operations(4)


def test_costs_are_those_of_the_rectangles():
    [left] = prune_transformer(transformer(4, 0, 1, 24, 3, 32), 0.5).layers
    g = PRESETS["tiny"]
    costs = left.footprint(g)
    assert list(costs) == list(left.weights)
    for name, weight in left.weights.items():
        assert costs[name].weights == weight.size
        assert costs[name].blocks >= -(-len(weight) // g.rows)
    part = left.cross
    assert costs["cross.k"] == footprint(part.qk_widths, 24, g)
    assert costs["cross.o"] == footprint(part.outputs.size, part.v_widths, g)
    assert costs["ffn.2"] == footprint(len(left.w2), left.hidden.size, g)
    tokens = 7
    products = sum(weight.size for weight in left.weights.values())
    widths = sum(sum(p.qk_widths + p.v_widths) for p in left.parts.values())
    assert left.operations(tokens) == 2 * tokens * products + 2 * tokens * tokens * widths


def changed(layer, **weights):
    """Return a layer whose attention has some weights replaced."""
    old = {name: getattr(layer.attention, name) for name in ("q", "k", "v", "o", "heads")}
    return TransformerLayer(AttentionWeights(**old | weights), layer.w1, layer.w2)


@pytest.mark.parametrize(("act", "error", "message"), [
    (lambda a: prune_transformer([a], 1.0), ValueError, "Sparsity must be at least 0 and less"),
    (lambda a: prune_transformer([a], 0.99), ValueError,
     "A sparsity of 0.99 leaves 0 of the 24 columns of self.q of layer 0, but each of the 3 heads"),
    (lambda a: prune_transformer([a, changed(a, k=np.ones((8, 24)))], 0.5), ValueError,
     "self.k of layer 1 must have 24 along axis 0, not 8"),
    (lambda a: prune_transformer([changed(a, o=np.ones((24, 8)))], 0.5), ValueError,
     "self.o of layer 0 must have 24 along axis 1, not 8"),
    (lambda a: prune_transformer([changed(a, heads=5)], 0.5), ValueError,
     "self.q of layer 0 must have a multiple of 5 heads of outputs, not 24"),
    (lambda a: prune_transformer([changed(a, heads=0)], 0.5), ValueError,
     "Heads of layer 0, self must be at least 1, not 0"),
    (lambda a: prune_transformer([changed(a, v=np.full((24, 24), np.inf))], 0.5), ValueError,
     "self.v of layer 0 must be finite"),
    (lambda a: prune_transformer([TransformerLayer(a.attention, a.w1, a.w1)], 0.5), ValueError,
     "ffn.2 of layer 0 must have 32 along axis 1, not 24"),
    (lambda a: prune_transformer([a], 0.5, scores=[]), ValueError,
     "Scores must be those of 1 layers, not of 0"),
    (lambda a: prune_transformer([a], 0.5, scores=[{"self.q": np.ones(24)}]), ValueError,
     "Scores of layer 0 must be those of self.q, .*, ffn.2, not of self.q"),
    (lambda a: prune_transformer([a], 0.5, scores=[dict.fromkeys(a.weights, np.ones(24))]),
     ValueError, "Scores of ffn.1 of layer 0 must be 32, not 24"),
])
def test_refusals(act, error, message):
    with pytest.raises(error, match=message):
        act(transformer(5, 1, 0, 24, 3, 32)[0])


def test_examples_of_the_manual_run(capsys):
    page = (Path(__file__).parents[2] / "docs" / "pruning.md").read_text()
    masks, columns = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(masks, names := {})
    assert names["mask"].mean() == 6 / 32 * 2 / 4
    exec(columns, {})
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(") ")[0] for line in printed[::3]] == ["(16, 64", "(16, 64"]
    assert [line.split()[0] for line in printed[2::3]] == ["0.0625", "0.0625"]
