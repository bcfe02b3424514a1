"""Runs cocotb benches: builds the design with Verilator, then lets cocotb drive it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .verilator import build_bench

__all__ = ["run_bench"]


def run_bench(bench: str | Path, verilog: str, top: str, *, name: str | None = None,
              sources: Iterable[Path] = (), environment: Mapping[str, str] | None = None,
              seed: int = 1) -> Path:
    """Run the cocotb tests of a Python file on a design and return the folder of the outcome.

    Whatever the design does not initialise starts random.

    That is ``build/bench/<name>`` in the current folder. It holds ``log.txt``, ``results.xml`` and,
    if the environment variable ``HEDDLE_WAVES`` is 1, the waveform ``dump.vcd`` for GTKWave or
    Surfer.

    Parameters
    ----------
    bench
        The file with the cocotb tests. Its folder is importable in the simulator.
    verilog
        Text of the design.
    top
        Name of its top module, whose ports alone the bench sees.
    name
        Name of the run; the stem of ``bench`` unless runs of one bench must be told apart.
    sources
        C++ and Verilog files that the design needs beside its text.
    environment
        Variables for the bench to read its parameters from.
    seed
        Positive seed of that, and of Python's ``random`` in the bench.

    Raises
    ------
    AssertionError
        If a test of the bench fails, with the end of its log.
    RuntimeError
        If the design cannot be built.
    """
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    bench = Path(bench)
    waves = os.environ.get("HEDDLE_WAVES") == "1"
    program = build_bench(verilog, top, sources, trace=waves)
    folder = Path("build", "bench", name or bench.stem).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results, log = folder / "results.xml", folder / "log.txt"
    sys.path.insert(0, str(bench.parent.absolute()))  # cocotb gets the path of this process
    try:
        get_runner("verilator").test(
            test_module=bench.stem, hdl_toplevel=top, hdl_toplevel_lang="verilog", seed=seed,
            build_dir=program.parent, test_dir=folder, results_xml=str(results), log_file=log,
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed}"], waves=waves,
            extra_env=environment or {})
        tests, failures = get_results(results)
    except (RuntimeError, SystemExit):
        tests = failures = 0
    finally:
        sys.path.pop(0)
    if failures or not tests:
        raise AssertionError(f"Bench {folder.name} failed ({log}):\n{log.read_text()[-8000:]}")
    return folder
