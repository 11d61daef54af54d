"""What tests of several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from checking import CONFIG_MAP, SEED


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "cm.yaml"
    path.write_text(SEED)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a ConfigMap in `cm.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cm.yaml").write_text(CONFIG_MAP, encoding="utf-8")
    return tmp_path
