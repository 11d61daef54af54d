"""A seeded sample of the fuzz run; `make soak` runs 20,000."""

from __future__ import annotations

import math

import pytest
from fuzz_check import fuzz

pytestmark = pytest.mark.no_cover


@pytest.mark.slow
def test_damaged_manifests_break_no_promise() -> None:
    assert fuzz(range(600), max_seconds=math.inf) == []


@pytest.mark.parametrize("seed", [19873])
def test_manifests_that_once_broke_a_promise_break_none(seed: int) -> None:
    assert fuzz(range(seed, seed + 1), max_seconds=math.inf) == []
