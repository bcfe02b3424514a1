"""Layers of sparse weights: any structure gives the right integers, in the steps it allows."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heddle import Graph
from heddle.compiler import lower
from heddle.formats import pack
from heddle.prune import prune_balanced, prune_nm
from heddle.quantise import quantise
from heddle.rtl.geometry import preset
from heddle.rtl.isa import Opcode
from heddle.sim.executor import execute
from heddle.sparse import measure, storage
from heddle.sparsity import pruned
from heddle.structures import NM, Balanced, Dense, Rectangle

TINY, NM4 = preset("tiny"), preset("tiny-nm")


def random_weight(rng, outputs, inputs, geometry, density):
    """Weights of which each block has its own density: none, one, all, or anything between."""
    weight = rng.normal(size=(outputs, inputs))
    for block in range(0, outputs, geometry.rows):
        part = weight[block:block + geometry.rows]
        kind = rng.integers(0, 6)
        if kind == 0:
            part[:] = 0
        elif kind == 1:
            keep = part[rng.integers(len(part)), rng.integers(inputs)].copy()
            part[:] = 0
            part[rng.integers(len(part)), rng.integers(inputs)] = keep
        elif kind == 2:
            part[rng.random(part.shape) >= density] = 0
        elif kind < 5:
            part[:, rng.random(inputs) >= density] = 0
    weight[-1, -1] = 1
    return weight


def chain(rng, geometry, tokens, *features, density=0.3, outputs=(-1,)):
    graph = Graph()
    names = [graph.input("x", tokens=tokens, features=features[0])]
    for n, (inputs, size) in enumerate(itertools.pairwise(features)):
        weight = random_weight(rng, size, inputs, geometry, density)
        names.append(graph.linear(f"layer{n}", names[-1], weight, rng.normal(size=size)))
    graph.output(*(names[n] for n in outputs))
    return graph


def check(graph, geometry, *, seed=None):
    """Compile and run a graph; compare all outputs with the layers computed directly."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(graph.tensors[name].tokens, graph.tensors[name].features))
              for name in graph.inputs}
    quantised = quantise(graph, inputs)
    program = lower(quantised, geometry)
    image = program.image(inputs)
    totals = execute(geometry, image, offset=program.offset,
                     instructions=len(program.instructions), seed=seed)
    wanted, got = quantised.integers(inputs, geometry), program.integers_of(image)
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    return program, totals


def matmuls(program):
    return [i for i in program.decoded() if i.opcode == Opcode.MATMUL]


# -- right integers --------------------------------------------------------------------------------

@settings(max_examples=100, deadline=None)
@given(geometry=st.sampled_from(["tiny", "tiny-nm"]), tokens=st.integers(1, 40),
       features=st.lists(st.integers(1, 120), min_size=2, max_size=4),
       density=st.sampled_from([0.05, 0.3, 0.8]), seed=st.integers(0, 999))
@example("tiny", 40, [120, 120], 0.05, 0)
@example("tiny-nm", 40, [119, 61, 119], 0.3, 1)
def test_any_chain(geometry, tokens, features, density, seed):
    g = preset(geometry)
    graph = chain(np.random.default_rng(seed), g, tokens, *features, density=density,
                  outputs=range(1, len(features)))
    check(graph, g, seed=seed)


@pytest.mark.parametrize("geometry", ["zcu102", "zcu102-nm", "compact", "ulx3s"])
@pytest.mark.parametrize("features", [(300, 200, 100), (1000, 700)])
def test_every_geometry(geometry, features):
    g = preset(geometry)
    program, _ = check(chain(np.random.default_rng(0), g, 70, *features), g, seed=1)
    assert {i["listed"] for i in matmuls(program)} == {0, 1}


@pytest.mark.parametrize("shape", [(60, 32, 200), (600, 32, 40), (2, 128, 60), (20, 100, 385)])
def test_slabs_chunks_and_single_buffers(shape):
    tokens, inputs, outputs = shape
    check(chain(np.random.default_rng(0), TINY, tokens, inputs, outputs), TINY, seed=2)


@pytest.mark.parametrize("text", ["0.5", "0.9", "2:4", "1:4", "0.5+2:4", "random:0.8"])
@pytest.mark.parametrize("geometry", [TINY, NM4], ids=lambda g: g.name)
def test_structures(geometry, text):
    rng = np.random.default_rng(0)
    graph = Graph()
    weight, structure = pruned(rng.normal(size=(20, 64)).astype(np.float32), text, geometry)
    graph.output(graph.linear("y", graph.input("x", tokens=9, features=64), weight,
                              structure=structure))
    program, totals = check(graph, geometry, seed=1)
    assert program.macs == 9 * np.count_nonzero(weight) < program.macs_dense == 9 * 20 * 64
    packed = pack((weight != 0).astype(np.int8), geometry)
    assert totals.array_cycles == 3 * sum(encoding.steps for encoding in packed.encodings)
    assert program.weight_bytes == packed.size
    assert program.weight_bytes_dense == 20 * 64


@pytest.mark.parametrize("geometry", [TINY, NM4], ids=lambda g: g.name)
def test_attention_between_sparse_layers(geometry):
    """Heads of 5 features are padded to 8, which the weight that reads them need not visit."""
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", tokens=21, features=24)
    q, k, v = (graph.linear(name, x, random_weight(rng, 15, 24, geometry, 0.4)) for name in "qkv")
    attended = graph.attention("attended", q, k, v, heads=3)
    graph.output(graph.linear("y", attended, random_weight(rng, 24, 15, geometry, 0.4)))
    check(graph, geometry, seed=3)


