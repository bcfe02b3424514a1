"""Verilator models of Verilog designs, each built once and kept in a cache."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MODELS", "build_bench", "build_program", "cache_directory", "cached", "digest",
           "verilator_environment"]

MODELS = {"generic": (),
          "xilinx": (Path(__file__).with_name("dsp48e2.v"),),
          "ecp5": (Path(__file__).with_name("ecp5.v"),)}
"""Functional models of the primitives that designs for each technology need."""

_WARNINGS = ["-Wno-fatal", "-Wno-lint", "-Wno-style"]
# The slow files hold constructors, which run once but take minutes to optimise.
_OPTIMISE = ["OPT_FAST=-O2 -march=native", "OPT_SLOW=-O0"]


def cache_directory() -> Path:
    """Return the folder of the cache: ``$HEDDLE_CACHE``, or ``heddle`` in the user's cache folder.

    The cache may be deleted at any time; what is missing is built again.
    """
    if folder := os.environ.get("HEDDLE_CACHE"):
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heddle"


@contextmanager
def cached(key: str) -> Iterator[tuple[Path, Path | None]]:
    """Give the cache folder of ``key`` and, unless it is complete, a new folder to fill.

    If the block ends without an exception, the new folder takes the place of the other at once.
    Another process that wants the same key waits meanwhile.
    """
    folder = cache_directory() / key
    if folder.is_dir():
        yield folder, None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield folder, None
            return
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            yield folder, fresh
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def build_program(verilog: str, top: str, sources: Iterable[Path], *, trace: bool = False) -> Path:
    """Build a simulation program of a design and return the path of the executable.

    Parameters
    ----------
    verilog
        Text of the design.
    top
        Name of its top module; in C++ the class ``Vtop``.
    sources
        C++ files, one of which has ``main``, the headers that they include from beside them, and
        further Verilog files.
    trace
        Whether the program can write waveforms (VCD).

    Raises
    ------
    RuntimeError
        If Verilator or the compiler fails, with what they said.
    """
    return _build(verilog, top, list(sources), ["--trace-vcd"] if trace else [])


def build_bench(verilog: str, top: str, sources: Iterable[Path] = (), *,
                trace: bool = False) -> Path:
    """Build a simulation program of a design that cocotb drives; see :func:`build_program`.

    Only the ports of the top module are visible to cocotb, which keeps large designs fast.
    """
    from cocotb_tools import config

    libraries = config.libs_dir
    visible = "".join(f'public_flat_rw -module "{top}" -var "{port}"\n' for port in
                      _ports(verilog, top))
    options = ["--vpi", *(["--trace-vcd"] if trace else []), "--timescale", "1ns/1ps",
               "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"]
    main = config.share_dir / "lib" / "verilator" / "verilator.cpp"
    return _build(verilog, top, [main, *sources], options,
                  control=f"`verilator_config\n{visible}")


def _ports(verilog: str, top: str) -> list[str]:
    module = re.search(rf"^module {re.escape(top)}\b.*?^endmodule", verilog, re.M | re.S)
    if module is None:
        raise ValueError(f"Verilog text must contain a module named {top!r}")
    return re.findall(r"^\s*(?:input|output)\b[^;]*?([\w$]+)\s*;", module[0], re.M)


def _build(verilog: str, top: str, sources: list[Path], options: list[str],
           control: str = "") -> Path:
    options = ["--cc", "--exe", "--prefix", "Vtop", "--top-module", top, "-o", top, "--x-assign",
               "fast", "--x-initial", "unique", *_WARNINGS, *options]
    key = digest(_tools(), *options, *_OPTIMISE, verilog, control,
                  *(source.read_text() for source in sources))
    with cached(f"{top}-{key}") as (folder, fresh):
        if fresh is not None:
            (fresh / f"{top}.v").write_text(verilog)
            (fresh / f"{top}.vlt").write_text(control)
            files = [f"{top}.v", *([f"{top}.vlt"] if control else []),
                     *(str(source) for source in sources if source.suffix != ".h")]
            _run([_root() / "bin" / "verilator", "--Mdir", ".", *options, *files], fresh)
            _run(["make", f"-j{os.cpu_count()}", "-f", "Vtop.mk", "CFG_CXXFLAGS_PCH_I=-include",
                  f"PYTHON3={sys.executable}", *_OPTIMISE], fresh)
            for leftover in fresh.iterdir():
                if leftover.name not in (top, f"{top}.v"):
                    leftover.unlink()
    return folder / top


def _root() -> Path:
    return Path(str(importlib.metadata.distribution("verilator").locate_file("verilator")))


@functools.cache
def _tools() -> str:
    """Return a text that differs between tool versions and, as -march=native does, processors."""
    macros = subprocess.run(["c++", "-march=native", "-dM", "-E", "-x", "c++", "/dev/null"],
                            capture_output=True, text=True, check=True)
    return importlib.metadata.version("verilator") + macros.stdout


def digest(*parts: str) -> str:
    """Return a short text that differs between different parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:16]


def verilator_environment() -> dict[str, str]:
    """Return the environment in which the command ``verilator`` is the one of the package."""
    return os.environ | {"VERILATOR_ROOT": str(_root()),
                         "PATH": f"{_root() / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run(command: list[str | Path], folder: Path) -> None:
    environment = verilator_environment()
    # Options of a make that runs this must not reach the make of the model.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=environment, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed to build a simulation program:\n"
                           f"{done.stdout[-4000:]}")
