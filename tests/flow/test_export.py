"""The Verilog that another flow gets: complete, small, quick to make, always the same, and read by
its tools without complaint."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from heddle.boards.export import export
from heddle.boards.lint import WAIVERS
from heddle.boards.registers import document
from heddle.rtl.geometry import PRESETS
from heddle.rtl.registers import REGISTERS
from heddle.rtl.target import TECHNOLOGIES
from heddle.sim.verilator import verilator_environment

CHILD_TIMES = slice(0, 4)  # of os.times(): this process and its children, user and system


def modules(text):
    """Return the modules that each module instantiates, by name and with repetitions."""
    parts = re.split(r"^module (\\\S+|\w+)", text, flags=re.MULTILINE)
    return {name: re.findall(r"^  (\\\S+|[A-Za-z]\w*) +(?:\w+ \(|#\()", body, re.MULTILINE)
            for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def count(text, top, wanted):
    """Return how many instances of a module there are below the top."""
    inside = modules(text)

    @cache
    def below(name):
        return (name == wanted) + sum(below(child) for child in inside.get(name, ()))

    return below(top)


def declared(text, top):
    """Return direction and width of each port of a module."""
    [body] = re.findall(rf"^module {top}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", body, re.MULTILINE)
    return {name: (direction, int(last or 0) + 1) for direction, last, name in found}


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """Returns the files of an export, which is made once, in a folder of its own."""
    @cache
    def exports(name, technology="generic"):
        return export(PRESETS[name], tmp_path_factory.mktemp("export") / "new" / "folder",
                      technology=technology)
    return exports


@pytest.fixture(params=[(name, technology) for name in ("tiny", "tiny-nm")
                        for technology in TECHNOLOGIES], ids="-".join)
def exported(request, exports):
    """The folder of an export, and the name of its top module."""
    files = exports(*request.param)
    return files[0].parent, files[0].stem


@pytest.mark.parametrize("name", PRESETS)
def test_files(name, exports):
    geometry = PRESETS[name]
    verilog, macros, about, *_ = files = exports(name)
    top = f"heddle_{name.replace('-', '_')}"
    assert {file.name for file in files} == {"heddle_ram.v", *(
        f"{top}.{ending}" for ending in ("v", "json", "h", "md", "core", "vlt"))}
    text = verilog.read_text()
    names = list(modules(text))
    assert top in names
    assert len(names) == len(set(names))
    assert "DSP48E2" not in text
    assert set(modules(macros.read_text())) == {"heddle_ram_1r1w", "heddle_ram_1r1rw"}
    described = json.loads(about.read_text())
    assert described["geometry"] == geometry.as_dict()
    assert described["fingerprint"] == geometry.fingerprint
    assert set(described["files"]) == {file.name for file in files}
    assert {port["name"]: (port["direction"], port["width"])
            for port in described["ports"]} == declared(text, top)
    buses = {port["name"].rsplit("_", 1)[0] for port in described["ports"]
             if port["name"] not in ("aclk", "aresetn", "interrupt")}
    assert buses == {bus["name"] for bus in described["interfaces"]}
    assert len(buses) == 1 + geometry.dma_ports
    assert {"module": "heddle_ram_1r1rw", "depth": geometry.bank_words,
            "width": 8 * geometry.word_bytes} in described["memories"]
    assert [r["offset"] for r in described["registers"]] == [r.offset for r in REGISTERS]


def test_names_tell_nothing_of_the_machine_or_the_tools(exported):
    folder, top = exported
    text = (folder / f"{top}.v").read_text()
    assert "$auto$" not in text
    assert "src =" not in text
    assert not re.search(r"\.(py|cc)\b", text)


def test_no_signal_has_a_bit_too_many(exported):
    """Verilog has no signals of no bits; Yosys would write ``[-1:0]``."""
    folder, top = exported
    assert "[-1:0]" not in (folder / f"{top}.v").read_text()


def run(*command, **options):
    done = subprocess.run(command, text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_fusesoc_finds_nothing_to_complain_of(exported, tmp_path):
    """FuseSoC reads the core, and its target lint has Verilator show every warning."""
    folder, top = exported
    fusesoc = [Path(sys.executable).with_name("fusesoc"), "--cores-root", folder]
    environment = verilator_environment() | {"HOME": str(tmp_path)}
    assert f"::{top}:" in run(*fusesoc, "core", "list", env=environment, cwd=tmp_path)
    said = run(*fusesoc, "run", "--work-root", tmp_path / "work", "--target", "lint", top,
               env=environment, cwd=tmp_path)
    assert "Verilator: Built from" in said
    assert "%Warning" not in said


def test_every_waiver_is_needed(exports):
    files = exports("tiny-nm", "xilinx")
    sources = [file for file in files if file.suffix == ".v"]
    done = subprocess.run(["verilator", "--lint-only", "-Wall", "--top-module", files[0].stem,
                           *sources], text=True, check=False, capture_output=True,
                          env=verilator_environment())
    found = re.findall(r"^%Warning-(\w+): \S*heddle_tiny_nm\.v:", done.stderr, re.MULTILINE)
    assert set(found) == set(WAIVERS)


def test_yosys_elaborates(exported):
    """Every module is there, nothing is driven twice, and there is no combinational loop."""
    folder, top = exported
    models = "".join(f"read_verilog -lib {model}; " for model in ("dsp48e2.v", "ecp5.v")
                     if (folder / model).exists())
    passes = (f"read_verilog {top}.v heddle_ram.v; {models}hierarchy -check -top {top}; "
              "proc -noopt; check -assert")
    code = "import sys; from pyosys import libyosys as y; y.run_pass(sys.argv[1], y.Design())"
    assert "Found and reported 0 problems" in run(sys.executable, "-c", code, passes, cwd=folder)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not installed")
def test_icarus_elaborates(exported):
    folder, top = exported
    run("iverilog", "-g2005", "-t", "null", "-s", top, *sorted(folder.glob("*.v")))


def test_header_compiles_and_agrees(exports, tmp_path):
    [header] = [file for file in exports("tiny") if file.suffix == ".h"]
    source = tmp_path / "check.cpp"
    source.write_text(f"""
        #include "{header}"
        static_assert(HEDDLE_FINGERPRINT == {PRESETS["tiny"].fingerprint}u);
        static_assert(HEDDLE_CONTROL == 0x08 && HEDDLE_CONTROL_START_MASK == 1);
        static_assert(HEDDLE_ERROR_RESPONSE_SHIFT == 4 && HEDDLE_ERROR_RESPONSE_MASK == 0x30);
        static_assert(HEDDLE_RETIRED_STORE == 0x5c);
    """)
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", source], check=True)


def test_register_page_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "registers.md"
    assert page.read_text() == document()


@pytest.mark.parametrize(("name", "candidates", "seconds"), [
    ("zcu102", 1, 20), ("zcu102-nm", 4, 30)])
def test_full_size(name, candidates, seconds, tmp_path):
    """Each distinct cell is elaborated once, so the largest presets stay quick and small."""
    before = sum(os.times()[CHILD_TIMES])
    verilog, *_ = export(PRESETS[name], tmp_path, technology="xilinx")
    assert sum(os.times()[CHILD_TIMES]) - before < seconds
    assert verilog.stat().st_size < 4_000_000
    text, top = verilog.read_text(), verilog.stem
    [cascade] = [name for name in modules(text) if name.endswith(".cascade")]
    assert count(text, cascade, "DSP48E2") == 8
    assert count(text, top, cascade) == 16 * 32 // 2
    assert count(text, top, "heddle_bank_4096x1024") == 4
    assert count(text, top, "heddle_ram_1r1w") == 8 * candidates + 1  # operands and lists


def test_same_text_whatever_the_hash_seed(tmp_path):
    texts = []
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-m", "heddle.cli", "verilog", "--geometry", "tiny",
                        "--output", tmp_path / seed], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PYTHONHASHSEED": seed})
        texts.append({file.name: file.read_bytes() for file in Path(tmp_path, seed).iterdir()})
    assert texts[0] == texts[1]
