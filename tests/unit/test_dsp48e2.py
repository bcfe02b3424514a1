# amaranth: UnusedElaboratable=no
"""The DSP48E2: its functional model, and the cascade in both technologies."""

import csv
import gzip
import random
from pathlib import Path

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.rtl.dsp48e2 import Cascade
from heddle.sim.vectors import play_vectors

VECTORS = Path(__file__).parents[1] / "data" / "dsp48e2" / "vectors.csv.gz"

INPUTS = {"A": 30, "B": 18, "C": 48, "D": 27, "INMODE": 5, "OPMODE": 9, "ALUMODE": 4, "CARRYIN": 1,
          "PCIN": 48, "CEAD": 1, "CEM": 1, "CEP": 1, "RSTM": 1, "RSTP": 1}

# Recorded configurations: AREG, BREG, CREG, DREG, ADREG, MREG, PREG, AMULTSEL.
CONFIGURATIONS = {
    "P_mul":            (1, 1, 1, 1, 1, 1, 1, "A"),
    "P_mul_a2b2":       (2, 2, 1, 1, 1, 1, 1, "A"),
    "P_preadd":         (1, 2, 1, 1, 1, 1, 1, "AD"),
    "P_preadd_noadreg": (1, 1, 1, 1, 0, 1, 1, "AD"),
    "P_nomreg":         (1, 1, 1, 1, 1, 0, 1, "A"),
    "P_nopreg":         (1, 1, 1, 1, 1, 1, 0, "A"),
    "P_preadd_a2b2":    (2, 2, 1, 1, 1, 1, 1, "AD"),
    "P_comb_in":        (0, 0, 0, 0, 0, 1, 1, "A"),
}


class Configurations(wiring.Component):
    """One DSP48E2 of each recorded configuration, with common inputs."""

    def __init__(self):
        super().__init__({name: In(width) for name, width in INPUTS.items()}
                         | {name: Out(48) for name in CONFIGURATIONS})

    def elaborate(self, platform):
        m = Module()
        ones = {f"i_CE{name}": Const(1, 1) for name in ("A1", "A2", "B1", "B2", "C", "D")}
        for name, (a, b, c, d, ad, mult, p, source) in CONFIGURATIONS.items():
            m.submodules[name] = Instance(
                "DSP48E2", p_AREG=a, p_ACASCREG=a, p_BREG=b, p_BCASCREG=b, p_CREG=c, p_DREG=d,
                p_ADREG=ad, p_MREG=mult, p_PREG=p, p_AMULTSEL=source, p_INMODEREG=0, p_OPMODEREG=0,
                p_ALUMODEREG=0, p_CARRYINREG=0, p_CARRYINSELREG=0, i_CLK=ClockSignal(),
                o_P=getattr(self, name), **ones,
                **{f"i_{port}": getattr(self, port) for port in INPUTS})
        return m


def test_model_against_recorded_vectors():
    with gzip.open(VECTORS, "rt") as file:
        rows = [{name: int(value, 16) for name, value in row.items() if name != "cycle"}
                for row in csv.DictReader(file)]
    played = play_vectors(Configurations(), [{name: row[name] for name in INPUTS} for row in rows],
                          "xilinx")
    assert len(rows) == 1500
    for name in CONFIGURATIONS:
        assert [row[name] for row in played] == [row[name] for row in rows], name


def operands(depth, steps):
    """Return random weights ``[step][k]`` and activations ``[step][k][lane]``, with corners."""
    rng = random.Random(depth)
    corners = [((w,) * depth, ((x0, x1),) * depth)
               for w in (-127, -1, 0, 1, 127)
               for x0 in (-128, -127, 0, 127) for x1 in (-128, -1, 0, 127)]
    corners += [([rng.choice((-127, 127)) for _ in range(depth)],
                 [rng.choices((-128, -127, 127), k=2) for _ in range(depth)]) for _ in range(200)]
    return corners + [([rng.randint(-127, 127) for _ in range(depth)],
                       [[rng.randint(-128, 127) for _ in range(2)] for _ in range(depth)])
                      for _ in range(steps)]


def vectors(steps, depth):
    """Return the inputs of each cycle: product ``k`` of a step comes ``k`` cycles late."""
    inputs = []
    for cycle in range(len(steps) + depth + 4):
        a = b = 0
        for k in range(depth):
            if 0 <= cycle - k < len(steps):
                weights, activations = steps[cycle - k]
                a |= (weights[k] & 0xff) << 8 * k
                for lane in range(2):
                    b |= (activations[k][lane] & 0xff) << 8 * (2 * k + lane)
        inputs.append({"a": a, "b": b})
    return inputs


@pytest.mark.parametrize(("depth", "technology"),
                         [(1, None), (8, None), (1, "xilinx"), (8, "xilinx")])
def test_sums(depth, technology):
    steps = operands(depth, 500)
    inputs = vectors(steps, depth)
    played = play_vectors(Cascade(depth), inputs, technology)
    for n, (weights, activations) in enumerate(steps):
        for lane in range(2):
            total = sum(w * x[lane] for w, x in zip(weights, activations, strict=True))
            # The outputs are those after the edge that ends a cycle.
            assert played[n + depth + 2][f"sums_{lane}"] == total & 0x3ffff, (n, lane)
    for shown, given in zip(played, inputs, strict=True):
        assert (shown["next_a"], shown["next_b"]) == (given["a"], given["b"])


@pytest.mark.parametrize("depth", [0, 9])
def test_depth_out_of_range(depth):
    with pytest.raises(ValueError, match=f"depth must be between 1 and 8, not {depth}: the lower"):
        Cascade(depth)
