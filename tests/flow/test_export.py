"""The Verilog that a board's flow gets: complete, small, quick to make, always the same."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from heddle.boards.export import export
from heddle.boards.registers import document
from heddle.rtl.geometry import PRESETS

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


@pytest.mark.parametrize("name", PRESETS)
def test_files(name, tmp_path):
    geometry = PRESETS[name]
    verilog, sizes, _ = export(geometry, tmp_path / "new" / "folder")
    text = verilog.read_text()
    assert text.count(f"module heddle_{name.replace('-', '_')}(") == 1
    for port in ("aclk", "aresetn", "interrupt", "s_axi_awaddr",
                 f"m_axi_{geometry.dma_ports - 1}_araddr"):
        assert re.search(rf"^  (input|output) .*\b{port};", text, re.MULTILINE), port
    assert f"m_axi_{geometry.dma_ports}_araddr" not in text
    described = json.loads(sizes.read_text())
    assert described["geometry"] == geometry.as_dict()
    assert described["fingerprint"] == geometry.fingerprint
    assert "DSP48E2" not in text


def test_header_compiles_and_agrees(tmp_path):
    *_, header = export(PRESETS["tiny"], tmp_path)
    source = tmp_path / "check.cpp"
    source.write_text(f"""
        #include "{header.name}"
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
    assert verilog.stat().st_size < 3_500_000
    text, top = verilog.read_text(), verilog.stem
    assert count(text, top, "DSP48E2") == 16 * 32 // 2 * 8
    assert count(text, top, "heddle_bank_4096x1024") == 4
    assert count(text, top, "heddle_ram_1r1w") == 8 * candidates + 1  # operands and lists


def test_same_text_whatever_the_hash_seed(tmp_path):
    texts = []
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-m", "heddle.cli", "verilog", "--geometry", "tiny",
                        "--output", tmp_path / seed], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PYTHONHASHSEED": seed})
        texts.append(Path(tmp_path, seed, "heddle_tiny.v").read_text())
    assert texts[0] == texts[1]
