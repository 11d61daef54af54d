"""What a plan may choose beside the arithmetic: stopping early, the best model, determinism, grouping, packing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import Ready, RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer, run_plan
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.output.checkpoints import checkpoints
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
CPU = RunOptions("cpu", show_progress=False)
HELD_OUT = {"train_fraction": 0.5}
EVALUATING = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}


def run(plan: Plan, *, resume: bool = False) -> RunReport:
    return run_plan(plan, RunOptions("cpu", resume, show_progress=False))


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def is_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def logged(plan: Plan, name: str) -> dict[int, float]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry[name] for entry in map(json.loads, lines) if name in entry}


def batches(plan: Plan) -> tuple[Ready, Any, list[dict[str, torch.Tensor]]]:
    """What is ready, the trainer, and the batches of the first epoch."""
    with quiet_libraries():
        ready = make_ready(plan, CPU)
        trainer = build_trainer(plan, ready)
        return ready, trainer, list(trainer.get_train_dataloader())


def test_a_run_that_gets_no_better_stops_early_and_is_not_taken_up_again(make_plan: MakePlan) -> None:
    training = {**EVALUATING, "learning_rate": 0.0, "max_steps": 20, "early_stopping_patience": 2}
    plan = make_plan(data=HELD_OUT, training=training)

    assert run(plan).num_steps == 3
    (Path(plan.output.path) / COMPLETED).unlink()
    assert run(plan, resume=True).num_steps == 3


@pytest.mark.parametrize(
    ("asked", "best_of"),
    [({}, min), ({"metric_for_best_model": "eval_loss", "greater_is_better": True}, max)],
    ids=["by default that of the lowest loss", "else by the metric that is asked for"],
)
def test_the_best_model_is_the_one_that_is_saved(
    asked: dict[str, object], best_of: Callable[..., int], make_plan: MakePlan
) -> None:
    """The loss falls from step to step, so the lowest is that of the last and the highest that of the first."""
    training = {**EVALUATING, "max_steps": 4, "load_best_model_at_end": True, "extra_training_arguments": asked}
    plan = make_plan(data=HELD_OUT, training=training)
    saved = adapter(Path(run(plan).adapter_folder))
    found = logged(plan, "eval_loss")
    best = best_of(found, key=lambda step: found[step])
    by_step = {int(path.name.rpartition("-")[2]): path for path in checkpoints(Path(plan.output.path) / "checkpoints")}

    assert best == (4 if best_of is min else 1)
    assert is_same(saved, adapter(by_step[best]))
    assert not is_same(saved, adapter(by_step[5 - best]))


@pytest.fixture
def _undetermined() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_undetermined")
def test_a_deterministic_run_asks_for_deterministic_kernels_and_repeats_to_the_bit(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    first, second = (
        make_plan(
            lora={"lora_dropout": 0.2}, training={"full_determinism": True}, output={"path": str(tmp_path / name)}
        )
        for name in ("first", "second")
    )
    one, other = run(first), run(second)

    assert torch.are_deterministic_algorithms_enabled()
    assert is_same(adapter(Path(one.adapter_folder)), adapter(Path(other.adapter_folder)))


def test_rows_of_one_length_are_grouped_so_that_less_is_padded(make_plan: MakePlan, tmp_path: Path) -> None:
    path = tmp_path / "two_lengths.jsonl"
    path.write_text("".join(json.dumps({"text": "one two " * (1 + 4 * (row % 2))}) + "\n" for row in range(64)))

    def num_padded(strategy: str) -> int:
        plan = make_plan(data={"paths": [str(path)]}, training={"train_sampling_strategy": strategy})
        _, _, found = batches(plan)
        return sum(int((batch["attention_mask"] == 0).sum()) for batch in found)

    assert num_padded("group_by_length") < num_padded("random") / 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_are_learned_as_if_each_stood_alone(make_plan: MakePlan, attention: str) -> None:
    """Fewer sequences hold the same tokens, and the sum of their losses is that of the rows one by one."""

    def summed(batch_size: int, **data: Any) -> tuple[float, int, int]:
        training = {"per_device_train_batch_size": batch_size}
        _, trainer, found = batches(make_plan(model={"attention": attention}, data=data, training=training))
        loss, num_tokens, num_sequences = 0.0, 0, 0
        for batch in found:
            labels = batch["labels"][:, 1:]
            with torch.no_grad():
                inputs = {name: batch.get(name) for name in ("input_ids", "attention_mask", "position_ids")}
                scores = trainer.model(**inputs).logits[:, :-1]
            loss += float(torch.nn.functional.cross_entropy(scores.transpose(1, 2), labels, reduction="sum"))
            num_tokens += int((labels >= 0).sum())
            num_sequences += len(labels)
        return loss, num_tokens, num_sequences

    alone, packed = summed(24, max_length=64), summed(1, max_length=256, packing=True)

    assert packed[0] == pytest.approx(alone[0], rel=1e-5)
    assert packed[1] == alone[1]
    assert packed[2] <= alone[2] / 4


def test_evaluation_tells_the_perplexity_of_held_out_rows(make_plan: MakePlan) -> None:
    plan = make_plan(
        data=HELD_OUT,
        training={"eval_strategy": "steps", "eval_steps": 4, "learning_rate": 0.0, "per_device_eval_batch_size": 32},
    )
    ready, trainer, _ = batches(plan)
    with quiet_libraries(), torch.no_grad():
        (batch,) = trainer.get_eval_dataloader(ready.eval_set)
        scores = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    loss = float(torch.nn.functional.cross_entropy(scores.transpose(1, 2), batch["labels"][:, 1:]))
    run(plan)

    assert logged(plan, "eval_perplexity")[4] == pytest.approx(math.exp(loss), rel=1e-3)


def test_a_run_that_was_killed_behind_its_last_step_is_finished_without_another(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    """The last checkpoint was written, the result was not."""
    plan = make_plan(lora={"lora_dropout": 0.2}, training={"save_strategy": "steps", "save_steps": 2})
    whole = run(plan)
    expected = adapter(Path(whole.adapter_folder))
    output = Path(plan.output.path)
    (output / COMPLETED).unlink()
    (output / "adapter" / "adapter_model.safetensors").unlink()

    found = run(plan, resume=True)

    assert found.num_steps == 4
    assert (found.first_loss, found.last_loss) == (whole.first_loss, whole.last_loss)
    assert is_same(adapter(output / "adapter"), expected)
    assert (output / COMPLETED).exists()


def test_an_adapter_that_trains_biases_is_saved_and_read_back(make_plan: MakePlan) -> None:
    assert (Path(run(make_plan(lora={"bias": "all"})).adapter_folder) / "adapter_model.safetensors").exists()
