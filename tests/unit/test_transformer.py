"""The pruned Transformer as one program: what is counted, what it computes, in which integers."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from heddle.cli import main
from heddle.compiler import lower
from heddle.models.modules import softmax
from heddle.models.transformer_base import (
    block_scores,
    encoder_decoder_graph,
    random_inputs,
    random_layers,
    transformer_graph,
)
from heddle.prune import prune_transformer
from heddle.quantise import quantise, relative_error
from heddle.rtl.geometry import preset
from heddle.rtl.isa import Opcode
from heddle.sim.executor import execute

TINY, ZCU102 = preset("tiny"), preset("zcu102")


def small(*, tokens=9, layers=1, sparsity=0.5, seed=0):
    """A Transformer of 16 features, pruned: the layers before and after, the graph, its inputs."""
    whole = random_layers(features=16, heads=2, hidden=32, layers=layers, seed=seed)
    pruned = prune_transformer(whole, sparsity, geometry=TINY)
    graph = transformer_graph(pruned.layers, tokens)
    return whole, pruned, graph, random_inputs(graph, seed)


@pytest.fixture(scope="module")
def base():
    return random_layers()


@pytest.mark.parametrize(("sparsity", "gop"), [(0.8, 1.28), (0.75, 1.65), (0.7, 2.03)])
def test_operations_are_those_of_the_paper(base, sparsity, gop):
    pruned = prune_transformer(base, sparsity, geometry=ZCU102)
    assert round(pruned.operations(100) / 1e9, 2) == gop
    graph = transformer_graph(pruned.layers, 100)
    weights = sum(layer.weight.size for layer in graph.linear_layers)
    heads = sum(sum(layer.widths) + sum(layer.output_widths)
                for layer in graph.layers if layer not in graph.linear_layers)
    assert 2 * 100 * (weights + 100 * heads) == pruned.operations(100)


def test_layers_of_a_type_are_pruned_to_different_sizes(base):
    pruned = prune_transformer(base, 0.8, geometry=ZCU102)
    hidden = [layer.hidden.size for layer in pruned.layers]
    assert sum(hidden[:6]) == sum(hidden[6:]) == round(6 * 2048 * 0.2)
    assert max(hidden) > 2 * min(hidden)
    assert max(width for layer in pruned.layers for part in layer.parts.values()
               for width in part.qk_widths + part.v_widths) <= ZCU102.rows


def test_what_the_program_counts():
    _, pruned, graph, inputs = small(tokens=11)
    program = lower(quantise(graph, inputs), TINY)
    assert 2 * program.macs_dense == pruned.operations(11)
    [causal] = [layer for layer in graph.layers if layer.name == "1.self.attended"]
    hidden = 11 * 10 // 2 * (sum(causal.widths) + sum(causal.output_widths))
    assert program.macs_dense - program.macs == hidden


def test_every_weight_is_loaded():
    _, _, graph, inputs = small()
    program = lower(quantise(graph, inputs), TINY)
    loaded = np.zeros(program.image_bytes // TINY.word_bytes, bool)
    for i in program.decoded():
        if i.opcode == Opcode.LOAD:
            for n in range(i["count"]):
                start = (i["dram"] + n * i["dram_stride"]) // TINY.word_bytes
                for row in range(i["rows"]):
                    first = start + row * i["dram_row_stride"] // TINY.word_bytes
                    loaded[first:first + i["words"]] = True
    constants = program.constants.reshape(-1, TINY.word_bytes)
    assert loaded[:len(constants)][constants.any(1)].all()


def test_names():
    _, _, graph, _ = small()
    assert graph.inputs == ["0.self.x", "0.ffn.x", "1.self.x", "1.cross.x", "memory", "1.ffn.x"]
    assert graph.outputs == ["0.self.o", "0.ffn.2", "1.self.o", "1.cross.o", "1.ffn.2"]


@pytest.mark.parametrize(("part", "source", "layer"), [
    ("0.self", "0.self.x", 0), ("1.self", "1.self.x", 1), ("1.cross", "memory", 1)])
def test_attention_is_that_of_the_masked_weights(part, source, layer):
    whole, pruned, graph, inputs = small()
    kind = part.split(".")[1]
    masked = {name: weight * pruned.layers[layer].masks[name]
              for name, weight in whole[layer].weights.items()}
    q, k, v = (np.stack(np.split(inputs[name].astype(float) @ masked[f"{kind}.{letter}"].T, 2, 1))
               for name, letter in ((f"{part}.x", "q"), (source, "k"), (source, "v")))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(8)
    if part == "1.self":
        scores = np.where(np.tri(9, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    output = np.concatenate(weights / weights.sum(-1, keepdims=True) @ v, 1) @ masked[
        f"{kind}.o"].T
    kept = pruned.layers[layer].parts[kind].outputs
    np.testing.assert_allclose(graph.evaluate(inputs)[f"{part}.o"], output[:, kept], atol=1e-6)
    assert not np.delete(output, kept, axis=1).any()


@pytest.mark.parametrize(("layers", "tokens", "sparsity"), [(1, 9, 0.5), (2, 5, 0.7), (1, 13, 0.0)])
def test_the_program_gives_the_integers_of_the_layers(layers, tokens, sparsity):
    _, _, graph, inputs = small(tokens=tokens, layers=layers, sparsity=sparsity)
    quantised = quantise(graph, inputs)
    program = lower(quantised, TINY)
    wanted = quantised.integers(inputs, TINY)
    for seed in (None, 0, 1):
        image = program.image(inputs)
        execute(TINY, image, offset=program.offset, instructions=len(program.instructions),
                seed=seed)
        got = program.integers_of(image)
        for name in graph.outputs:
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


@pytest.mark.parametrize("whole", [False, True])
def test_the_command(tmp_path, whole):
    file = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["bench", "transformer-base", "--sparsity", "0.9", "--tokens",
                                       "5", "--device", "golden", "--json", str(file),
                                       *["--whole"] * whole])
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    kind = "whole, " * whole
    assert report["workload"] == f"transformer-base, {kind}90% pruned, 5 tokens"
    assert report["sparsity"] == 0.9
    assert 2 * report["macs_dense"] >= report["operations"] > 2 * report["macs"]
    assert whole == (2 * report["macs_dense"] > report["operations"])  # the pruned outputs
    assert report["matches_golden"] is True
    assert report["error"] < 0.03
    assert report["dram_read_bytes"] > 2_000_000


# -- the whole network -----------------------------------------------------------------------------

def reference(whole, pruned, inputs):
    """The output of the network with pruned weights as zeros, in NumPy."""
    def attend(layer, kind, x, source):
        mask = pruned.layers[layer].masks
        w = {name: whole[layer].weights[f"{kind}.{name}"] * mask[f"{kind}.{name}"]
             for name in "qkvo"}
        q, k, v = (np.stack(np.split(of @ w[name].T, 2, 1))
                   for of, name in ((x, "q"), (source, "k"), (source, "v")))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(8)
        if kind == "self" and whole[layer].cross is not None:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        return np.concatenate(softmax(scores) @ v, 1) @ w["o"].T

    def normed(x):
        x = x - x.mean(1, keepdims=True)
        return x / np.sqrt((x ** 2).mean(1, keepdims=True) + 1e-5)

    x, memory = inputs["source"].astype(float), None
    for n, layer in enumerate(whole):
        if layer.cross is not None and memory is None:
            x, memory = inputs["target"].astype(float), x
        x = normed(x + attend(n, "self", x, x))
        if layer.cross is not None:
            x = normed(x + attend(n, "cross", x, memory))
        w1, w2 = (whole[n].weights[name] * pruned.layers[n].masks[name]
                  for name in ("ffn.1", "ffn.2"))
        x = normed(x + np.maximum(x @ w1.T, 0) @ w2.T)
    return x


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_a_whole_network_is_that_of_the_masked_weights(sparsity):
    whole, pruned, _, _ = small(layers=2, sparsity=sparsity)
    graph = encoder_decoder_graph(pruned.layers, 9)
    assert graph.inputs == ["source", "target"]
    assert graph.outputs == ["3.ffn.normed"]
    inputs = random_inputs(graph)
    np.testing.assert_allclose(graph.evaluate(inputs)["3.ffn.normed"],
                               reference(whole, pruned, inputs), atol=1e-5)


def test_a_whole_network_in_integers_is_close():
    """All twelve layers of Transformer-base, without pruning, on few tokens."""
    graph = encoder_decoder_graph(prune_transformer(random_layers(), 0.0).layers, 20)
    inputs = random_inputs(graph)
    [name] = graph.outputs
    quantised = quantise(graph, inputs)
    error = relative_error(quantised.infer(inputs, ZCU102)[name], graph.evaluate(inputs)[name])
    assert 0.01 < error < 0.03


def test_what_meets_the_residual_stream_is_pruned_in_blocks(base):
    pruned = prune_transformer(base, 0.8, geometry=ZCU102, scores=block_scores(base, ZCU102.rows))
    broken = [sum(set(block.tolist()) == {True, False} for block in mask.any(1).reshape(-1, 16))
              for layer in pruned.layers for name, mask in layer.masks.items()
              if name in ("self.o", "cross.o", "ffn.2")]
    assert len(broken) == 30
    assert sum(broken) <= 5  # the last block of each of the five types may be
    assert pruned.operations(100) == pytest.approx(1.285e9, rel=1e-3)


def test_the_command_refuses():
    result = CliRunner().invoke(main, ["bench", "transformer-base", "--sparsity", "1"])
    assert result.exit_code == 2
    assert "1.0 is not in the range 0<=x<1" in result.output
    result = CliRunner().invoke(main, ["bench", "transformer-base", "--sparsity", "0.99"])
    assert "but each of the 48 heads must keep one" in " ".join(result.output.split())
