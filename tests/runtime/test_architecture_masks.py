"""What a model learns of conversations is what TRL has it learn, and its loss is the one by hand.

All architectures are held to it by tests/soak/soak_architectures.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from architecture_masks import masked

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize("name", ["gemma3", "gpt_oss", "mamba"])
def test_the_first_batch_of_conversations_is_trl_s(name: str, tmp_path: Path) -> None:
    first = masked(name, tmp_path)

    for key in ("input_ids", "labels"):
        assert torch.equal(first.ours[key], first.theirs[key])
    assert (first.ours["labels"] == -100).any()
    assert first.loss == pytest.approx(first.loss_by_hand, abs=1e-3)
