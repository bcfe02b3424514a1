"""The block RAMs: the hand-written modules of each technology, and Amaranth's memory."""

import numpy as np
import pytest

from heddle.rtl.ram import DualPortRam, TwoPortRam
from heddle.sim.vectors import play_vectors

CYCLES = 2000


def accesses(rng, width, depth):
    """Accesses to a dual port RAM that hardly leave the same few words, as dictionaries."""
    words = rng.integers(0, depth, 6)
    for _ in range(CYCLES):
        a, b = rng.choice(words, 2)
        yield {"a_en": int(rng.integers(2)), "a_addr": int(a), "b_en": int(rng.integers(2)),
               "b_write": int(rng.integers(2)), "b_addr": int(b),
               "b_write_data": int.from_bytes(rng.bytes(8), "little") & (1 << width) - 1}


def expected(vectors):
    """What the ports show after each cycle; ``None`` if it is undefined."""
    memory, a, b, shown = {}, None, None, []
    for v in vectors:
        shown.append((a, b))
        writes = v["b_en"] and v["b_write"]
        if v["a_en"]:
            a = None if writes and v["a_addr"] == v["b_addr"] else memory.get(v["a_addr"])
        if v["b_en"] and not writes:
            b = memory.get(v["b_addr"])
        if writes:
            memory[v["b_addr"]] = v["b_write_data"]
    return shown


@pytest.mark.parametrize(("width", "depth", "technology"), [
    (8, 16, None), (8, 16, "generic"),
    # Two slices of which one is narrow, and five whole ones.
    (20, 1024, "ecp5"), (40, 2048, "ecp5")])
def test_dual_port(width, depth, technology):
    rng = np.random.default_rng(width)
    vectors = list(accesses(rng, width, depth))
    played = play_vectors(DualPortRam(width, depth), vectors, technology)
    checked = 0
    for n, (a, b) in enumerate(expected(vectors)):
        for port, data in ("a", a), ("b", b):
            if data is not None:
                assert played[n][f"{port}_data"] == data, (n, port)
                checked += 1
    assert checked > CYCLES


@pytest.mark.parametrize("technology", ["generic", "ecp5"])
def test_a_word_that_is_read_while_it_is_written_is_wrong_in_simulation(technology):
    write = {"b_en": 1, "b_write": 1, "b_addr": 3}
    vectors = [write | {"b_write_data": 0x0F}, {"a_en": 1, "a_addr": 3},
               write | {"b_write_data": 0x55, "a_en": 1, "a_addr": 3}, {"a_en": 1, "a_addr": 3},
               {}, {}]
    played = play_vectors(DualPortRam(8, 16), vectors, technology)
    assert [row["a_data"] for row in played[2:5]] == [0x0F, 0xF0, 0x55]


def test_two_ports():
    vectors = [{"write_en": 1, "write_addr": 3, "write_data": 0x0F, "read_addr": 2},
               {"read_addr": 3}, {"write_en": 1, "write_addr": 3, "write_data": 0x55,
                                  "read_addr": 3}, {"read_addr": 3}, {}, {}]
    for technology, undefined in (None, 0x0F), ("generic", 0xF0):
        played = play_vectors(TwoPortRam(8, 16), vectors, technology)
        assert [row["read_data"] for row in played[2:5]] == [0x0F, undefined, 0x55]
