"""The memory that a run takes on a CPU, measured tensor by tensor, and what was predicted for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import covering

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.training.live_memory import LiveMemory

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {"quantization": {"method": "nf4", "compute_dtype": "float32"}},
    "full": {"lora": None},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A Phi-3 of 4 layers with fewer key heads than heads."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("measured") / "model"
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "checkpointing", "attention", "loss_type"),
    covering(list(METHODS), [False, True], ["sdpa", "eager"], ["nll", "dft"], repeats=2),
)
def test_the_predicted_peak_is_within_5_percent_of_the_measured_one(
    make_plan: MakePlan, model: Path, tmp_path: Path, method: str, checkpointing: bool, attention: str, loss_type: str
) -> None:
    data = tmp_path / "long.txt"
    data.write_text("\n\n".join(f"text {number} of many words " * 100 for number in range(8)))
    plan = make_plan(
        model={"path": str(model), "attention": attention},
        data={"paths": [str(data)], "max_length": 256},
        training={"max_steps": 3, "gradient_checkpointing": checkpointing, "loss_type": loss_type},
        **METHODS[method],
    )

    report = run_plan(plan, RunOptions("cpu", show_progress=False))

    assert report.predicted_allocated_bytes == pytest.approx(report.measured_allocated_bytes, rel=0.05)


@pytest.mark.no_cover
@pytest.mark.parametrize("num_accumulated", [1, 2])
def test_a_longest_batch_before_there_are_gradients_and_states_is_not_the_one_that_is_compared(
    make_plan: MakePlan, model: Path, tmp_path: Path, num_accumulated: int
) -> None:
    data = tmp_path / "longest-first.txt"
    data.write_text("\n\n".join("many words " * number for number in (80, 20, 70, 30, 40, 20)))
    plan = make_plan(
        model={"path": str(model)},
        lora=None,
        data={"paths": [str(data)], "max_length": 256, "shuffle": False},
        training={
            "max_steps": 3, "per_device_train_batch_size": 1, "gradient_accumulation_steps": num_accumulated,
            "train_sampling_strategy": "sequential",
        },
    )  # fmt: skip

    report = run_plan(plan, RunOptions("cpu", show_progress=False))

    assert report.predicted_allocated_bytes == pytest.approx(report.measured_allocated_bytes, rel=0.03)


def test_memory_that_is_freed_no_longer_counts_but_the_peak_stays() -> None:
    import torch

    held = torch.zeros(1000)
    with LiveMemory([held]) as memory:
        more = torch.ones(5000)
        assert memory.live_bytes == 24_000
        del more
        assert memory.live_bytes == 4_000

    assert memory.peak_bytes == 24_000


def test_a_run_that_fails_in_its_first_steps_leaves_no_counting_behind(make_plan: MakePlan) -> None:
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    with pytest.raises(RunFailure, match="the loss is"):
        run_plan(
            make_plan(training={"learning_rate": 1e30, "max_grad_norm": 0}), RunOptions("cpu", show_progress=False)
        )

    assert _get_current_dispatch_mode() is None


def test_views_of_one_storage_count_once() -> None:
    import torch

    with LiveMemory() as memory:
        whole = torch.zeros(1000)
        parts = [whole[:500], whole.view(10, 100)]

        assert memory.live_bytes == 4_000
    assert len(parts) == 2