def test_heads_of_several_widths_are_not_padded_for_the_array():
    rng = np.random.default_rng(0)
    graph = Graph()
    for name, features in (("q", 9), ("k", 9), ("v", 9)):
        graph.input(name, tokens=4, features=features)
    attended = graph.attention("attended", "q", "k", "v", heads=[7, 1, 1], scale=1.0)
    graph.output(graph.linear("y", attended, rng.normal(size=(4, 9))))
    program, _ = check(graph, TINY)
    [product] = matmuls(program)
    assert (product["listed"], product["steps"]) == (1, 6)  # of 12: 4 + 1 + 1 features in a slot


# -- few steps and instructions --------------------------------------------------------------------

def test_equal_blocks_are_one_run():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 64))
    weight *= prune_balanced(weight, 0.75, TINY)
    weight[:8] = 1
    weight[-4:] = 0
    graph = Graph()
    graph.output(graph.linear("y", graph.input("x", tokens=4, features=64), weight))
    program, totals = check(graph, TINY)
    assert totals.array_cycles == 2 * 32 + 13 * 8 + 1
    assert {(i["steps"], i["listed"]) for i in matmuls(program)} == {(32, 0), (8, 1), (1, 1)}
    sizes = [i["blocks"] for i in matmuls(program) if i["steps"] == 8]
    assert sum(sizes) == 13
    assert len(sizes) < 8


def test_blocks_lie_tight():
    """What is loaded is just what the weight takes."""
    rng = np.random.default_rng(0)
    graph = chain(rng, TINY, 8, 100, 100)
    program, totals = check(graph, TINY)
    parameters = 25 * TINY.channel_words * TINY.word_bytes
    inputs = 2 * 50 * TINY.step_words * TINY.word_bytes
    assert totals.read_bytes == (program.weight_bytes + parameters + inputs
                                 + program.instructions.size)


def test_zeros_of_quantisation_are_not_pruned():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 40))
    weight[:, 10:] *= 1e-4
    graph = Graph()
    graph.output(graph.linear("y", graph.input("x", tokens=4, features=40), weight))
    program, totals = check(graph, TINY)
    assert totals.array_cycles == 2 * 20
    assert program.macs == program.macs_dense
    assert not any(i["listed"] for i in matmuls(program))


def test_a_claim_to_be_dense_is_obeyed():
    weight = np.zeros((8, 40))
    weight[:, :4] = 1
    steps = []
    for structure in (None, Dense(), Rectangle(inputs=tuple(range(4)))):
        graph = Graph()
        graph.output(graph.linear("y", graph.input("x", tokens=4, features=40), weight,
                                  structure=structure))
        steps.append(check(graph, TINY)[1].array_cycles)
    assert steps == [4, 40, 4]


def test_a_program_keeps_its_bytes_of_weights(tmp_path):
    program, _ = check(chain(np.random.default_rng(0), TINY, 8, 40, 40), TINY)
    program.save(tmp_path / "sparse")
    loaded = type(program).load(tmp_path / "sparse")
    assert (loaded.weight_bytes, loaded.weight_bytes_dense) == (
        program.weight_bytes, program.weight_bytes_dense)


# -- refusals --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("geometry", "inputs", "structure", "message"), [
    (TINY, 130, Balanced(4, 2, 33),
     "it can reach 128 inputs in the operand buffer, and there are 130"),
    (NM4, 256, NM(2, 4, 2), "it can have 32 steps, and it needs 64"),
])
def test_a_claim_that_the_geometry_cannot_use_is_refused(geometry, inputs, structure, message):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, inputs))
    weight *= (prune_nm(weight, 2, 4, geometry) if isinstance(structure, NM)
               else prune_balanced(weight, 0.5, geometry))
    claimed, unclaimed = Graph(), Graph()
    for graph, claim in (claimed, structure), (unclaimed, None):
        graph.output(graph.linear("y", graph.input("x", tokens=1, features=inputs), weight,
                                  structure=claim))
    with pytest.raises(ValueError, match=re.escape(
            f"Weight of y must keep its structure on {geometry.name}: The list of block 0 must fit "
            f"into {geometry.name}: {message}")):
        check(claimed, geometry)
    program, _ = check(unclaimed, geometry)
    assert not any(i["listed"] for i in matmuls(program))


# -- the benchmark ---------------------------------------------------------------------------------

def test_the_benchmark_compares_with_dense():
    levels = (("tiny", "dense"), ("tiny", "0.75"), ("tiny-nm", "dense"), ("tiny-nm", "0.5+2:4"))
    rows = list(measure(levels, size=64, tokens=8, device="golden"))
    assert [row[:5] for row in rows] == [
        ("tiny", "dense", "100.0%", "1,024", "1.000"),
        ("tiny", "0.75", "25.0%", "256", "0.250"),
        ("tiny-nm", "dense", "100.0%", "1,024", "1.000"),
        ("tiny-nm", "0.5+2:4", "25.0%", "256", "0.250"),
    ]
    assert [row[5:7] for row in rows] == [("–", "–")] * 4


def test_bytes_are_compared_with_dense():
    rows = list(storage((("tiny", "dense"), ("tiny", "0.75"), ("tiny-nm", "0.5+2:4")), size=64))
    assert [row[:8] for row in rows] == [
        ("tiny", "dense", "100.0%", "4,096", "0", "0", "4,096", "1.000"),
        ("tiny", "0.75", "25.0%", "1,024", "128", "0", "1,152", "0.281"),
        ("tiny-nm", "0.5+2:4", "25.0%", "1,024", "128", "256", "1,408", "0.344"),
    ]
    assert [float(row[9]) for row in rows] == [1.125, 0.375, 0.375]
