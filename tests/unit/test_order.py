"""The order in which a program is fetched."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heddle
from heddle import Graph, compiler
from heddle.assembler import assemble
from heddle.compiler import lower
from heddle.cost import estimate
from heddle.hazards import synchronise
from heddle.order import advance_loads
from heddle.quantise import quantise
from heddle.rtl.geometry import preset
from heddle.rtl.isa import Opcode, Queue
from heddle.sim.executor import execute

TINY, ZCU102 = preset("tiny"), preset("zcu102")

PRODUCT = """
    MATMUL a=0 b=0 blocks=1 tiles=1 steps=8 c=60 drain=1"""
LOADED = """
    LOAD dram=0 pool=0 count=1 rows=1 words=10
    FILL pool=0 operand=0 count=1 steps=4"""


def positions(program, opcode):
    return [n for n, instruction in enumerate(program) if instruction.opcode == opcode]


def test_a_load_passes_what_starts_later():
    program = assemble(f"{LOADED}{PRODUCT * 12}\n LOAD dram=800 pool=20 count=1 rows=1 words=1")
    synchronise(program, TINY)
    ordered = advance_loads(program, TINY)
    assert positions(program, Opcode.LOAD) == [0, 14]
    assert positions(ordered, Opcode.LOAD)[1] <= 7  # one product is under way, and four are held
    assert sorted(map(id, ordered)) == sorted(map(id, program))


def test_a_load_stays_behind_what_it_waits_for():
    program = assemble(f"{LOADED}{PRODUCT * 12}\n LOAD dram=800 pool=3 count=1 rows=1 words=1")
    synchronise(program, TINY)
    assert list(map(str, advance_loads(program, TINY))) == list(map(str, program))


def test_a_load_is_not_moved_back():
    loads = "".join(f"\n LOAD dram={800 + 8 * n} pool={20 + n} count=1 rows=1 words=1"
                    for n in range(20))
    program = assemble(LOADED + loads + PRODUCT * 3)
    synchronise(program, TINY)
    assert list(map(str, advance_loads(program, TINY))) == list(map(str, program))


def chain(sizes, tokens, rng):
    """Layers one after the other, each of which has an output."""
    graph = Graph()
    x = graph.input("x", tokens=tokens, features=sizes[0])
    for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        x = graph.linear(f"y{n}", x, rng.normal(size=(outputs, inputs)) / inputs ** 0.5)
        graph.output(x)
    return graph, {"x": rng.normal(size=(tokens, sizes[0]))}


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6), tokens=st.integers(1, 30),
       seed=st.integers(0, 99))
def test_any_program(sizes, tokens, seed):
    graph, inputs = chain(sizes, tokens, np.random.default_rng(seed))
    quantised = quantise(graph, inputs)
    before = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "advance_loads",
                      lambda program, g: before.extend(program) or advance_loads(program, g))
        program = lower(quantised, TINY)
    after = program.decoded()
    for queue in Queue:
        assert [str(i) for i in after if i.queue == queue] == [
            str(i) for i in before if i.queue == queue]
    others = [str(i) for i in after if i.queue != Queue.LOAD]
    assert others == [str(i) for i in before if i.queue != Queue.LOAD]
    image = program.image(inputs)
    execute(TINY, image, offset=program.offset, instructions=len(program.instructions), seed=seed)
    wanted, got = quantised.integers(inputs, TINY), program.integers_of(image)
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


def test_layers_follow_each_other_without_a_pause():
    """What a layer makes is filled in for the next one while its last blocks are computed."""
    rng = np.random.default_rng(0)
    graph, inputs = chain([512] * 6, 128, rng)
    program = heddle.compile(graph, inputs, ZCU102)
    e = estimate(program.decoded(), ZCU102)
    assert e.array_cycles == 5 * 4 * 32 * 64
    assert e.cycles < e.array_cycles + 5 * 515


def test_loads_do_not_wait_behind_attention():
    """The next layer's weights come while the array attends, with dozens of instructions."""
    rng = np.random.default_rng(0)
    graph = Graph()
    q, k, v = (graph.linear(name, graph.input(f"x.{name}", tokens=100, features=64),
                            rng.normal(size=(104, 64)) / 8) for name in "qkv")
    graph.output(graph.linear("o", graph.attention("a", q, k, v, heads=8),
                              rng.normal(size=(16, 104))))
    graph.output(graph.linear("y", graph.input("z", tokens=100, features=512),
                              rng.normal(size=(64, 512))))
    program = heddle.compile(graph, {name: rng.normal(size=(100, graph.tensors[name].features))
                                     for name in graph.inputs}, ZCU102)
    decoded = program.decoded()
    attends, loads = positions(decoded, Opcode.ATTEND), positions(decoded, Opcode.LOAD)
    assert len(attends) > 50
    assert loads[-1] < attends[len(attends) // 2]
