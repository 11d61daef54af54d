"""No command contradicts another about one manifest; `tests/soak/soak_agreement.py` draws more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_agreement import disagreements, drawn_serving, drawn_tuning


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", [drawn_tuning, drawn_serving])
@pytest.mark.parametrize("seed", range(3))
def test_all_commands_say_the_same_of_a_drawn_manifest(
    kind: object, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(kind)
    text, release = kind(seed)

    assert list(disagreements(text, release, tmp_path)) == []
