"""The golden machine on hand-written programs, and the tokens that the compiler derives."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.assembler import assemble, encode
from heddle.footprint import footprint
from heddle.hazards import synchronise
from heddle.rtl.geometry import preset
from heddle.rtl.isa import Activation, Layout
from heddle.sim import golden, layouts, norm
from heddle.sim.executor import Deadlock, ProgramError, execute
from heddle.sim.steps import prepare

TINY = preset("tiny")
ROWS, LANES, DEPTH, WORD = TINY.rows, TINY.lanes, TINY.depth, TINY.word_bytes


def run(program, data=b"", *, seed=None, extra=0):
    """Run a program, a list of instructions or their text, with data before it in the image."""
    if isinstance(program, str):
        program = assemble(program)
    data = np.frombuffer(bytes(data), np.uint8)
    offset = -(-data.size // 64) * 64
    image = np.zeros(offset + 64 * len(program) + extra * WORD, np.uint8)
    image[:data.size] = data
    for n, instruction in enumerate(program):
        image[offset + 64 * n:][:64] = np.frombuffer(encode(instruction), np.uint8)
    totals = execute(TINY, image, offset=offset, instructions=len(program), seed=seed)
    return image, totals


def product(rng, *, k, layout=Layout.VECTORS, activation=Activation.NONE):
    """A program of one block and one tile, its data, and the words that it must store."""
    a = rng.integers(-127, 128, (k, ROWS), np.int8)
    b = rng.integers(-128, 128, (k, LANES), np.int8)
    shift = 14 if activation == Activation.NONE else 7
    channels = (rng.integers(-99, 99, ROWS), rng.integers(9, 99, ROWS), [shift] * ROWS,
                rng.integers(8, 13, ROWS))
    words = np.concatenate([
        layouts.pack_blocks(a, ROWS, DEPTH)[0],
        layouts.pack_channels(*channels).reshape(-1, WORD),
        layouts.pack_vectors(b, ROWS, LANES, DEPTH)[0]])
    tile = golden.requantise(golden.matmul(a, b), *channels, activation)
    steps = -(-k // DEPTH)
    block = steps + TINY.channel_words
    x, c = block, block + steps
    dram = len(words) * WORD
    program = f"""
        LOAD count=1 rows=1 words={len(words)}
        FILL count=1 steps={steps} pool={x}
        MATMUL blocks=1 tiles=1 steps={steps} c={c} drain=1 layout={layout.value} \
            activation={activation.value}
        STORE count=1 rows=1 words={TINY.tile_words} pool={c} dram={dram}
    """
    wanted = layouts.lay_tile(tile, layout, DEPTH)
    data = bytes(words.tobytes()) + bytes(wanted.nbytes)
    return assemble(program), data, dram, wanted.ravel()


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("seed", range(4))
def test_product(layout, activation, seed):
    program, data, dram, wanted = product(np.random.default_rng(seed), k=1 + 7 * seed,
                                          layout=layout, activation=activation)
    synchronise(program, TINY)
    image, totals = run(program, data, seed=seed)
    assert (image[dram:dram + wanted.size] == wanted).all()
    assert totals.array_cycles == program[1]["steps"]
    assert totals.write_bytes == wanted.size
    assert totals.read_bytes == program[0]["words"] * WORD + 64 * 4


def test_tokens_of_a_product():
    program, *_ = product(np.random.default_rng(0), k=8)
    synchronise(program, TINY)
    tokens = [[f"{kind}={token}" for kind, tokens in (("wait", i.waits), ("post", i.posts))
               for token in tokens] for i in program]
    assert tokens == [
        ["post=LOAD>FILL.0", "post=LOAD>COMPUTE.0"],
        ["wait=LOAD>FILL.0", "post=FILL>COMPUTE.0"],
        ["wait=LOAD>COMPUTE.0", "wait=FILL>COMPUTE.0", "post=COMPUTE>STORE.0"],
        ["wait=COMPUTE>STORE.0"],
    ]


def test_iterations_depend_on_iterations():
    program = assemble("""
        LOAD count=5 rows=1 words=2 dram_stride=16 pool_stride=2
        STORE count=5 rows=1 words=2 dram_stride=16 pool_stride=2
        LOAD count=5 rows=1 words=2 dram_stride=16 pool_stride=2
        STORE count=4 rows=1 words=2 dram_stride=16 pool_stride=2
    """)
    synchronise(program, TINY)
    assert [str(i).partition("pool_stride=2")[2] for i in program] == [
        " post=LOAD>STORE.0*",
        " wait=LOAD>STORE.0* post=STORE>LOAD.0*",  # reads, then lets the same places be written
        " wait=STORE>LOAD.0* post=LOAD>STORE.0",
        " wait=LOAD>STORE.0",  # as many iterations are not there to pair
    ]


def test_an_iteration_that_needs_a_later_one_waits_for_all():
    program = assemble("""
        LOAD count=3 rows=1 words=2 dram_stride=16 pool_stride=2
        STORE count=3 rows=1 words=2 dram_stride=16 pool=1 pool_stride=1
    """)
    synchronise(program, TINY)  # iteration 0 reads words 1 and 2, which iterations 0 and 1 load
    assert str(program[0]).endswith("post=LOAD>STORE.0")


ATTEND = ("ATTEND group=1 jobs=1 tiles=1 steps=2 blocks=1 begin=1 end=1 "
          "k=0 v=8 v_stride=2 q=0 c=100 ")


def test_values_are_waited_for_late():
    program = assemble(f"""
        LOAD count=1 rows=1 words=2
        LOAD count=1 rows=1 words=2 pool=8
        {ATTEND}
        LOAD count=1 rows=1 words=2 pool=10
        {ATTEND.replace("k=0", "k=8").replace("v=8", "v=10")}
    """)
    synchronise(program, TINY)
    assert [str(i).partition(" wait")[2] for i in (program[2], program[4])] == [
        "=LOAD>COMPUTE.0 wait=LOAD>COMPUTE.1*",
        "=LOAD>COMPUTE.0 wait=LOAD>COMPUTE.1*",  # what was waited for late, too
    ]


def test_values_are_waited_for_at_once_if_no_wait_is_left():
    program = assemble(f"""
        LOAD count=1 rows=1 words=4 pool=100
        STORE count=1 rows=1 words=4 pool=100
        LOAD count=1 rows=1 words=2
        FILL count=1 steps=2
        LOAD count=1 rows=1 words=2 pool=8
        {ATTEND}
    """)
    synchronise(program, TINY)
    assert sorted(str(program[5]).split()[-3:]) == [
        "wait=FILL>COMPUTE.0", "wait=LOAD>COMPUTE.0", "wait=STORE>COMPUTE.0"]
    assert "post=LOAD>COMPUTE.0" in str(program[4])


def test_dependencies_on_request():
    program = assemble("LOAD count=1 rows=1 words=1\nSTORE count=1 rows=1 words=1 pool=9 dram=8")
    synchronise(program, TINY, after={1: 0})
    assert str(program[1]).endswith("wait=LOAD>STORE.0")


def test_an_array_that_reads_its_own_drain_is_refused():
    with pytest.raises(ValueError, match=r"Instruction 1 .* reads what an earlier one of its own"):
        synchronise(assemble("""
            MATMUL blocks=1 tiles=1 steps=1 c=100 drain=1
            MATMUL blocks=1 tiles=1 steps=1 a=100
        """), TINY)


LOAD = "LOAD count=1 rows=1 words=8 post=LOAD>FILL.0 post=LOAD>COMPUTE.0\n"
FILL = "FILL count=1 steps=2 pool=6 wait=LOAD>FILL.0 post=FILL>COMPUTE.0\n"
READY = " wait=LOAD>COMPUTE.0 wait=FILL>COMPUTE.0\n"


@pytest.mark.parametrize(("program", "message"), [
    ("STORE count=1 rows=1 words=1 pool=3",
     "Instruction 0: reads address 3 of the scratchpad, which nothing has written"),
    ("MATMUL blocks=1 tiles=1 steps=1", "reads address 0 of the scratchpad, which nothing has"),
    ("LOAD count=1 rows=1 words=9 pool=1020",
     "LOAD writes address 1028 of the scratchpad, which has 1024"),
    ("LOAD count=1 rows=1 words=1 dram=800", "address 100 is outside the DRAM image of 16 words"),
    ("LOAD count=1 rows=1 words=1 dram=4",
     "LOAD field dram must be a multiple of a word of 8 bytes, not 4"),
    ("LOAD rows=1 words=1", "LOAD field count must be at least 1, not 0"),
    (LOAD + FILL + "MATMUL blocks=1 tiles=1 steps=2" + READY,
     "The program ends with 1 contexts not drained"),
    (LOAD + FILL + "MATMUL blocks=1 tiles=1 steps=2 accumulate=1 drain=1" + READY,
     "adds to 1 contexts, but 0 are held"),
    (LOAD + FILL + "MATMUL blocks=5 tiles=1 steps=2" + READY,
     "holds 5 contexts, but there are 4"),
    (LOAD + FILL + "MATMUL blocks=1 tiles=1 steps=2" + READY
     + "MATMUL blocks=1 tiles=1 steps=2 drain=1", "takes contexts while 1 are held"),
])
def test_wrong_programs_are_stopped(program, message):
    with pytest.raises(ProgramError, match=re.escape(message)):
        run(program, bytes(64))


def test_a_deadlock_names_where_each_queue_stands():
    with pytest.raises(Deadlock, match=re.escape(
            "Deadlock after 2 of 2 instructions: LOAD is at instruction 0 (LOAD count=1 rows=1 "
            "words=1 wait=FILL>LOAD.0) and waits for FILL>LOAD.0; FILL is at instruction 1 "
            "(FILL count=1 steps=1 wait=LOAD>FILL.1) and waits for LOAD>FILL.1; COMPUTE has no "
            "instruction; STORE has no instruction")):
        run("LOAD count=1 rows=1 words=1 wait=FILL>LOAD.0\nFILL count=1 steps=1 wait=LOAD>FILL.1")


def test_a_full_queue_holds_up_the_program():
    blocked = "LOAD count=1 rows=1 words=1 wait=STORE>LOAD.0\n"
    free = "STORE count=1 rows=1 words=1 post=STORE>LOAD.0\n"
    with pytest.raises(Deadlock, match="Deadlock after 5 of 7 instructions"):
        run(blocked * 6 + free)


def test_results_do_not_depend_on_the_order_of_the_queues():
    """A chain of loads and stores through one place, with tokens; without them it does depend."""
    text = "".join(f"LOAD count=1 rows=1 words=1 dram={8 * n}\n"
                   f"STORE count=1 rows=1 words=1 dram={8 * n + 64}\n" for n in range(4))
    data = np.arange(64, dtype=np.uint8).tobytes() + bytes(64)
    program = assemble(text)
    synchronise(program, TINY)
    assert all((run(program, data, seed=seed)[0][64:96] == np.arange(32)).all()
               for seed in range(20))
    results = set()
    for seed in range(20):
        try:
            results.add(run(text, data, seed=seed)[0][64:96].tobytes())
        except ProgramError:  # the store came before the load
            results.add(None)
    assert len(results) > 2


_sizes = st.fixed_dictionaries(
    {name: st.integers(1, 5) for name in ("count", "rows", "words")}
    | {name: st.integers(0, 4) for name in ("ring", "pool_stride", "pool_row_stride")}
    | {name: st.integers(0, 4).map(WORD.__mul__) for name in ("dram_stride", "dram_row_stride")})


@given(_sizes, _sizes)
def test_iterations_are_in_order_however_many_are_executed_together(load, store):
    """Here they write words again and again; with a seed there is one at a time."""
    load, store = (" ".join(f"{name}={value}" for name, value in sizes.items())
                   for sizes in (load, store))
    program = assemble(f"LOAD count=1 rows=1 words=64\nLOAD pool=5 {load}\nSTORE dram=64 {store}")
    synchronise(program, TINY)
    data = np.random.default_rng(0).bytes(64 * WORD)
    (together, totals), (in_order, same) = (run(program, data, seed=seed) for seed in (None, 1))
    assert (together == in_order).all()
    assert totals == same


@pytest.mark.parametrize(("c", "independent"), [(60, True), (8, True), (12, False), (24, True)])
def test_tiles_are_in_order_where_one_is_written_over_the_next(c, independent):
    """Three tiles from word 8 on, normalised in place, over the next one, or elsewhere."""
    _, data, _ = normalisation()
    tables = data[4 * WORD:]
    text = (f"NORM x=8 x_stride=4 c={c} c_stride=4 params=80 count=3 words=4 features=7 norm=1 "
            "reciprocal=9586981 reciprocal_shift=3")
    program = assemble(f"""
        LOAD count=1 rows=1 words=12 pool=8
        LOAD count=1 rows=1 words={len(tables) // WORD} dram={12 * WORD} pool=80
        {text}
        STORE count=1 rows=1 words=12 pool={c}
    """)
    assert prepare(TINY, encode(program[2])).independent == independent
    synchronise(program, TINY)
    data = np.random.default_rng(1).bytes(12 * WORD) + tables
    images = [run(program, data, seed=seed)[0] for seed in (None, 1)]
    assert (images[0] == images[1]).all()
    x = np.frombuffer(data[:12 * WORD], np.int8).reshape(3, -1, LANES)
    scales = norm.unpack_norm(np.frombuffer(tables, np.uint8), 8, 7, 0)
    results = []
    for tile in x:
        source = results[-1] if results and not independent else tile
        results.append(norm.normalise(norm.values(source, None, scales), scales))
    assert (images[0][:12 * WORD].view(np.int8) == np.ravel(results)).all()


def test_footprints_of_the_layouts():
    """In layout BLOCKS the parts of a tile lie apart; elsewhere the words are consecutive."""
    zcu102 = preset("zcu102")
    [matmul] = assemble("MATMUL blocks=2 tiles=2 steps=3 a_stride=9 b=5 b_stride=7 c=100 "
                        "c_stride=50 c_tile_stride=8 c_part_stride=20 drain=1 layout=1")
    a, b, c = footprint(matmul, zcu102)
    assert a.addresses.tolist() == [[0, 1, 2, 3], [9, 10, 11, 12]]  # three steps, the parameters
    assert b.addresses.tolist() == [[5, 6, 7, 12, 13, 14]] * 2
    assert c.addresses.tolist() == [[100, 101, 120, 121, 108, 109, 128, 129],
                                    [150, 151, 170, 171, 158, 159, 178, 179]]
    for tile in range(2):
        assert c.addresses[0, 4 * tile:][:4].tolist() == layouts.tile_addresses(
            100 + 8 * tile, 20, Layout.BLOCKS, zcu102.rows, zcu102.lanes, zcu102.depth).tolist()


@pytest.mark.parametrize("drain", [0, 1])
@pytest.mark.parametrize("wide", [0, 1])
def test_footprint_of_a_listed_product(drain, wide):
    """The list lies behind parameters, which may not count, and may visit all of each tile."""
    geometry = preset("zcu102-nm")
    [matmul] = assemble(f"MATMUL blocks=2 tiles=2 steps=20 a_stride=40 b=4 b_stride=28 c=100 "
                        f"c_stride=50 c_tile_stride=8 drain={drain} listed=1 wide={wide}")
    a, b, *_ = footprint(matmul, geometry)
    block = [*range(21 + 1 + wide + 5)]
    assert a.addresses.tolist() == [block, [40 + word for word in block]]
    assert b.addresses.tolist() == [list(range(4, 60))] * 2


def listed(addresses, *, selector=0, tile=4):
    """Run a product of one block and tile, with 2 steps of ones and a list, 8 candidates."""
    g = preset("tiny-nm").replace(candidates=8)
    selectors = np.full((2, DEPTH, ROWS), selector)
    words = [np.ones((2, WORD), np.uint8),
             layouts.pack_channels(np.zeros(ROWS), np.full(ROWS, 1 << 16), [15] * ROWS),
             layouts.pack_list(addresses, selectors, g.selector_bits, word_bytes=WORD),
             np.repeat(np.arange(8 * tile, dtype=np.uint8), DEPTH * LANES)]
    data = np.concatenate([part.reshape(-1, WORD) for part in words])
    x, end = 2 + g.channel_words + g.list_words(2), len(data)
    program = assemble(f"""
        LOAD count=1 rows=1 words={end}
        FILL count=1 steps={8 * tile} pool={x}
        MATMUL blocks=1 tiles=1 steps=2 b_stride={8 * tile} c={end} drain=1 listed=1
        STORE count=1 rows=1 words={g.tile_words} pool={end} dram={end * WORD}
    """)
    synchronise(program, g)
    image = np.zeros(WORD * (end + g.tile_words) + 64 * len(program), np.uint8)
    image[:data.size] = data.ravel()
    image[-64 * len(program):] = np.frombuffer(b"".join(map(encode, program)), np.uint8)
    totals = execute(g, image, offset=image.size - 64 * len(program), instructions=len(program))
    assert totals.array_cycles == 2
    return image[data.size:][:ROWS * LANES].view(np.int8)


def test_a_listed_product_visits_what_its_list_says():
    """Step 8a + c of the tile holds that number; two slots and steps of weight 1 add them up."""
    assert (listed([[0, 1], [1, 3]], selector=5) == (0 + 8 + 8 + 24 + 4 * 5)).all()


@pytest.mark.parametrize(("addresses", "selector", "message"), [
    ([[0, 0], [3, 4]], 0, "has a list that visits address 4 of tiles of 4"),
    ([[0, 0], [3, 3]], 8, "has a list that selects candidate 8 of 8"),
])
def test_lists_that_leave_their_tile_are_refused(addresses, selector, message):
    with pytest.raises(ProgramError, match=message):
        listed(addresses, selector=selector)


@pytest.mark.parametrize(("fields", "message"), [
    ("steps=513 b_stride=4", "steps must be at most 512, the steps of the longest list, not 513"),
    ("steps=2", "b_stride must be at least 1, not 0: a list may visit all steps from one tile"),
    ("steps=2 b_stride=6", "b_stride must be a multiple of the 4 candidates, not 6"),
    ("steps=2 b=2 b_stride=4", "b must be a multiple of the 4 candidates, not 2"),
])
def test_lists_that_the_hardware_cannot_hold_are_refused(fields, message):
    [matmul] = assemble(f"MATMUL blocks=1 tiles=1 listed=1 {fields}")
    with pytest.raises(ValueError, match=re.escape(message)):
        footprint(matmul, preset("zcu102-nm"))


def test_rings():
    [load] = assemble("LOAD count=5 rows=2 words=1 ring=2 dram_stride=16 dram_row_stride=8 "
                      "pool=10 pool_stride=4 pool_row_stride=1")
    dram, pool = footprint(load, TINY)
    assert dram.addresses.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert pool.addresses.tolist() == [[10, 11], [14, 15], [10, 11], [14, 15], [10, 11]]


NORM = ("NORM x=0 x_stride=4 o=20 o_stride=4 s=40 s_stride=4 c=60 c_stride=4 params=80 count=2 "
        "words=4 features=7 reciprocal=9586981 reciprocal_shift=3 residual=1 norm=1 sum=1")


def test_footprint_of_a_normalisation():
    """Tiles lie at their strides; all read the same two tables of 8 bytes a feature."""
    [instruction] = assemble(NORM)
    x, o, params, s, c = footprint(instruction, TINY)
    for access, start, write in ((x, 0, 0), (o, 20, 0), (s, 40, 1), (c, 60, 1)):
        assert access.addresses.tolist() == [[*range(start, start + 4)],
                                             [*range(start + 4, start + 8)]]
        assert access.write == write
    assert params.addresses.tolist() == [[*range(80, 96)]] * 2
    [x, params, s] = footprint(assemble(NORM.replace("residual=1 norm=1", ""))[0], TINY)
    assert params.addresses.tolist() == [[*range(80, 88)]] * 2
    assert s.write


@pytest.mark.parametrize(("old", "new", "message"), [
    ("features=7", "features=9", "NORM field features must be between 1 and 8, not 9"),
    ("features=7", "features=0", "NORM field features must be between 1 and 8, not 0"),
    ("words=4", "words=0", "NORM field words must be at least 1, not 0"),
    ("norm=1 sum=1", "", "NORM must have norm or sum; it would write nothing"),
    ("c=60", "c=73", "NORM must not write over its parameters: every tile reads them"),
    ("c=60", "c=1", "NORM must not write over what it has still to read of a tile"),
    ("c=60", "c=23", "NORM must not write over what it has still to read of a tile"),
    ("s=40", "s=0", "NORM must not write over what it has still to read of a tile"),
    ("s=40 s_stride=4", "s=13 s_stride=10", "NORM must not write over what it has still to read"),
])
def test_normalisations_refused(old, new, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        footprint(assemble(NORM.replace(old, new))[0], TINY)


@pytest.mark.parametrize(("old", "new"), [
    ("c=60", "c=0"), ("c=60", "c=20"), ("s=40", "s=60"), ("norm=1", "s=0"),
])
def test_normalisations_in_place(old, new):
    text = NORM.replace("s=40", "") if new == "s=0" else NORM
    assert footprint(assemble(text.replace(old, new))[0], TINY)


def normalisation(change=lambda table: table, *, after="", **fields):
    """A program that normalises words of 1, 2, 3, …, its data, and what it must store."""
    x = np.arange(1, 1 + 4 * WORD, dtype=np.int8)
    ones = np.ones(7, np.int64)
    scales = norm.NormScales(ones << 15, 0 * ones, ones << 22, ones << 13, ones << 8, 7)
    table = change(norm.pack_norm(scales.padded(8), WORD)).reshape(-1)
    named = {"params": 4, "c": 40, "count": 1, "words": 4, "norm": 1, **scales.fields, **fields}
    program = f"""
        LOAD count=1 rows=1 words={4 + table.size // WORD}
        NORM {" ".join(f"{name}={value}" for name, value in named.items())}
        {after}
        STORE count=1 rows=1 words=4 pool=40
    """
    y = norm.values(x.reshape(-1, LANES), None, scales.padded(8))
    return assemble(program), bytes(x) + table.tobytes(), norm.normalise(y, scales.padded(8))


def test_a_normalisation():
    program, data, wanted = normalisation()
    synchronise(program, TINY)
    for seed in range(5):
        image, totals = run(program, data, seed=seed)
        assert (image[:4 * WORD].view(np.int8) == wanted.ravel()).all()
        assert totals.array_cycles == 0


def test_a_queue_in_order_needs_no_token_for_itself():
    """FILL reads what NORM wrote, in the same queue; the array takes it from there."""
    program, *_ = normalisation(after="FILL count=1 steps=2 pool=40")
    synchronise(program, TINY)
    assert str(program[2]) == "FILL pool=40 count=1 steps=2"


def set_word(word, value):
    def change(table):
        table[word] = value
        return table
    return change


@pytest.mark.parametrize(("program", "message"), [
    (normalisation(set_word(7, 1)),
     "has parameters for features from 7 on, which do not count"),
    (normalisation(set_word(9, 1)),
     "has two tables of parameters that disagree about the inputs"),
    (normalisation(reciprocal=9586982), "must have reciprocal=9586981 reciprocal_shift=3"),
])
def test_wrong_parameters_are_refused(program, message):
    instructions, data, _ = program
    synchronise(instructions, TINY)
    with pytest.raises(ProgramError, match=rf"Instruction 1: NORM .* {message}"):
        run(instructions, data)
