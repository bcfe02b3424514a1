"""A pruned Transformer through the whole machine: compiler, program, RTL, golden model."""

import pytest

from heddle.api import run
from heddle.compiler import lower
from heddle.models.transformer_base import (
    encoder_decoder_graph,
    random_inputs,
    random_layers,
    transformer_graph,
)
from heddle.prune import prune_transformer
from heddle.quantise import quantise
from heddle.rtl.geometry import PRESETS

TINY = PRESETS["tiny"]


@pytest.mark.parametrize(("layers", "tokens", "sparsity"), [(1, 9, 0.5), (2, 6, 0.7)])
def test_small(layers, tokens, sparsity):
    whole = random_layers(features=16, heads=2, hidden=32, layers=layers)
    pruned = prune_transformer(whole, sparsity, geometry=TINY)
    graph = transformer_graph(pruned.layers, tokens)
    inputs = random_inputs(graph)
    quantised = quantise(graph, inputs)
    report = run(lower(quantised, TINY), inputs, quantised=quantised).report
    assert report["matches_golden"]
    assert report["error"] < 0.05
    assert 2 * report["macs_dense"] == pruned.operations(tokens)


@pytest.mark.parametrize(("layers", "tokens", "sparsity"), [(1, 9, 0.0), (2, 6, 0.5)])
def test_a_whole_encoder_and_decoder(layers, tokens, sparsity):
    whole = random_layers(features=16, heads=2, hidden=32, layers=layers)
    graph = encoder_decoder_graph(prune_transformer(whole, sparsity, geometry=TINY).layers, tokens)
    inputs = random_inputs(graph)
    quantised = quantise(graph, inputs)
    report = run(lower(quantised, TINY), inputs, quantised=quantised).report
    assert report["matches_golden"]
    assert 0.005 < report["error"] < 0.03
