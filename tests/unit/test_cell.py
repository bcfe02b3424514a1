"""The cell in both technologies against a model of its pipeline."""

import random

import pytest

from heddle.rtl.cell import Cell
from heddle.sim.vectors import DSP48E2, play_vectors


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def random_inputs(depth, contexts, cycles):
    """Return random inputs; tags, commands and operands are independent of each other."""
    rng = random.Random(depth)

    def some_bytes(count, lowest):
        corners = (lowest, -127, -1, 0, 1, 127)
        return [rng.choice(corners) if rng.random() < 0.3 else rng.randint(lowest, 127)
                for _ in range(count)]

    inputs = [{"a": 0, "b": 0, "tag": 1, "drain": 0, "data": 0}] * (depth + 4)  # fills the pipeline
    for _ in range(cycles):
        inputs.append({
            "a":     int.from_bytes(bytes(v & 0xff for v in some_bytes(depth, -127)), "little"),
            "b":     int.from_bytes(bytes(v & 0xff for v in some_bytes(2 * depth, -128)), "little"),
            "tag":   rng.getrandbits(3) | rng.randrange(contexts) << 3,
            "drain": rng.getrandbits(1) | rng.randrange(contexts) << 1,
            "data":  rng.getrandbits(64),
        })
    return inputs


def model(depth, contexts, inputs):
    """Return ``next_data`` of each cycle."""
    def operand(cycle, name, byte):
        return signed(inputs[cycle][name] >> 8 * byte, 8) if cycle >= 0 else 0

    def sums(cycle):
        start = cycle - depth - 3
        return [sum(operand(start + k, "a", k) * operand(start + k, "b", 2 * k + lane)
                    for k in range(depth)) for lane in range(2)]

    stored = [[0, 0] for _ in range(contexts)]
    total, base, shown = [0, 0], [0, 0], []
    for cycle, now in enumerate(inputs):
        tag, done = (inputs[cycle - n]["tag"] if cycle >= n else 0 for n in (1, 2))
        lanes = stored[now["drain"] >> 1]
        drained = (lanes[1] & 0xffffffff) << 32 | lanes[0] & 0xffffffff
        shown.append(drained if now["drain"] & 1 else now["data"])
        next_base = list(stored[now["tag"] >> 3]) if now["tag"] & 4 else [0, 0]
        if done & 2:
            stored[done >> 3] = list(total)
        total = [s + t for s, t in zip(base if tag & 1 else total, sums(cycle), strict=True)]
        base = next_base
    return shown


@pytest.mark.parametrize(("depth", "contexts", "technology"), [
    (2, 4, None), (8, 16, None), (2, 4, "xilinx"), (8, 16, "xilinx")])
def test_random_inputs(depth, contexts, technology):
    inputs = random_inputs(depth, contexts, 1000)
    played = play_vectors(Cell(depth, contexts), inputs, technology, [DSP48E2])
    assert [row["next_data"] for row in played] == model(depth, contexts, inputs)
    for name in ("a", "b", "tag", "drain"):
        assert [row[f"next_{name}"] for row in played] == [row[name] for row in inputs]
