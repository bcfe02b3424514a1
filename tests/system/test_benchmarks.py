"""The benchmarks' table, from a small case on the RTL."""

import pytest

from heddle import benchmarks
from heddle.benchmarks import COLUMNS, Case, measure


def test_row_of_a_case():
    [row] = measure((Case("tiny", 9, 16, 12),))
    assert len(row) == len(COLUMNS)
    geometry, size, cycles, usual, unlimited, read, written, error = row
    assert (geometry, size) == ("tiny", "9 × 16 × 12")
    assert 9 * 16 * 12 / 32 < int(cycles.replace(",", ""))
    assert 0 < float(usual) < float(unlimited) < 1
    assert float(read) >= float(written)
    assert float(error.rstrip("%")) < 2


def test_a_wrong_result_ends_the_benchmark(monkeypatch):
    monkeypatch.setattr(benchmarks, "gemm", lambda *size, **options: {"matches_golden": False})
    with pytest.raises(ValueError, match=r"result of Case\(.*must equal the golden model's"):
        next(measure())
