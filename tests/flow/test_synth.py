"""Synthesis of blocks: what Yosys counts, and the limits that blocks must keep."""

import json

import pytest
from click.testing import CliRunner

from heddle.boards import synth
from heddle.cli import main
from heddle.rtl.geometry import preset


def test_the_softmax_is_small(tmp_path):
    """At most 300 LUTs and 2 DSPs a lane, besides the RAM that keeps its probabilities."""
    file = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["synth", "--block", "softmax", "--json", str(file)])
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert report["lanes"] == preset("zcu102").lanes
    assert 0 < report["lut_logic_per_lane"] + report["lut_shift_per_lane"] <= 300
    assert report["lut_ram_per_lane"] == 40  # 8 banks of a pair's 14 bits, and the scales
    assert 0 < report["dsp_per_lane"] <= 2
    assert report["bram"] == 0
    assert report["lut"] == sum(report[f"lut_{kind}"] for kind in ("logic", "shift", "ram"))


def test_primitives_are_counted_by_size():
    counts = synth.count({"LUT2": 3, "LUT6": 4, "SRL16E": 5, "RAM32M16": 2, "FDRE": 7, "INV": 9,
                          "RAMB18E2": 3, "DSP48E2": 1})
    assert counts == {"lut": 28, "lut_logic": 7, "lut_shift": 5, "lut_ram": 16, "ff": 7, "dsp": 1,
                      "bram": 1.5}


def test_an_unknown_primitive_is_refused():
    with pytest.raises(RuntimeError, match="one whose size is known, and URAM288 is not"):
        synth.count({"LUT2": 3, "URAM288": 1})


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match="Block must be one of softmax, not 'divider'"):
        synth.synthesise("divider", preset("tiny"))


def test_without_yosys_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(synth.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'heddle\[synth\]'"):
        synth.synthesise("softmax", preset("tiny"))


def test_what_yosys_says_is_passed_on():
    with pytest.raises(RuntimeError, match="Yosys failed with code"):
        synth._cells("module", "top")
