"""The whole accelerator as a bus sees it: `tiny` between cocotbext-axi models."""

from pathlib import Path

import pytest

from heddle.rtl.accelerator import Accelerator
from heddle.rtl.export import verilog
from heddle.rtl.geometry import PRESETS
from heddle.sim.bench import run_bench


@pytest.mark.cocotb
def test_accelerator():
    text = verilog(Accelerator(PRESETS["tiny"]), "accelerator", axi_clock=True)
    run_bench(Path(__file__).with_name("bench_accelerator.py"), text, "accelerator")
