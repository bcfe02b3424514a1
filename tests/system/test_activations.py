"""Layers with activations through the whole machine: compiler, program, RTL, golden model."""

import numpy as np
import pytest

import heddle
from heddle.quantise import relative_error


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_feed_forward(activation):
    """An activation between two layers; tiles with and without follow each other in the drain."""
    rng = np.random.default_rng(0)
    graph = heddle.Graph(f"feed-forward {activation}")
    x = graph.input("x", tokens=21, features=40)
    wide = graph.linear("wide", x, rng.normal(size=(100, 40)) / 6, rng.normal(size=100),
                        activation=activation)
    graph.output(wide, graph.linear("y", wide, rng.normal(size=(33, 100)), rng.normal(size=33)))
    inputs = {"x": rng.normal(size=(21, 40))}
    result = heddle.run(heddle.compile(graph, inputs, "tiny"), inputs)
    assert result.report["matches_golden"]
    wanted = graph.evaluate(inputs)
    assert (result.outputs["wide"] < 0).any() == (activation != "relu")
    for name, got in result.outputs.items():
        assert relative_error(got, wanted[name]) < 0.03


def test_sums_of_pieces_meet_their_activation_once():
    """A layer whose inputs are multiplied piece by piece, as they do not fit the operand buffer."""
    rng = np.random.default_rng(1)
    tiny = heddle.preset("tiny")
    features = 2 * tiny.operand_steps * tiny.depth
    graph = heddle.Graph("pieces")
    x = graph.input("x", tokens=5, features=features)
    graph.output(graph.linear("y", x, rng.normal(size=(9, features)) / 30, activation="gelu"))
    inputs = {"x": rng.normal(size=(5, features))}
    program = heddle.compile(graph, inputs, "tiny")
    drains = [i["drain"] for i in program.decoded() if i.opcode.name == "MATMUL"]
    assert not all(drains)
    result = heddle.run(program, inputs)
    assert result.report["matches_golden"]
    assert relative_error(result.outputs["y"], graph.evaluate(inputs)["y"]) < 0.03
