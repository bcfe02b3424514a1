"""The command line: what it writes, and how it refuses."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from heddle.api import run
from heddle.cli import main
from heddle.compiler import compile
from heddle.graph import Graph
from heddle.models import MiniLM
from heddle.models.families import FAMILIES
from heddle.models.packages import PACKAGES
from heddle.rtl.geometry import PRESETS
from heddle.sparse import LEVELS

REPORT = ["workload", "geometry", "device", "cycles", "array_cycles", "wait_dma",
          "wait_operands", "wait_drain", "wait_softmax", "macs", "macs_dense",
          "peak_macs_per_cycle", "utilisation", "dram_read_bytes", "dram_write_bytes",
          "scratchpad_bytes", "softmax_rows", "tiles_visited", "tiles_total", "weight_bytes",
          "weight_bytes_dense", "matches_golden", "error", "error_int8", "clock_mhz_assumed",
          "milliseconds", "gops"]


def heddle(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def program(tmp_path):
    """A saved program of two outputs, its inputs in a file, and its outputs on the golden model."""
    random = np.random.default_rng(3)
    graph = Graph("two")
    x = graph.input("x", tokens=5, features=9)
    graph.output(graph.linear("y", x, random.normal(size=(6, 9))))
    graph.output(graph.linear("z", x, random.normal(size=(3, 9)), random.normal(size=3)))
    inputs = {"x": random.normal(size=(5, 9))}
    compiled = compile(graph, inputs, "tiny")
    compiled.save(tmp_path / "two.heddle")
    np.savez(tmp_path / "x.npz", **inputs)
    return tmp_path, run(compiled, inputs, device="golden").outputs


def test_info_names_every_geometry():
    result = heddle("info")
    assert result.exit_code == 0
    assert all(name in result.output for name in PRESETS)


def test_models_names_every_family_and_package():
    result = heddle("models")
    assert result.exit_code == 0
    for name in (*FAMILIES, *PACKAGES, *(package.requirement for package in PACKAGES.values())):
        assert name in result.output


def test_bench_writes_the_report(tmp_path):
    file = tmp_path / "report.json"
    result = heddle("bench", "gemm", "--tokens", 5, "--inputs", 33, "--outputs", 7,
                    "--geometry", "tiny", "--device", "golden", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert list(report) == REPORT
    assert report["macs"] == 5 * 33 * 7
    assert report["geometry"] == "tiny"
    assert report["matches_golden"] is True
    assert report["error"] < 0.02
    assert "matches_golden" in result.output


def test_bench_of_sparse_weights(tmp_path):
    file = tmp_path / "report.json"
    result = heddle("bench", "gemm", "--tokens", 5, "--inputs", 64, "--outputs", 7, "--sparsity",
                    "0.75", "--geometry", "tiny", "--device", "golden", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert 4 * report["macs"] == report["macs_dense"] == 5 * 64 * 7
    assert report["weight_bytes"] == 2 * (8 + 1) * 8
    assert report["weight_bytes_dense"] == 64 * 7
    assert report["matches_golden"] is True


@pytest.mark.parametrize(("sparsity", "message"), [
    ("most", "Sparsity must be dense, a share, N:M, .* not 'most'"),
    ("1.0", "Sparsity must be at least 0 and less than 1, not 1.0"),
    ("5:4", "N must be at most M = 4, not 5"),
])
def test_bench_of_sparse_weights_refuses(sparsity, message):
    result = heddle("bench", "gemm", "--tokens", 5, "--inputs", 64, "--outputs", 7, "--sparsity",
                    sparsity, "--geometry", "tiny", "--device", "golden")
    assert result.exit_code == 1
    assert re.search(message, result.output)


def test_bench_of_formats_is_a_table_of_all_levels():
    result = heddle("bench", "formats", "--size", 128)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[1] for line in lines[2:]] == [level for _, level in LEVELS]


def test_bench_of_attention(tmp_path):
    file = tmp_path / "report.json"
    result = heddle("bench", "attention", "--tokens", 20, "--heads", 4, "--dim", 7, "--keys", 30,
                    "--kv-heads", 2, "--pattern", "causal+window:5", "--geometry", "tiny",
                    "--device", "golden", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    pairs = sum(min(query + 1, 5) for query in range(20))
    assert report["macs"] == 2 * 7 * 4 * pairs
    assert report["macs_dense"] == 2 * 7 * 4 * 20 * 30
    assert 0 < report["tiles_visited"] < report["tiles_total"]
    assert report["matches_golden"] is True
    assert report["error"] < 0.05


@pytest.mark.parametrize(("options", "message"), [
    (["--pattern", "causal+stripes"], "Pattern must be dense, causal, .* not 'causal.stripes'"),
    (["--pattern", "window:0"], "Window must be at least 1, not 0"),
    (["--kv-heads", 3], "heads"),
])
def test_bench_of_attention_refuses(options, message):
    result = heddle("bench", "attention", "--tokens", 20, "--heads", 4, "--dim", 8,
                    "--geometry", "tiny", "--device", "golden", *options)
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert "Traceback" not in result.output


def test_bench_depends_on_the_seed_alone(tmp_path):
    def error(seed):
        file = tmp_path / "report.json"
        heddle("bench", "gemm", "--tokens", 4, "--inputs", 8, "--outputs", 4, "--geometry", "tiny",
               "--device", "golden", "--seed", seed, "--json", file)
        return json.loads(file.read_text())["error"]

    assert error(1) == error(1) != error(2)


def test_run_gives_what_the_program_computes(program):
    folder, wanted = program
    result = heddle("run", folder / "two.heddle", "--input", folder / "x.npz",
                    "--output", folder / "out.npz", "--device", "golden")
    assert result.exit_code == 0, result.output
    with np.load(folder / "out.npz") as outputs:
        assert set(outputs) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_array_equal(outputs[name], values)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda data: data[:-1], "must be a complete program file"),
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "has been altered"),
], ids=["truncated", "altered"])
def test_run_refuses_damaged_programs(program, damage, message):
    folder, _ = program
    file = folder / "two.heddle"
    file.write_bytes(damage(file.read_bytes()))
    result = heddle("run", file, "--input", folder / "x.npz", "--output", folder / "out.npz")
    assert result.exit_code == 1
    assert message in result.output
    assert not (folder / "out.npz").exists()


def test_run_refuses_other_inputs(program):
    folder, _ = program
    np.savez(folder / "x.npz", w=np.zeros((5, 9)))
    arguments = ["run", folder / "two.heddle", "--output", folder / "out.npz", "--device", "golden"]
    result = heddle(*arguments, "--input", folder / "x.npz")
    assert result.exit_code == 1
    assert "Inputs must be x" in result.output
    (folder / "x.npz").write_bytes(b"no archive")
    result = heddle(*arguments, "--input", folder / "x.npz")
    assert result.exit_code == 1
    assert "must be an NPZ file" in result.output


def test_refusals_name_what_is_allowed():
    result = heddle("verilog", "--geometry", "huge", "--output", "nowhere")
    assert result.exit_code == 2
    assert ", ".join(PRESETS) in result.output
    result = heddle("bench", "gemm", "--tokens", 0, "--inputs", 1, "--outputs", 1)
    assert result.exit_code == 2
    assert "0 is not in the range x>=1" in result.output


def test_traceback_on_demand(program):
    folder, _ = program
    (folder / "x.npz").write_bytes(b"")
    result = heddle("--traceback", "run", folder / "two.heddle", "--input", folder / "x.npz",
                    "--output", folder / "out.npz")
    assert isinstance(result.exception, ValueError)


def test_evaluation_of_digits(tmp_path):
    file = tmp_path / "digits.json"
    result = heddle("evaluate", "digits", "--model", "dense", "--model", "80", "--first", 3,
                    "--geometry", "compact", "--json", file)
    assert result.exit_code == 0, result.output
    dense, pruned = json.loads(file.read_text())
    assert [dense["task"], pruned["task"]] == ["digits dense", "digits 80"]
    kept = [report["figures"]["weights kept"]["heddle"] for report in (dense, pruned)]
    assert kept[0] > 0.99 > 0.2 >= kept[1]
    for report in (dense, pruned):
        assert report["geometry"] == "compact"
        assert report["device"] == "golden"
        assert report["samples"] == 3
        assert report["cycles"] is report["matches_golden"] is None
    assert "digits 80: 3 samples, compact (golden)" in result.output


@pytest.mark.parametrize(("task", "first", "figure"), [
    ("lee", 3, "Pearson correlation"), ("characters", 1, "nats a character")])
def test_evaluations_print_float_beside_heddle(task, first, figure, tmp_path):
    file = tmp_path / "report.json"
    result = heddle("evaluate", task, "--first", first, "--json", file)
    assert result.exit_code == 0, result.output
    [report] = json.loads(file.read_text())
    assert report["task"] == task
    assert figure in result.output
    assert f"{report['figures'][figure]['float64']:.4f}" in result.output
    assert f"{report['figures'][figure]['heddle']:.4f}" in result.output


def test_ablations_are_a_table_of_markdown(monkeypatch):
    def ablations(geometry, texts):
        yield f"none on {geometry.name}", f"{texts}", "0.9"

    monkeypatch.setattr("heddle.evaluate.ablations.ablations", ablations)
    result = heddle("evaluate", "ablations", "--texts", 7)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "| change | mean | worst |", "| --- | --: | --: |", "| none on zcu102 | 7 | 0.9 |"]


def test_demo_compares_and_keeps(tmp_path):
    result = heddle("demo", "--device", "golden", "--layers", 1, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert sum(report["tokens"]) == 128
    assert min(report["cosines"]) > 0.995
    assert np.shape(report["similarities"]) == np.shape(report["similarities_float"]) == (8, 8)
    [run] = report["runs"]
    weights = 4 * 384 * 384 + 2 * 384 * 1536
    assert run["macs_dense"] == 128 * weights + 2 * 128 * 128 * 384
    assert 128 * weights < run["macs"] < run["macs_dense"]
    assert run["weight_bytes"] == weights < run["dram_read_bytes"]
    assert run["matches_golden"] is True
    assert 0 < run["tiles_visited"] < run["tiles_total"]
    for text in ("every bit", "similarity × 100, Heddle", "similarity × 100, float64"):
        assert text in result.output
    assert json.loads((tmp_path / "trace.json").read_text())["otherData"]["geometry"] == "zcu102"
    for name in ("attention.png", "similarity.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "occupancy.png").exists()


def test_demo_refuses_a_result_that_differs(monkeypatch, tmp_path):
    monkeypatch.setattr("heddle.api._equal", lambda one, other: False)
    result = heddle("demo", "--device", "golden", "--layers", 1, "--output", tmp_path)
    assert result.exit_code == 1
    assert "Every result must equal the golden model's, and some differ" in result.output


def test_embed_any_texts(tmp_path):
    file = tmp_path / "embeddings.json"
    texts = ["A dog barks.", "The hound is barking.", "Stocks fell by 3 %."]
    result = heddle("embed", *texts, "--device", "golden", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert report["texts"] == texts
    assert min(report["cosines"]) > 0.98
    near, *far = np.array(report["similarities"])[np.triu_indices(3, 1)]
    assert near > 0.7 > 0.3 > max(far)
    assert [run["cycles"] for run in report["runs"]] == [None]
    assert all(text in result.output for text in texts)


def test_embed_needs_a_text():
    result = heddle("embed", "--device", "golden")
    assert result.exit_code == 2
    assert "Missing argument 'TEXTS...'" in result.output


def test_bench_of_the_encoder(tmp_path):
    file = tmp_path / "report.json"
    result = heddle("bench", "minilm", "--tokens", 37, "--device", "golden", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    speed = ["cpu_compile", "cpu_first_run", "cpu_next_run"]
    assert list(report) == [*REPORT, *speed, "sequences", "cosine"]
    assert report["workload"] == "MiniLM, 37 tokens"
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    assert report["macs"] == 37 * weights + 6 * 2 * 384 * 37 ** 2
    assert report["weight_bytes"] == weights < report["dram_read_bytes"]
    assert report["sequences"] == 1
    assert report["cosine"] > 0.97
    assert report["matches_golden"] is True


def test_trace_of_a_program_file(program):
    folder, _ = program
    result = heddle("trace", folder / "two.heddle", "--output", folder / "trace.json")
    assert result.exit_code == 0, result.output
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert {"y MATMUL", "z STORE"} <= {event["name"] for event in events}
    (folder / "two.heddle").write_bytes(b"no program")
    result = heddle("trace", folder / "two.heddle", "--output", folder / "other.json")
    assert result.exit_code == 1
    assert "must be a complete program file" in result.output


def test_demo_says_how_to_install_the_encoder(monkeypatch, tmp_path):
    def missing(self, *, layers):
        raise ModuleNotFoundError("The weights of MiniLM are not installed")

    monkeypatch.setattr(MiniLM, "__init__", missing)
    result = heddle("demo", "--output", tmp_path)
    assert result.exit_code == 1
    assert "The weights of MiniLM are not installed" in result.output


def test_pruned_blocks_of_a_real_encoder():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in heddle(
        "bench", "pruned", "--layers", 1, "--device", "golden").output.splitlines()]
    assert len(rows) == 2 + 8
    found = {(geometry, level): (float(kept[:-1]), float(error[:-1]))
             for geometry, level, kept, _, _, _, _, error, _ in rows[2:]}
    for geometry in ("zcu102", "zcu102-nm"):
        kept, error = found[geometry, "dense"]
        assert kept == 100
        assert error < 5
    assert [found["zcu102-nm", level][0] for level in ("3:4", "2:4", "0.333+3:4")] == [75, 50, 50]
    assert found["zcu102-nm", "2:4"][1] < found["zcu102", "0.5"][1]
