"""Executing plans: every way of storing and training weights, and the defects of Kaito's image that ours lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import DataFailure, ModelFailure, OutputRefused, PlanFailure, RunFailure
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer, run_plan
from kaitoc.runtime.observe.report import RunReport
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
CPU = RunOptions("cpu", show_progress=False)


def run(plan: Plan) -> RunReport:
    return run_plan(plan, CPU)


def losses(plan: Plan) -> list[float]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("method", ["none", "nf4", "fp4", "int8"])
def test_weights_of_every_kind_are_tuned_and_the_adapter_is_saved_as_peft_saves_it(
    make_plan: MakePlan, method: str
) -> None:
    plan = make_plan(quantization={"method": method, "compute_dtype": "float32"})
    report = run(plan)

    assert losses(plan)[-1] < losses(plan)[0]
    adapter = Path(report.adapter_folder)
    assert (adapter / "adapter_model.safetensors").exists()
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
    assert (Path(plan.output.path) / COMPLETED).exists()


def test_every_weight_is_tuned_without_an_adapter(make_plan: MakePlan) -> None:
    plan = make_plan(lora=None)
    report = run(plan)

    assert report.num_trainable_parameters > 100_000
    assert (Path(report.adapter_folder) / "model.safetensors").exists()


def test_a_batch_above_one_of_rows_of_several_lengths_is_trained(make_plan: MakePlan) -> None:
    report = run(make_plan(training={"per_device_train_batch_size": 4}))

    assert report.num_steps == 4


def test_batches_of_prompts_and_completions_are_trained_and_evaluated(make_plan: MakePlan, tmp_path: Path) -> None:
    rows = [{"prompt": "2 + 2 = " * (1 + n % 3), "completion": "4 " * (1 + n % 2)} for n in range(12)]
    data = write(tmp_path / "a.jsonl", *rows)
    plan = make_plan(
        data={"paths": [str(data)], "train_fraction": 0.75},
        training={"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8},
    )
    run(plan)

    assert "eval_loss" in (Path(plan.output.path) / "metrics.jsonl").read_text()


def test_the_end_of_a_sequence_is_learned_when_it_is_also_the_padding(make_plan: MakePlan, tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", {"text": "one"}, {"text": "one two three four"})
    plan = make_plan(data={"paths": [str(data)]})
    with quiet_libraries():
        ready = make_ready(plan, CPU)
        batch = next(iter(build_trainer(plan, ready).get_train_dataloader()))

    assert ready.tokenizer.pad_token == ready.tokenizer.eos_token
    ends = (batch["labels"] == ready.tokenizer.eos_token_id).sum(dim=1)
    assert ends.tolist() == [1, 1]


def test_every_file_of_a_folder_is_trained_on(make_plan: MakePlan, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    for number in range(3):
        write(folder / f"{number}.jsonl", {"text": f"text {number}"})

    assert run(make_plan(data={"paths": [str(folder)]})).num_examples == 3


def test_all_rows_are_trained_on_when_nothing_is_held_out(make_plan: MakePlan) -> None:
    assert run(make_plan()).num_examples == 24


def test_a_quantized_model_is_trained_without_checkpointing_when_the_plan_says_so(make_plan: MakePlan) -> None:
    with quiet_libraries():
        ready = make_ready(make_plan(quantization={"method": "nf4"}), CPU)

        assert not ready.model.is_gradient_checkpointing


def test_packing_trains_on_full_sequences(make_plan: MakePlan) -> None:
    report = run(make_plan(data={"packing": True, "max_length": 128}, training={"per_device_train_batch_size": 1}))

    assert report.num_steps == 4


def test_further_training_arguments_are_passed_on(make_plan: MakePlan) -> None:
    plan = make_plan(training={"extra_training_arguments": {"adam_beta2": 0.9, "lr_scheduler_kwargs": "{}"}})
    with quiet_libraries():
        trainer = build_trainer(plan, make_ready(plan, CPU))

    assert trainer.args.adam_beta2 == 0.9
    assert trainer.create_optimizer().param_groups[0]["betas"] == (0.9, 0.9)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"adam_beta3": 1}, "there is no training argument `adam_beta3`; did you mean `adam_beta"),
        ({"push_to_hub": True}, "`push_to_hub` cannot be set in a plan"),
        ({"lr_scheduler_kwargs": "{"}, "not JSON"),
    ],
)
def test_arguments_that_cannot_be_passed_on_are_named(make_plan: MakePlan, extra: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanFailure) as caught:
        run(make_plan(training={"extra_training_arguments": extra}))

    assert words in str(caught.value)


def test_a_loss_that_is_no_number_stops_the_run_without_a_result(make_plan: MakePlan) -> None:
    plan = make_plan(training={"learning_rate": 1e30, "max_grad_norm": 0, "max_steps": 20})

    with pytest.raises(RunFailure, match="the loss is"):
        run(plan)
    assert not (Path(plan.output.path) / COMPLETED).exists()
    assert not (Path(plan.output.path) / "adapter").exists()


def test_an_adapter_that_fits_no_module_is_refused(make_plan: MakePlan) -> None:
    with pytest.raises(ModelFailure, match="the adapter is incompatible with the model"):
        run(make_plan(lora={"target_modules": ["q_proj"]}))


def test_a_missing_model_says_how_to_name_it(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(ModelFailure, match="--model-path"):
        run(make_plan(model={"path": str(tmp_path / "none")}))


def test_a_run_that_is_refused_makes_no_folder(make_plan: MakePlan, tmp_path: Path) -> None:
    output = tmp_path / "results" / "first"
    with pytest.raises(ModelFailure, match="--model-path"):
        run(make_plan(model={"path": str(tmp_path / "none")}, output={"path": str(output)}))

    assert not output.parent.exists()


@pytest.mark.parametrize("name", ["file", "file/results", "dangling"])
def test_an_output_that_no_folder_can_be_made_of_is_refused(make_plan: MakePlan, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")

    with pytest.raises(OutputRefused, match=f"{name}: the output folder cannot be written"):
        run(make_plan(output={"path": str(tmp_path / name)}))


def test_too_few_rows_for_a_split_are_named(make_plan: MakePlan, tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", {"text": "one"})

    with pytest.raises(DataFailure, match="keeps none of 1 examples back"):
        run(make_plan(data={"paths": [str(data)], "train_fraction": 0.9}, training={"eval_strategy": "epoch"}))


def test_a_model_with_too_few_embeddings_for_the_tokenizer_is_refused(
    make_plan: MakePlan, tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    from transformers import AutoTokenizer

    folder = tmp_path / "wider"
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra{number}>" for number in range(8)])
    tokenizer.save_pretrained(folder)

    with pytest.raises(ModelFailure, match="the tokenizer has"):
        run(make_plan(model={"path": str(folder)}))


def test_a_reloaded_adapter_reproduces_the_trained_model(make_plan: MakePlan, tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logits(adapter: str | None) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        with quiet_libraries(), torch.no_grad():
            tuned = PeftModel.from_pretrained(model, adapter) if adapter is not None else model
            found: torch.Tensor = tuned(torch.arange(5, 30).unsqueeze(0)).logits
        return found

    adapter = run(make_plan()).adapter_folder

    assert torch.equal(logits(adapter), logits(adapter))
    assert not torch.allclose(logits(adapter), logits(None), atol=1e-3)
