"""`init`, `check --strict`, `compile` and `check --strict` again agree: nothing is said of what init wrote."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from loop_cases import LoopCase, drawn_cases, loop_cases, what_is_said

SAMPLE = [*random.Random(22).sample(loop_cases(), 6), *drawn_cases(6, seed=22)]


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_nothing_is_said_of_what_init_writes(case: LoopCase, tmp_path: Path) -> None:
    assert list(what_is_said(case, tmp_path)) == []
