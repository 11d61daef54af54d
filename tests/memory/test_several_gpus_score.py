"""What several GPUs add to a step, by method, against the medians of measured runs."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("several_gpus", ROOT / "tests/bench/throughput/several_gpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCORE = _load()


@pytest.mark.parametrize("key", SCORE.MEASURED)
def test_the_median_ratio_to_one_gpu_is_within_the_bar_and_better_than_none(key: tuple[int, str]) -> None:
    num_gpus, method = key
    ratios = [
        SCORE.predicted_ratio(workload, gpu, num_gpus)
        for workload, gpu in SCORE.single_runs().values()
        if SCORE.method_of(workload) == method and not workload.kbit_prep
    ]
    measured = SCORE.MEASURED[key]
    error = statistics.median(ratios) / measured - 1

    assert abs(error) <= SCORE.MAX_MEDIAN_ERROR
    assert abs(error) < abs(1 / measured - 1)
