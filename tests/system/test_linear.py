"""Products of matrices through the whole machine: compiler, program, RTL, golden model."""

import itertools

import numpy as np
import pytest

import heddle
from heddle.device import DeviceError, Rtl
from heddle.rtl.geometry import PRESETS

TINY = PRESETS["tiny"]
SHAPES = [*itertools.product([1, 7, 33], repeat=3), (385, 1, 7), (7, 385, 33), (33, 33, 385),
          (1, 385, 385), (385, 33, 33), (33, 385, 100)]


def matrices(tokens, inputs, outputs, seed=0):
    rng = np.random.default_rng([seed, tokens, inputs, outputs])
    return (rng.normal(size=(tokens, inputs)).astype(np.float32),
            rng.normal(size=(outputs, inputs)).astype(np.float32),
            rng.normal(size=outputs).astype(np.float32))


@pytest.mark.parametrize(("tokens", "inputs", "outputs"), SHAPES)
def test_odd_shapes(tokens, inputs, outputs):
    result = heddle.linear(*matrices(tokens, inputs, outputs), geometry="tiny")
    report = result.report
    assert report["matches_golden"]
    assert report["error"] <= 0.02
    assert report["macs"] == tokens * inputs * outputs
    assert 0 < report["utilisation"] <= 1
    assert report["array_cycles"] * TINY.peak_macs_per_cycle >= report["macs"]


@pytest.mark.parametrize("latency", [0, 37, 400])
@pytest.mark.parametrize("bandwidth", [0, 3, 8])
def test_the_memory_changes_the_time_and_nothing_else(latency, bandwidth):
    device = Rtl(TINY, latency=latency, bandwidth=bandwidth)
    report = heddle.linear(*matrices(23, 150, 61), geometry="tiny", device=device).report
    assert report["matches_golden"]


def test_a_faster_memory_is_no_slower():
    cycles = [heddle.linear(*matrices(23, 150, 61), geometry="tiny",
                            device=Rtl(TINY, latency=latency, bandwidth=bandwidth)).report["cycles"]
              for latency, bandwidth in [(0, 0), (100, 8), (400, 3)]]
    assert cycles[0] < cycles[1] < cycles[2]


@pytest.mark.parametrize("changes", [
    {"rows": 4, "lanes": 8, "depth": 4, "contexts": 8},
    {"rows": 8, "lanes": 8, "depth": 2, "dma_ports": 4, "dma_bytes": 8},
    {"rows": 8, "lanes": 8, "depth": 1, "dma_ports": 1, "dma_bytes": 8, "scratchpad_banks": 1},
])
def test_other_geometries(changes):
    geometry = TINY.replace(name="custom", scratchpad_bytes=16 << 10, **changes)
    report = heddle.linear(*matrices(37, 70, 45), geometry=geometry).report
    assert report["matches_golden"]


def test_a_run_that_does_not_end_says_where_each_queue_stands():
    with pytest.raises(DeviceError, match=r"must end within 300 cycles, and it has not: LOAD is at "
                                          r"instruction .*FILL is at .*COMPUTE is at .*STORE is"):
        heddle.linear(*matrices(33, 33, 33), geometry="tiny", device=Rtl(TINY, limit=300))


def test_the_full_size_machine():
    """The size of MiniLM's feed-forward layer on the geometry of the ZCU102."""
    report = heddle.linear(*matrices(128, 384, 1536), geometry="zcu102").report
    assert report["matches_golden"]
    assert report["error"] <= 0.02
    assert report["peak_macs_per_cycle"] == 4096
    assert report["utilisation"] >= 0.85
