"""Each architecture trains what it says and loses nothing; all of them, by all methods, are in `make soak`.

With `test_isolation.py` these are some 40 s of a core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from architecture_runs import CHANGES, train
from short_plan import short_plan
from tiny_architectures import save_tiny

from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.names import COMPLETED

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
SAMPLE = [
    ("gpt_neox", "full"), ("mixtral", "full"), ("granitemoe", "lora"), ("gpt2", "lora"), ("gpt_oss", "nf4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "method"), SAMPLE)
def test_the_first_loss_is_that_of_its_batch_and_the_model_is_read_back_as_it_was(
    name: str, method: str, tokenizer: Any, chat_data: Path, tmp_path: Path
) -> None:
    save_tiny(name, tmp_path / "model", tokenizer)

    trained = train(method, tmp_path / "model", chat_data, tmp_path / "results")

    assert trained.logged_loss == pytest.approx(trained.loss_by_hand, abs=1e-3)
    assert not torch.allclose(trained.before, trained.after, atol=1e-3)
    assert torch.allclose(trained.after, trained.reloaded, atol=1e-4)


def test_the_first_token_of_a_text_counts_for_no_loss(tokenizer: Any, tmp_path: Path) -> None:
    """GPT-2's class has no name by which transformers knows that its loss is of the tokens behind the first."""
    save_tiny("gpt2", tmp_path / "model", tokenizer)
    (tmp_path / "rows.jsonl").write_text('{"text": "one two three"}\n' * 4)

    trained = train("lora", tmp_path / "model", tmp_path / "rows.jsonl", tmp_path / "results")

    assert trained.logged_loss == pytest.approx(trained.loss_by_hand, abs=1e-3)


@pytest.mark.parametrize("name", ["deepseek_v3", "qwen2_moe"])
def test_a_whole_model_goes_on_from_its_checkpoint(name: str, tokenizer: Any, chat_data: Path, tmp_path: Path) -> None:
    """Its weights have other names in the file; those of another name would be left as they were before training."""
    save_tiny(name, tmp_path / "model", tokenizer)
    training = {"save_strategy": "steps", "save_steps": 4}
    plan = short_plan(tmp_path / "model", chat_data, tmp_path / "results", **CHANGES["full"], training=training)
    output, file = tmp_path / "results", tmp_path / "results" / "model" / "model.safetensors"
    report = run_plan(plan, RunOptions("cpu", show_progress=False))
    expected = file.read_bytes()
    (output / COMPLETED).unlink()
    file.unlink()

    run_plan(plan, RunOptions("cpu", resume=True, show_progress=False))

    assert file.read_bytes() == expected
    assert (report.first_token_loss is None) == (name == "deepseek_v3")  # whose router has no loss
