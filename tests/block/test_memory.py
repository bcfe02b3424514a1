"""The AXI memory in Verilator, with its contents in C++."""

from pathlib import Path

import pytest

from heddle.rtl.export import verilog
from heddle.sim.bench import run_bench
from heddle.sim.memory import AxiMemory
from heddle.sim.storage import STORAGE_SOURCES


@pytest.mark.cocotb
def test_memory():
    dut = AxiMemory(ports=2, address_bits=40, data_bytes=16)
    run_bench(Path(__file__).with_name("bench_memory.py"), verilog(dut, "memory"), "memory",
              sources=STORAGE_SOURCES)
