"""What the documents say about files, commands and block RAMs is so."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from heddle.cli import main
from heddle.program import Program
from heddle.rtl.geometry import PRESETS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links
               if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_readme_names_targets_and_commands_that_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", readme)) == targets - {"help", "clean"}
    commands = re.findall(r"`heddle ((?:\w+ ?)+)", readme)
    assert len(commands) >= 5
    for command in commands:
        words = [word for word in command.split() if word.islower()]
        assert CliRunner().invoke(main, [*words, "--help"]).exit_code == 0, command


def test_readme_example_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert 'device="rtl"' in example
    exec(example.replace('device="rtl"', 'device="golden"'), {})
    assert capsys.readouterr().out.startswith("(100, 1000) {'workload'")
    assert Program.load(tmp_path / "mine.heddle").macs == 2 * 100 * 1000 * 384


def test_block_ram_table_adds_up():
    g = PRESETS["zcu102"]
    word, vector = 8 * g.word_bytes, 8 * g.lanes
    scratchpad = g.scratchpad_banks * -(-word // 32) * -(-g.bank_words // 1024)
    operand = g.depth * -(-vector // 64) * -(-g.operand_steps // 512)
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (scratchpad|operand buffer|\*\*sum\*\*) \|.* (\**\d+\**) \|$", page,
                      re.MULTILINE)
    assert [int(number.strip("*")) for _, number in rows] == [
        scratchpad, operand, scratchpad + operand]


def test_port_table_adds_up():
    g = PRESETS["zcu102"]
    drain, params = g.tile_words / g.rows, g.channel_words / g.rows
    dma = g.dma_ports * g.dma_bytes / g.word_bytes
    page = (ROOT / "docs" / "architecture.md").read_text()
    shares = [float(share) for share in re.findall(r"^\| +\| b \|.* ([\d.]+) \|$", page,
                                                   re.MULTILINE)]
    assert shares == [drain, params, dma, 1 - drain - params - dma]
