"""What the documents say about files, commands and block RAMs is so."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from heddle.cli import main
from heddle.program import Program
from heddle.rtl.fifo import StreamFifo
from heddle.rtl.geometry import PRESETS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links
               if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_merge_is_left_half_done(page):
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", page.read_text(), re.MULTILINE)


def test_readme_names_targets_and_commands_that_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", readme)) == targets - {"help", "clean"}
    commands = re.findall(r"`heddle ((?:\w[\w-]* ?)+)", readme)
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


def block_rams(g):
    word, vector = 8 * g.word_bytes, 8 * g.lanes
    scratchpad = g.scratchpad_banks * -(-word // 32) * -(-g.bank_words // 1024)
    operand = g.depth * g.candidates * -(-vector // 64) * -(-g.list_steps // 512)
    entry = g.depth * (g.list_steps - 1).bit_length()
    lists = -(-(entry + g.word_bytes * g.candidate_bits) // 72) * -(-g.list_steps // 512)
    # What LOAD, NORM (two of them) and the lists have of words in their queues.
    queues = 4 * -(-word // 72) if word >= StreamFifo.BLOCK_BITS else 0
    return [scratchpad, operand, lists, queues, scratchpad + operand + lists + queues]


@pytest.mark.parametrize(("name", "column"), [("zcu102", 0), ("zcu102-nm", 1)])
def test_block_ram_table_adds_up(name, column):
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (?:scratchpad|operand buffer|lists|queues of words|\*\*sum\*\*) \|.*"
                      r" (\**\d+\**) \| (\**\d+\**) \|$", page, re.MULTILINE)
    assert [int(row[column].strip("*")) for row in rows] == block_rams(PRESETS[name])


def test_port_table_adds_up():
    g = PRESETS["zcu102"]
    drain, params = g.tile_words / g.rows, g.channel_words / g.rows
    # One word of gaps a block, or of its wide gaps one for each 16 steps: as often as a tile.
    lists = max(1, g.gap_words(g.rows, wide=True)) / g.rows
    dma = g.dma_ports * g.dma_bytes / g.word_bytes
    page = (ROOT / "docs" / "architecture.md").read_text()
    shares = [float(share) for share in re.findall(r"^\| +\| b \|.* ([\d.]+) \|$", page,
                                                   re.MULTILINE)]
    assert shares == [drain, params, lists, dma, 1 - drain - params - lists - dma]
