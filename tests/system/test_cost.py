"""The cost model against the RTL: the schedule is tuned with it."""

import numpy as np
import pytest

import heddle
from heddle.cost import estimate
from heddle.device import Rtl
from heddle.rtl.geometry import preset


@pytest.mark.parametrize("latency", [10, 100, 300])
@pytest.mark.parametrize("shape", [(7, 33, 33), (40, 64, 40), (33, 128, 70)])
def test_estimate_is_close(shape, latency):
    tokens, inputs, outputs = shape
    rng = np.random.default_rng(0)
    graph = heddle.Graph()
    x = graph.input("x", tokens=tokens, features=inputs)
    graph.output(graph.linear("y", x, rng.normal(size=(outputs, inputs))))
    values = {"x": rng.normal(size=(tokens, inputs))}
    program = heddle.compile(graph, values, "tiny")
    report = heddle.run(program, values, device=Rtl(preset("tiny"), latency=latency)).report
    expected = estimate(program.decoded(), program.geometry, latency=latency)
    assert expected.cycles == pytest.approx(report["cycles"], rel=0.08)
    assert expected.array_cycles == report["array_cycles"]
