"""Lists of sparse blocks: fields out of words, sums of gaps, and entries without a pause."""

import random

import numpy as np
import pytest

from heddle.rtl.fields import FieldReader
from heddle.rtl.lists import Lists
from heddle.sim import layouts
from heddle.sim.streams import run_streams

LATENCY = 5


def pool_of(words, *ports, idle=0.0, seed=0):
    """Return a bench that answers readers of these words, and one of them a cycle."""
    async def bench(ctx):
        rng = random.Random(seed)
        flight = [[None] * LATENCY for _ in ports]
        while True:
            offers = [ctx.get(port.request.valid) for port in ports]
            served = next((n for n, offer in enumerate(offers) if offer), None)
            if rng.random() < idle:
                served = None
            for n, port in enumerate(ports):
                ctx.set(port.request.ready, n == served)
                word = flight[n].pop(0)
                ctx.set(port.valid, word is not None)
                ctx.set(port.data, word or 0)
                flight[n].append(words[ctx.get(port.request.p)] if n == served else None)
            await ctx.tick()
    return bench


# -- fields ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("sizes", [(4,), (4, 8), (16,)])
def test_fields_come_in_order_whatever_holds_them_up(sizes, idle):
    rng = random.Random(len(sizes))
    dut = FieldReader(sizes, words=4, pool_bits=6, word_bits=16)
    words = [rng.randrange(1 << 16) for _ in range(64)]
    runs, wanted = [], []
    for _ in range(30):
        size, steps = rng.randrange(len(sizes)), rng.choice((1, 2, 4, 5, 13))
        addr = rng.randrange(40)
        runs.append({"addr": addr, "steps": steps, "size": size})
        text = sum(word << 16 * n for n, word in enumerate(words[addr:]))
        for step in range(steps):
            wanted.append((text >> step * sizes[size] & (1 << sizes[size]) - 1, size, step == 0))
    seen = run_streams(dut, put={"i": runs}, get={"o": len(wanted)}, idle=idle,
                       background=[pool_of(words, dut.pool, idle=idle)])["o"]
    assert [(field["bits"] & (1 << sizes[field["size"]]) - 1, field["size"], field["first"])
            for field in seen] == wanted


def test_fields_come_one_a_cycle_across_words_and_runs():
    dut = FieldReader((4, 8), words=8, pool_bits=6, word_bits=32)
    runs = [{"addr": 3 * n, "steps": 9 + n % 5, "size": 0} for n in range(12)]
    count = sum(run["steps"] for run in runs)
    passed = run_streams(dut, put={"i": runs}, get={"o": count},
                         background=[pool_of(range(64), dut.pool)])
    cycles = passed.cycles["o"]
    assert cycles == list(range(cycles[0], cycles[0] + count))


# -- lists -----------------------------------------------------------------------------------------

SIZES = {"rows": 4, "depth": 2, "steps": 16, "pool_bits": 10}
SELECTOR_BITS = {1: 0, 2: 1, 4: 2, 8: 4}


def random_blocks(rng, candidates, shapes):
    """Return blocks of so many steps and tiles, the pool with their lists, and all entries."""
    blocks, words, wanted = [], [], []
    for n, (steps, tiles) in enumerate(shapes):
        wide, bits = n % 2, SELECTOR_BITS[candidates]
        addresses = np.sort(rng.integers(0, 16, (steps, 2)), axis=0)
        selectors = rng.integers(0, candidates, (steps, 2, 4))
        packed = layouts.pack_list(addresses, selectors, bits, word_bytes=8, wide=wide)
        blocks.append({"gaps": len(words), "steps": steps, "tiles": tiles, "wide": wide})
        words += [int.from_bytes(word.tobytes(), "little") for word in packed]
        shift = (candidates - 1).bit_length() * np.arange(8)
        chosen = (selectors.reshape(steps, -1) << shift).sum(axis=1)
        entries = [{"addresses": address.tolist(), "selectors": int(fields)}
                   for address, fields in zip(addresses, chosen, strict=True)]
        wanted += entries * tiles
    return blocks, words, wanted


def run_lists(candidates, shapes, **settings):
    rng = np.random.default_rng(len(shapes))
    blocks, words, wanted = random_blocks(rng, candidates, shapes)
    dut = Lists(**SIZES, candidates=candidates, selector_bits=SELECTOR_BITS[candidates])
    idle = settings.get("idle", 0.0)
    passed = run_streams(dut, put={"i": blocks}, get={"o": len(wanted)}, **settings,
                         background=[pool_of(words, *dut.pool, idle=idle)])
    assert passed["o"] == wanted
    return passed.cycles["o"]


@pytest.mark.parametrize("candidates", [1, 2, 4, 8])
@pytest.mark.parametrize("idle", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_entries_of_random_lists(candidates, idle, seed):
    """Lists from one step to all that the ring holds, gone through once for each tile."""
    rng = random.Random(seed)
    shapes = [(rng.choice((1, 2, 3, 7, 8, 9, 15, 16)), rng.randint(1, 4)) for _ in range(25)]
    run_lists(candidates, shapes, idle=idle, seed=seed)


@pytest.mark.parametrize("candidates", [1, 4])
@pytest.mark.parametrize("tiles", [1, 3])
def test_entries_come_one_a_cycle_across_tiles_and_blocks(candidates, tiles):
    """The first lists begin before the loader is ahead of them."""
    cycles = run_lists(candidates, [(7, tiles), (8, tiles), (5, tiles), (6, tiles)] * 6)
    flowing = cycles[(7 + 8) * tiles:]
    assert flowing == list(range(flowing[0], flowing[0] + len(flowing)))


@pytest.mark.parametrize("candidates", [1, 4])
@pytest.mark.parametrize("steps", [1, 8, 16])
def test_a_list_once_begun_comes_as_fast_as_it_is_taken(candidates, steps):
    """The array cannot stop within a tile, whenever the words of the next lists come."""
    rng = np.random.default_rng(0)
    blocks, words, wanted = random_blocks(rng, candidates, [(steps, 1 + n % 3) for n in range(30)])
    dut = Lists(**SIZES, candidates=candidates, selector_bits=SELECTOR_BITS[candidates])
    gaps, seen = random.Random(1), []

    async def array(ctx):
        while len(seen) < len(wanted):
            ctx.set(dut.o.ready, 0)
            while gaps.random() < 0.3 or not ctx.get(dut.o.valid):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            for _ in range(steps):
                _, _, valid, entry = await ctx.tick().sample(dut.o.valid, dut.o.p)
                assert valid
                seen.append(list(entry.addresses))

    run_streams(dut, put={"i": blocks}, also=[array],
                background=[pool_of(words, *dut.pool, idle=0.3)])
    assert seen == [entry["addresses"] for entry in wanted]
