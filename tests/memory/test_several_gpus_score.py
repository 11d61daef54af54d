"""What several GPUs add to a step, by method, against the medians of measured runs."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from bench_scripts import load_bench

ROOT = Path(__file__).resolve().parents[2]


SCORE = load_bench("throughput/several_gpus.py")


@pytest.mark.parametrize("key", SCORE.MEASURED)
def test_the_median_ratio_to_one_gpu_is_within_the_bar_and_better_than_none(key: tuple[int, str]) -> None:
    num_gpus, method = key
    ratios = [
        SCORE.predicted_ratio(workload, gpu, num_gpus).likely
        for workload, gpu in SCORE.single_runs().values()
        if SCORE.method_of(workload) == method and not workload.kbit_prep
    ]
    measured = SCORE.MEASURED[key]
    error = statistics.median(ratios) / measured - 1

    assert abs(error) <= SCORE.MAX_MEDIAN_ERROR
    assert abs(error) < abs(1 / measured - 1)
