"""The published scores: within their bars, and what the page shows."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import pytest
from bench_scripts import load_bench

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def score() -> ModuleType:
    return load_bench("throughput/score.py")


def test_every_source_is_within_the_bars(score: ModuleType) -> None:
    lines, passed = score.summary(score.read_runs(score.HERE / "data"))
    assert passed, "\n".join(lines)


def test_the_page_shows_the_scores_as_they_are(score: ModuleType) -> None:
    runs = score.read_runs(score.HERE / "data")
    page = score.PAGE.read_text(encoding="utf-8")
    for line in (*score.summary(runs)[0], *score.details(runs)):
        assert line in page, "docs/throughput.md is stale: run `make bench-throughput`"


def test_ranks_are_correlated_not_values(score: ModuleType) -> None:
    assert score.rank_correlation([1.0, 2.0, 30.0], [4.0, 5.0, 6.0]) == pytest.approx(1.0)
    assert score.rank_correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1.0)
    assert score.rank_correlation([1.0, 1.0, 2.0], [1.0, 1.0, 2.0]) == pytest.approx(1.0)
    assert math.isnan(score.rank_correlation([1.0, 1.0], [1.0, 2.0]))


def test_a_row_that_is_not_understood_is_named(score: ModuleType, tmp_path: Path) -> None:
    header, first, *_ = (score.HERE / "data" / "measured.csv").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "runs.csv"
    path.write_text(f"{header}\n{first.replace('A100-80GB', 'A1000')}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"runs\.csv:2: unknown model .* or GPU 'A1000'"):
        score.read_runs(tmp_path)
