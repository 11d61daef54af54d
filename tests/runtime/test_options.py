"""What a manifest states of training has an effect, or is refused by name before weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch")

import kaitoc
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.arguments import training_arguments
from kaitoc.runtime.training.options import require_options

pytestmark = [pytest.mark.runtime, pytest.mark.usefixtures("_quiet")]
MakePlan = Callable[..., Plan]
MIN_LR = '{"min_lr": 1e-6}'


@pytest.fixture
def _quiet() -> Iterator[None]:
    with quiet_libraries():
        yield


def stating(**options: Any) -> dict[str, Any]:
    return {"extra_training_arguments": options}


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"optim": "galore_adamw"}, r"`optim: galore_adamw` is not supported"),
        ({"optim": "apollo_adamw_layerwise"}, r"`optim: apollo_adamw_layerwise` is not supported"),
        ({"optim": "adalomo"}, r"`optim: adalomo` is not supported"),
        ({"optim": "adamw_torch_8bit"}, r"`optim: adamw_torch_8bit`: .*torchao"),
        ({"optim": "schedule_free_adamw"}, r"`optim: schedule_free_adamw`: .*schedulefree"),
        ({"optim": "adamw_tosh"}, "adamw_tosh"),
        (stating(torch_compile=True), "`torch_compile` is not supported"),
        (stating(torch_compile_backend="inductor"), "`torch_compile_backend` is not supported"),
        (stating(auto_find_batch_size=True), "`auto_find_batch_size` is not supported"),
        (stating(bf16_full_eval=True), "`bf16_full_eval` is not supported"),
        (stating(optim_args="weight=1"), "`optim_args` has no effect on `optim: adamw_torch`"),
        (stating(optim_target_modules="all-linear"), "`optim_target_modules` has no effect"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "`lr_scheduler_type: cosine_with_min_lr`.*min_lr"),
        (stating(lr_scheduler_kwargs='{"foo": 1}'), "`lr_scheduler_kwargs`.*foo"),
        (stating(lr_scheduler_kwargs="5"), "`lr_scheduler_kwargs` must be a mapping, or its JSON text .*, not 5"),
        (stating(lr_scheduler_kwargs="{foo"), "`lr_scheduler_kwargs` is not JSON"),
        (
            {"gradient_checkpointing": True, **stating(gradient_checkpointing_kwargs="[1]")},
            "`gradient_checkpointing_kwargs` must be a mapping",
        ),
        (stating(dataset_num_proc=-1), "`dataset_num_proc: -1` must be 0 or above"),
        (stating(accelerator_config='{"foo": 1}'), "foo"),
        (stating(save_only_model=True), "`save_only_model` is not supported"),
        (stating(parallelism_config='{"tp_size": 2}'), "`parallelism_config` is not supported"),
        (stating(activation_offloading=True), "`activation_offloading` needs a GPU"),
        (stating(liger_kernel_config='{"rope": true}'), "`liger_kernel_config` has no effect without"),
        (stating(dataset_text_field="body"), "`dataset_text_field` cannot be a training argument of a plan"),
        (stating(dataloader_persistent_workers=True), "`dataloader_persistent_workers`: .*num_workers > 0"),
        (stating(dataloader_multiprocessing_context="spawn"), "`dataloader_multiprocessing_context`: "),
        (stating(log_level="loud"), "there is no `log_level` 'loud'"),
        (stating(adam_beta1=2.0), "`optim: adamw_torch`: Invalid beta parameter"),
        (
            {"eval_strategy": "epoch", **stating(metric_for_best_model="eval_bleu")},
            "`metric_for_best_model: eval_bleu`: an evaluation measures loss, ",
        ),
        (
            stating(gradient_checkpointing_kwargs='{"use_reentrant": true}'),
            "no effect without `gradient_checkpointing`",
        ),
        (
            {"gradient_checkpointing": True, **stating(gradient_checkpointing_kwargs={"reentrant": True})},
            "has no `reentrant`; it takes .*use_reentrant",
        ),
    ],
)
def test_an_option_without_effect_or_with_another_is_refused_by_name(
    make_plan: MakePlan, training: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanFailure, match=words):
        require_options(make_plan(training=training), "cpu")


def test_it_is_refused_before_anything_is_loaded_or_written(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(model={"path": str(tmp_path / "none")}, training={"optim": "lomo"})

    with pytest.raises(PlanFailure, match="lomo"):
        run_plan(plan, RunOptions("cpu", show_progress=False))
    assert not Path(plan.output.path).exists()


@pytest.fixture
def plan_of(tmp_path: Path, tiny_model: Path, chat_data: Path) -> Callable[..., Plan]:
    """A function that makes the plan of a manifest whose TrainingArguments are given."""

    def make(**stated: Any) -> Plan:
        training = {"bf16": False, "max_steps": 10, "optim": "adamw_torch", "save_strategy": "no", **stated}
        sections = {"training_config": {"LoraConfig": {"r": 4}, "TrainingArguments": training}}
        manifest = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "params"},
            "data": {"training_config.yaml": yaml.safe_dump(sections)},
        }  # fmt: skip
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(manifest), encoding="utf-8")
        return kaitoc.plan(path, model_path=str(tiny_model), data=str(chat_data), output=str(tmp_path / "results"))

    return make


def test_json_text_of_a_manifest_reaches_the_libraries(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs='{"use_reentrant": true}',
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs=MIN_LR,
        accelerator_config='{"even_batches": true, "gradient_accumulation_kwargs": {"sync_each_batch": true}}',
        padding_free=True,
    )
    require_options(plan, "cpu")
    arguments: Any = training_arguments(plan, "cpu")

    assert arguments.gradient_checkpointing_kwargs == {"use_reentrant": True}
    assert arguments.lr_scheduler_kwargs == json.loads(MIN_LR)
    assert arguments.accelerator_config.gradient_accumulation_kwargs == {"sync_each_batch": True}
    assert arguments.padding_free


def test_rows_without_padding_are_trained_though_their_length_is_limited(make_plan: MakePlan) -> None:
    """TRL refuses both together, since it would not cut such rows; the runtime has cut them."""
    options = RunOptions("cpu", overwrite=True, show_progress=False)
    free, padded = (run_plan(make_plan(training=stating(**stated)), options) for stated in ({"padding_free": True}, {}))

    assert free.first_loss == pytest.approx(padded.first_loss, abs=1e-3)


def test_a_backend_for_several_processes_is_no_matter_of_one(make_plan: MakePlan) -> None:
    assert training_arguments(make_plan(training=stating(ddp_backend="nccl")), "cpu").ddp_backend is None


@pytest.mark.parametrize(
    ("stated", "num_steps"), [({"warmup_ratio": 0.5}, 5), ({"warmup_ratio": 0.5, "warmup_steps": 3}, 5)]
)
def test_a_warmup_ratio_is_a_share_of_the_steps_and_overrides_them_as_in_kaito_v0_12(
    plan_of: Callable[..., Plan], stated: dict[str, Any], num_steps: int
) -> None:
    assert training_arguments(plan_of(**stated), "cpu").get_warmup_steps(10) == num_steps


@pytest.mark.parametrize("lora", [{"r": 4}, None], ids=["lora", "full"])
def test_checkpointing_with_reentry_trains_the_same_as_without(
    make_plan: MakePlan, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    def last_loss(name: str, **settings: Any) -> float | None:
        training = {"gradient_checkpointing": True, **stating(**settings)}
        plan = make_plan(training=training, lora=lora, output={"path": str(tmp_path / name)})
        return run_plan(plan, RunOptions("cpu", show_progress=False)).last_loss

    with_reentry = last_loss("with", gradient_checkpointing_kwargs='{"use_reentrant": true}')

    assert with_reentry == pytest.approx(last_loss("without"), abs=1e-4)
