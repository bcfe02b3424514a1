"""The occupancy of the array over time."""

import numpy as np
import pytest

from heddle.device import Counters, Run
from heddle.occupancy import draw, shares


def timed(cycles, window, samples):
    return Run(np.zeros(0, np.uint8), Counters(cycles, 0, 0, 0), window, np.array(samples))


def test_shares_of_whole_and_partial_windows():
    kinds, edges = shares(timed(250, 100, [[50, 10, 20, 5], [100, 0, 0, 0], [25, 0, 0, 0]]))
    assert edges.tolist() == [0, 100, 200, 250]
    np.testing.assert_allclose(kinds, [[.5, .1, .2, .05, .15], [1, 0, 0, 0, 0], [.5, 0, 0, 0, .5]])


def test_shares_ignore_samples_after_the_end():
    kinds, edges = shares(timed(200, 100, [[100, 0, 0, 0], [100, 0, 0, 0], [0, 0, 0, 0]]))
    assert edges.tolist() == [0, 100, 200]
    assert kinds.shape == (2, 5)


def test_picture(tmp_path):
    run = timed(130, 64, [[64, 0, 0, 0], [0, 64, 0, 0], [1, 0, 0, 0]])
    draw(tmp_path / "o.png", [("one", run), ("two", run)], "Two runs")
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")


def test_golden_runs_have_no_occupancy():
    with pytest.raises(ValueError, match="must have samples for its occupancy"):
        shares(Run(np.zeros(0, np.uint8), Counters(None, 0, 0, 0)))
