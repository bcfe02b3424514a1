"""The prediction of what a geometry takes of an FPGA, against synthesis of the whole of it."""

import json

import pytest
from click.testing import CliRunner

from heddle.cli import main


def test_the_prediction_is_what_yosys_counts(tmp_path):
    """DSPs and block RAMs are exact; LUTs within 15 %."""
    file = tmp_path / "report.json"
    result = CliRunner().invoke(main, ["synth", "--geometry", "tiny", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "Predicted from its sizes: lut " in result.output
    report = json.loads(file.read_text())
    predicted = report["predicted"]
    assert (predicted["dsp"], predicted["bram36"]) == (report["dsp"], report["bram36"])
    assert predicted["lut"] == pytest.approx(report["lut"], rel=0.15)
