"""The cache of simulation programs."""

import threading
import time

import pytest

from heddle.sim.verilator import build_bench, build_program, cache_directory, cached, digest


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path))
    return tmp_path


def test_cache_directory(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path
    monkeypatch.delenv("HEDDLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_directory() == tmp_path / "user" / "heddle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "heddle"


def test_filled_once():
    """Of several that want one key at the same time, one fills it; all see it complete."""
    filled, seen = [], []

    def want():
        with cached("key") as (folder, fresh):
            if fresh is not None:
                filled.append(fresh)
                time.sleep(0.05)
                (fresh / "file").write_text("whole")
        seen.append((folder / "file").read_text())

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    assert seen == ["whole"] * 4


def test_failure_leaves_nothing(folder):
    def fill():
        with cached("key") as (_, fresh):
            (fresh / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert [path.name for path in folder.iterdir()] == ["key.lock"]


def test_digest():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", "c") == digest("ab", "c")


def test_refusals():
    with pytest.raises(ValueError, match="must contain a module named 'top'"):
        build_bench("module other(); endmodule", "top")
    with pytest.raises(RuntimeError, match=r"verilator failed to build .*\n(.*\n)*.*syntax error"):
        build_program("module top(; endmodule", "top", [])
