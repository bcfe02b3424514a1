"""The summary of a build: written, read, and refused when it is not one."""

import json

import pytest
from click.testing import CliRunner

from heddle.boards.summary import Summary
from heddle.cli import main

SUMMARY = Summary(
    board="zcu102", part="xczu9eg-ffvb1156-2-e", geometry="tiny", fingerprint=0xCD7733E8,
    tool="Vivado 2023.2", clock_mhz=250.0, clock_mhz_reached=256.9,
    slack_ns={"setup": 0.107, "pulse_width": 0.8},
    resources={"LUT": {"used": 1000, "available": 274080},
               "BRAM36": {"used": 2.5, "available": 912}},
    power_watt=None, problems=(), files=("heddle.bit",))


def test_what_is_written_is_read(tmp_path):
    SUMMARY.write(tmp_path)
    assert Summary.read(tmp_path) == SUMMARY


def test_rows():
    rows = dict(SUMMARY.rows())
    assert rows["geometry"] == "tiny (0xcd7733e8)"
    assert rows["clock"] == "250 MHz"
    assert rows["clock by timing"] == "256.9 MHz"
    assert rows["slack, pulse width"] == "+0.800 ns"
    assert rows["LUT"] == "1,000 of 274,080 (0.4%)"
    assert rows["BRAM36"] == "2.5 of 912 (0.3%)"
    assert rows["power"] == "–"
    assert rows["problems"] == "none"


@pytest.mark.parametrize(("change", "message"), [
    ({"tool": None}, "tool in .* must be a text, not None"),
    ({"fingerprint": 1 << 32}, "fingerprint in .* must be an integer of 32 bits, not 4294967296"),
    ({"fingerprint": True}, "fingerprint in .* must be an integer of 32 bits, not True"),
    ({"clock_mhz": 0}, "clock_mhz in .* must be a positive number, not 0"),
    ({"clock_mhz_reached": "fast"}, "clock_mhz_reached in .* must be a positive number or null"),
    ({"slack_ns": {"setup": "NA"}}, "slack_ns in .* must be numbers by name"),
    ({"slack_ns": {"hold": 1}}, "must have a problem, as its slack is {'hold': 1}"),
    ({"slack_ns": {"setup": 1, "hold": -1}}, "must have a problem, as its slack is .* none"),
    ({"resources": {"LUT": {"used": 1}}}, "resources in .* must be pairs of used and available"),
    ({"resources": {"LUT": {"used": 1, "available": 0}}}, "must be pairs of used and available"),
    ({"power_watt": "low"}, "power_watt in .* must be a number or null, not 'low'"),
    ({"problems": "none"}, "problems in .* must be a list of texts, not 'none'"),
    ({"files": [1]}, "files in .* must be a list of texts"),
    ({"speed": 1}, "must have the entries board, .*, files, not board, .* speed, tool"),
])
def test_refuses_other_entries(change, message, tmp_path):
    SUMMARY.write(tmp_path)
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Summary.read(tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    ('{"board": "zcu102"', "must be JSON as a flow writes it, and it is not: Expecting"),
    ("[]", r"must have the entries board, .*, files, not \[\]"),
    (None, "must be a folder in which a bitstream was built, and it has no summary.json"),
])
def test_command_refuses_what_is_no_summary(text, message, tmp_path):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Summary.read(tmp_path)
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
