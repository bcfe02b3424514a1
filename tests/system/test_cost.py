"""The cost model against the RTL: the schedule is tuned with it."""

import numpy as np
import pytest
from click.testing import CliRunner

import heddle
from heddle.cli import main
from heddle.cost import estimate
from heddle.device import Rtl
from heddle.rtl.geometry import preset
from heddle.spread import SPREAD, compare


@pytest.mark.parametrize(("geometry", "workload"), [
    pytest.param(geometry, workload, id=f"{geometry}: {workload.name}")
    for geometry in ("tiny", "compact") for workload in SPREAD[geometry]])
def test_prediction_is_within_five_percent(geometry, workload):
    found = compare(workload, geometry)
    assert found.predicted == pytest.approx(found.cycles, rel=0.05)
    assert found.array_predicted == found.array_cycles


def test_the_command(monkeypatch):
    monkeypatch.setitem(SPREAD, "tiny", SPREAD["tiny"][:2])
    result = CliRunner().invoke(main, ["bench", "cost", "--geometry", "tiny"])
    assert result.exit_code == 0, result.output
    assert result.output.count("| tiny | linear ") == 2
    result = CliRunner().invoke(main, ["bench", "cost", "--geometry", "ulx3s"])
    assert result.exit_code == 1
    assert "is compared on tiny, compact, zcu102, not on ulx3s" in " ".join(result.output.split())


@pytest.mark.parametrize("latency", [10, 100, 300])
@pytest.mark.parametrize(("geometry", "shape"), [
    ("tiny", (7, 33, 33)), ("tiny", (40, 64, 40)), ("tiny", (33, 128, 70)),
    ("compact", (33, 128, 70)), ("compact", (64, 128, 128)), ("compact", (128, 200, 256))])
def test_estimate_is_close(geometry, shape, latency):
    tokens, inputs, outputs = shape
    rng = np.random.default_rng(0)
    graph = heddle.Graph()
    x = graph.input("x", tokens=tokens, features=inputs)
    graph.output(graph.linear("y", x, rng.normal(size=(outputs, inputs))))
    values = {"x": rng.normal(size=(tokens, inputs))}
    program = heddle.compile(graph, values, geometry)
    report = heddle.run(program, values, device=Rtl(preset(geometry), latency=latency)).report
    expected = estimate(program.decoded(), program.geometry, latency=latency)
    assert expected.cycles == pytest.approx(report["cycles"], rel=0.05)
    assert expected.array_cycles == report["array_cycles"]
