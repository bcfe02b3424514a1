"""Synthesis: what Yosys counts, and the limits that presets and blocks must keep."""

import json

import pytest
from click.testing import CliRunner

from heddle.boards import synth
from heddle.cli import main
from heddle.rtl.geometry import preset

NAMED = dict.fromkeys(("staging", "load", "lists", "store", "drain"), 6)
"""Blocks with paths of more than ``synth.LIMIT`` levels, which docs/synthesis.md names."""


# One test a preset, as the tests of a module may run in different processes.
@pytest.mark.parametrize("geometry", ["tiny", "zcu102"])
def test_a_preset_fits_its_device_and_its_logic_is_shallow(tmp_path, geometry):
    file = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["synth", "--geometry", geometry, "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert geometry in result.output
    assert "xczu9eg" in result.output
    report = json.loads(file.read_text())
    blocks = {block["block"]: block for block in report["blocks"]}
    for kind, most in (("lut", 0.60), ("ff", 1), ("dsp", 1), ("bram36", 0.85)):
        share = report[kind] / synth.DEVICE[kind]
        assert report["device"][kind] == {"total": synth.DEVICE[kind], "share": round(share, 4)}
        assert 0 < share <= most
        assert sum(block[kind] for block in blocks.values()) == report[kind]
    # Two products a cycle from each DSP of the array.
    assert 2 * blocks["cells"]["dsp"] == preset(geometry).peak_macs_per_cycle

    # Predicted from the sizes alone: DSPs and block RAMs exactly, LUTs within 15 %.
    predicted = report["predicted"]
    assert (predicted["dsp"], predicted["bram36"]) == (report["dsp"], report["bram36"])
    assert predicted["lut"] == pytest.approx(report["lut"], rel=0.15)

    levels = {name: block["levels"] for name, block in blocks.items()}
    assert max(levels.values()) == report["max_lut_levels"]
    assert {name: depth for name, depth in levels.items()
            if depth > NAMED.get(name, synth.LIMIT)} == {}
    assert all(path["levels"] > synth.LIMIT for path in report["paths"])
    assert all(len(block["path"]) > 1 for block in blocks.values() if block["levels"])


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
    assert report["bram36"] == 0
    assert report["lut"] == sum(report[f"lut_{kind}"] for kind in ("logic", "shift", "ram"))


def test_primitives_are_counted_by_size():
    counts = synth.count({"LUT2": 3, "LUT6": 4, "SRL16E": 5, "RAM32M16": 2, "FDRE": 7, "INV": 9,
                          "RAMB18E2": 3, "DSP48E2": 1})
    assert counts == {"lut": 28, "lut_logic": 7, "lut_shift": 5, "lut_ram": 16, "ff": 7, "dsp": 1,
                      "bram36": 1.5}


def test_an_unknown_primitive_is_refused():
    with pytest.raises(RuntimeError, match="one whose size is known, and URAM288 is not"):
        synth.count({"LUT2": 3, "URAM288": 1})


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match="Block must be one of softmax, not 'divider'"):
        synth.synthesise_block("divider", preset("tiny"))


def test_without_yosys_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(synth.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'heddle\[synth\]'"):
        synth.synthesise(preset("tiny"))


def test_what_yosys_says_is_passed_on():
    with pytest.raises(RuntimeError, match="Yosys failed with code"):
        synth._netlist("module", {}, "top")
