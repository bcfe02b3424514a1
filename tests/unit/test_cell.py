"""The cell in both technologies against a model of its pipeline."""

import random

import pytest

from heddle.rtl.cell import NEUTRAL_SHIFT, Cell
from heddle.sim.vectors import play_vectors


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def scaled(total, shift, up):
    twice = (total << 12) >> shift
    return (twice >> 1) + (twice & up)


def random_inputs(depth, contexts, candidates, cycles):
    """Return random inputs; tags, commands and operands are independent of each other."""
    rng = random.Random(depth)

    def some_bytes(count, lowest):
        corners = (lowest, -127, -1, 0, 1, 127)
        return [rng.choice(corners) if rng.random() < 0.3 else rng.randint(lowest, 127)
                for _ in range(count)]

    def some_scale():
        return rng.choice((0, NEUTRAL_SHIFT, 31, rng.randrange(32))) | rng.randrange(8) << 5

    def some_weights():
        width = 8 + (candidates - 1).bit_length()
        return sum((v & 0xff | rng.randrange(candidates) << 8) << k * width
                   for k, v in enumerate(some_bytes(depth, -127)))

    # The first cycles fill the pipeline.
    inputs = [{"a": 0, "b": 0, "scale": 0, "tag": 1, "drain": 0}] * (depth + 7)
    for _ in range(cycles):
        inputs.append({
            "a":     some_weights(),
            "b":     int.from_bytes(bytes(
                v & 0xff for v in some_bytes(2 * depth * candidates, -128)), "little"),
            "scale": some_scale() | some_scale() << 8,
            "tag":   rng.getrandbits(3) | rng.randrange(contexts) << 3,
            "drain": rng.randrange(contexts),
        })
    return inputs


def model(depth, contexts, candidates, inputs):
    """Return ``data`` after each edge, with the inputs before it."""
    width = 8 + (candidates - 1).bit_length()

    def product(cycle, k, lane):
        if cycle < 0:
            return 0
        a = inputs[cycle]["a"] >> k * width & (1 << width) - 1
        byte = 2 * (k * candidates + (a >> 8)) + lane
        return signed(a, 8) * signed(inputs[cycle]["b"] >> 8 * byte, 8)

    def scale(cycle, lane):
        both = inputs[cycle]["scale"] >> 8 * lane if cycle >= 0 else 0
        return both & 31, both >> 5 & 3, both >> 7 & 1

    def sums(cycle):
        start = cycle - depth - 3 - (candidates > 1)
        return [sum(product(start + k, k, lane) for k in range(depth)) for lane in range(2)]

    stored = [[0, 0] for _ in range(contexts)]
    total, base, shown = [0, 0], [0, 0], []
    for cycle, now in enumerate(inputs):
        tag, done = (inputs[cycle - n]["tag"] if cycle >= n else 0 for n in (1, 2))
        next_base = [0, 0]
        if now["tag"] & 4:
            raises = [scale(cycle - 2, lane)[1] for lane in range(2)]
            next_base = [total >> 8 * r if r < 3 else 0
                         for total, r in zip(stored[now["tag"] >> 3], raises, strict=True)]
        if done & 2:
            stored[done >> 3] = list(total)
        start = base if tag & 1 else total
        total = [signed(start[lane] + scaled(s, *scale(cycle - 3, lane)[::2]), 32)
                 for lane, s in enumerate(sums(cycle - 2))]
        base = next_base
        lanes = stored[now["drain"]]
        shown.append((lanes[1] & 0xffffffff) << 32 | lanes[0] & 0xffffffff)
    return shown


@pytest.mark.parametrize(("depth", "contexts", "candidates", "technology"), [
    (2, 4, 1, None), (8, 32, 1, None), (2, 4, 1, "generic"), (2, 4, 1, "xilinx"),
    (8, 32, 1, "generic"), (8, 32, 1, "xilinx"), (2, 4, 2, None), (2, 4, 8, None),
    (8, 32, 4, "generic"), (8, 32, 4, "xilinx")])
def test_random_inputs(depth, contexts, candidates, technology):
    sizes = depth, contexts, candidates
    inputs = random_inputs(*sizes, 1000)
    played = play_vectors(Cell(*sizes), inputs, technology)
    assert [row["data"] for row in played] == model(*sizes, inputs)
    for name in ("a", "b", "scale", "tag", "drain"):
        assert [row[f"next_{name}"] for row in played] == [row[name] for row in inputs]
