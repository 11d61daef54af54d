"""No command contradicts another about a server; `tests/soak/soak_serving_agreement.py` draws more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving_agreement import disagreements

pytestmark = pytest.mark.slow
NUM_DRAWN = 8


@pytest.mark.parametrize("seed", range(NUM_DRAWN))
def test_check_estimate_and_compile_agree(seed: int, tmp_path: Path) -> None:
    assert disagreements(seed, tmp_path) == []
