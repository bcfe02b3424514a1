"""Sparse layers through the whole machine: compiler, program, RTL, golden model."""

import numpy as np
import pytest

from heddle import Graph
from heddle.api import run
from heddle.benchmarks import gemm
from heddle.compiler import lower
from heddle.device import Rtl
from heddle.quantise import quantise
from heddle.rtl.geometry import preset
from heddle.sparsity import pruned

SPARSITIES = ["0.5", "0.95", "2:4", "1:4", "0.5+2:4", "random:0.95"]
GEOMETRIES = ["tiny", "tiny-nm"]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_structures(geometry, sparsity):
    report = gemm(21, 112, 61, sparsity=sparsity, geometry=geometry)
    assert report["matches_golden"]
    assert report["error"] <= 0.02
    assert report["array_cycles"] <= 6 * 16 * 56


def blocks(rng, outputs, inputs, rows):
    """Weights whose blocks are empty, of one weight, full, and between."""
    weight = rng.normal(size=(outputs, inputs))
    for block, start in enumerate(range(0, outputs, rows)):
        part = weight[start:start + rows]
        match block % 5:
            case 0:
                part[:] = 0
            case 1:
                part[:, 1:] = part[1:] = 0
            case 2:
                part[:, rng.random(inputs) < 0.7] = 0
            case 3:
                part[rng.random(part.shape) < 0.9] = 0
    return weight


def network(geometry, tokens):
    """Return a graph of attention between sparse layers, which stay in the scratchpad, and its
    input."""
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", tokens=tokens, features=48)
    q, k, v = (graph.linear(name, x, blocks(rng, 15, 48, geometry.rows)) for name in "qkv")
    attended = graph.attention("attended", q, k, v, heads=3)
    hidden = graph.linear("hidden", attended, blocks(rng, 60, 15, geometry.rows))
    graph.output(graph.linear("y", hidden, blocks(rng, 48, 60, geometry.rows),
                              rng.normal(size=48)))
    return graph, {"x": rng.normal(size=(tokens, 48))}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("latency", "bandwidth"), [(100, None), (0, 0), (400, 3)])
def test_a_network_of_unlike_blocks(geometry, latency, bandwidth):
    geometry = preset(geometry)
    graph, inputs = network(geometry, 17)
    program = lower(quantise(graph, inputs), geometry)
    device = Rtl(geometry, latency=latency, bandwidth=bandwidth)
    assert run(program, inputs, device=device).report["matches_golden"]


def test_a_sparser_layer_takes_fewer_cycles():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(64, 64)).astype(np.float32), rng.normal(size=(32, 64))
    geometry, cycles = preset("tiny"), []
    for sparsity in ("dense", "0.5", "0.75", "0.875"):
        graph = Graph()
        graph.output(graph.linear("y", graph.input("x", tokens=32, features=64),
                                  pruned(weight, sparsity, geometry)[0]))
        report = run(lower(quantise(graph, {"x": x}), geometry), {"x": x},
                     device=Rtl(geometry, latency=0, bandwidth=0)).report
        assert report["matches_golden"]
        cycles.append(report["cycles"])
    assert cycles[1] < 0.7 * cycles[0]
    assert cycles[3] < cycles[2] < cycles[1]
