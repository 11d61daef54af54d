"""Public runs on nodes of eight GPUs: what is left of each GPU's speed on more of them."""

from __future__ import annotations

from pathlib import Path

from bench_scripts import load_bench

NODES = load_bench("throughput/nodes.py")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "throughput.md"
PAIRS = tuple(NODES.growths(NODES.read_runs()))


def test_the_share_of_speed_that_more_gpus_leave_is_within_two_percent_and_nearer_than_none_lost() -> None:
    assert len(PAIRS) == 36
    assert NODES.passes(PAIRS)


def test_doubling_beyond_128_gpus_is_promised_at_most_four_percent_too_much() -> None:
    assert max(pair.error for pair in PAIRS if pair.many.num_gpus > 128) < 0.04


def test_the_page_shows_the_scores_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for line in (*NODES.speeds_table(NODES.read_runs()), *NODES.growths_table(PAIRS)):
        assert line in page
