"""No command contradicts another about one manifest; `tests/soak/soak_agreement.py` draws more of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_agreement import disagreements, drawn_serving, drawn_tuning

DRAWN = [(kind, seed) for kind in (drawn_tuning, drawn_serving) for seed in range(3)]
NOT_ONLY_TOO_LARGE = [(drawn_tuning, 3028), (drawn_serving, 3124)]
"""Manifests that do not fit and have errors that only their author can resolve."""
ON_A_GPU_WITHOUT_BFLOAT16 = [(drawn_serving, 9078)]
"""A server that would fit on a smaller instance type than the one that it can run on."""


@pytest.mark.no_cover
@pytest.mark.parametrize(("kind", "seed"), [*DRAWN, *NOT_ONLY_TOO_LARGE, *ON_A_GPU_WITHOUT_BFLOAT16])
def test_all_commands_say_the_same_of_a_drawn_manifest(
    kind: Callable[[int], tuple[str, str]], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, release = kind(seed)

    assert list(disagreements(text, release, tmp_path)) == []
