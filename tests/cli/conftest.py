"""What tests of several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from checking import SEED


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "cm.yaml"
    path.write_text(SEED)
    return path
