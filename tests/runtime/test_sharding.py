"""Sharded runs (FSDP2): what the libraries are told, and two processes with gloo beside one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from child_runs import run_ranks, start_ranks
from test_two_processes import in_two, losses

from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.plan.memory import shared_footprint, syncs_each_batch
from kaitoc.compiler.plan.plan import FootprintPlan, Plan, PlanError, read_plan
from kaitoc.runtime.data.load import load_data
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions, build_model
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.load import load_tokenizer
from kaitoc.runtime.model.quantization import quantization_config
from kaitoc.runtime.model.sharding import fsdp_arguments, needed_bytes, with_sharding
from kaitoc.runtime.observe.samples import answer_samples
from kaitoc.runtime.output.adapter import result_folder
from kaitoc.runtime.output.earlier_run import is_finished
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.arguments import training_arguments

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
TRAINING = {"max_steps": 5, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}
FOOTPRINT = FootprintPlan(
    weights=800, adapters=10, gradients=10, optimizer=20, activations=50, logits=40, workspace=10,
    allocated_bytes=940, reserved_bytes=1000, device_bytes=1100, num_trainable_parameters=5,
)  # fmt: skip


def sharded(plan: Plan) -> Plan:
    return in_two(plan).model_copy(update={"sharding": "fsdp2", "predicted": FOOTPRINT})


def answering(plan: Plan, num_samples: int = 2) -> Plan:
    return plan.model_copy(update={"output": plan.output.model_copy(update={"samples": num_samples})})


NUM_CHARACTERS = 100
"""How much of an answer is compared: further on, logits that differ by rounding alone decide between words."""


def told_answers(plan: Plan) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = json.loads((Path(plan.output.path) / "report.json").read_text())["samples"]
    return [beginning(sample) for sample in samples]


def beginning(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: text and text[:NUM_CHARACTERS] for name, text in sample.items()}


def whole_answers(plan: Plan) -> list[dict[str, Any]]:
    """Return what the saved result answers in one process that has all of it."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    alone = plan.model_copy(update={"num_processes": 1, "sharding": "auto"})
    (file,) = result_folder(plan).glob("*model.safetensors")
    with quiet_libraries():
        tokenizer = load_tokenizer(alone)
        model = build_model(alone, "cpu", tokenizer)
        if plan.lora is None:
            model.load_state_dict(load_file(file), strict=False)
        else:
            set_peft_model_state_dict(model, load_file(file))
        rows = load_data(alone, Path(plan.output.path) / "downloads", tokenizer, reuse=False).training
        return [beginning(asdict(one)) for one in answer_samples(model, tokenizer, rows, plan.output.samples)]


def test_a_process_needs_what_the_estimate_says_of_its_shard(make_plan: MakePlan) -> None:
    plan = sharded(make_plan())
    shared = shared_footprint(plan, None)

    assert shared is not None
    assert shared.sharding.kind is ShardingKind.FSDP2
    assert needed_bytes(with_sharding(plan, "cpu")) == shared.reserved_bytes


def test_a_plan_of_an_earlier_release_still_says_fsdp_and_means_fsdp2(make_plan: MakePlan) -> None:
    text = in_two(make_plan()).to_json().replace('"sharding": "auto"', '"sharding": "fsdp"')

    assert read_plan(text).sharding == "fsdp2"


@pytest.mark.parametrize("kind", ["fsdp1", "zero3"])
def test_what_other_launchers_do_is_refused_by_name(make_plan: MakePlan, kind: str) -> None:
    with pytest.raises(PlanFailure, match=f"not with {kind}"):
        with_sharding(in_two(make_plan()).model_copy(update={"sharding": kind}), "cpu")


def test_gradients_of_all_weights_are_reduced_after_every_batch_and_adapters_at_the_end(make_plan: MakePlan) -> None:
    training = {"gradient_accumulation_steps": 4}
    adapters, weights = make_plan(training=training), make_plan(training=training, lora=None)

    assert "accelerator_config" not in fsdp_arguments(sharded(adapters))
    assert fsdp_arguments(sharded(weights))["accelerator_config"] == {
        "gradient_accumulation_kwargs": {"sync_each_batch": True}
    }
    assert not any(syncs_each_batch(plan) for plan in (adapters, make_plan(lora=None)))


def test_a_cpu_shards_only_when_told(make_plan: MakePlan) -> None:
    assert with_sharding(in_two(make_plan()), "cpu").sharding == "ddp"
    assert with_sharding(sharded(make_plan()), "cpu").sharding == "fsdp2"


def test_sharding_over_one_process_is_refused(make_plan: MakePlan) -> None:
    with pytest.raises(PlanFailure, match="several processes"):
        with_sharding(make_plan().model_copy(update={"sharding": "fsdp2"}), "cpu")


def test_nodes_that_processes_cannot_be_spread_over_are_refused_with_the_nearest(make_plan: MakePlan) -> None:
    for sharding in ("auto", "ddp", "fsdp2"):
        plan = sharded(make_plan()).model_copy(update={"sharding": sharding, "num_processes": 8, "num_nodes": 3})
        with pytest.raises(PlanFailure, match="8 GPUs cannot be spread evenly over 3 nodes; 2 nodes would work"):
            with_sharding(plan, "cpu")


def test_more_processes_than_any_job_has_are_no_plan(make_plan: MakePlan) -> None:
    text = in_two(make_plan()).to_json().replace('"num_processes": 2', '"num_processes": 1000000000')

    with pytest.raises(PlanError, match="`num_processes`: expected a number of at most 100000"):
        read_plan(text)


def test_a_model_in_8_bit_is_not_sharded(make_plan: MakePlan) -> None:
    with pytest.raises(PlanFailure, match="8-bit model cannot be sharded"):
        with_sharding(sharded(make_plan(quantization={"method": "int8"})), "cpu")


def test_the_libraries_are_told_to_shard_by_fsdp2(make_plan: MakePlan) -> None:
    with quiet_libraries():
        found: Any = training_arguments(sharded(make_plan()), "cpu")

    assert found.fsdp_plugin_args["fsdp_version"] == 2
    assert found.fsdp_plugin_args["reshard_after_forward"] is True


def test_packed_weights_are_stored_in_the_type_that_fsdp_shards(make_plan: MakePlan) -> None:
    plan = make_plan(quantization={"method": "nf4", "compute_dtype": "bfloat16"})
    alone, shared = quantization_config(plan), quantization_config(sharded(plan))

    assert alone is not None
    assert shared is not None
    assert alone.bnb_4bit_quant_storage == torch.uint8
    assert shared.bnb_4bit_quant_storage == shared.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("method", ["none", "nf4"])
def test_two_shares_train_what_a_whole_model_does_and_go_on_from_a_checkpoint(
    make_plan: MakePlan, tmp_path: Path, method: str
) -> None:
    """The adapter is saved whole: it equals that of one process with twice the accumulation."""
    from safetensors.torch import load_file

    quantization = {"method": method, "compute_dtype": "float32", "kbit_prep": False}
    training = {**TRAINING, "per_device_train_batch_size": 2, "save_steps": 3}
    two, one = (
        make_plan(
            training={**training, "gradient_accumulation_steps": accumulation},
            quantization=quantization,
            output={"path": str(tmp_path / name)},
        )
        for name, accumulation in (("two", 1), ("one", 2))
    )
    two = answering(in_two(two).model_copy(update={"sharding": "fsdp2"}), num_samples=1)
    run_plan(one, RunOptions("cpu", show_progress=False))
    ends = run_ranks(two, tmp_path / "first")

    assert [end.returncode for end in ends] == [0, 0], ends
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert told_answers(two) == whole_answers(two)
    whole, gathered = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert whole.keys() == gathered.keys()
    assert all(torch.allclose(whole[name].float(), gathered[name].float(), atol=1e-3) for name in whole)

    checkpoints = tmp_path / "two" / "checkpoints"
    assert (checkpoints / "checkpoint-3" / "pytorch_model_fsdp_0").is_dir(), "the model was not sharded"
    shutil.rmtree(checkpoints / "checkpoint-5")
    (tmp_path / "two" / COMPLETED).unlink()
    resumed = run_ranks(two, tmp_path / "second", "--resume")
    assert [end.returncode for end in resumed] == [0, 0], resumed
    assert "step 4/5" in resumed[0].stderr
    assert "step 3/5" not in resumed[0].stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert json.loads((tmp_path / "two" / "report.json").read_text())["measured_allocated_bytes"] is None


@pytest.mark.slow
def test_two_shares_train_every_weight_of_a_model_as_one_process_does(make_plan: MakePlan, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    training = {**TRAINING, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
    two, one = (
        make_plan(
            lora=None,
            training={**training, "gradient_accumulation_steps": accumulation},
            output={"path": str(tmp_path / name)},
        )
        for name, accumulation in (("two", 1), ("one", 2))
    )
    two = answering(in_two(two).model_copy(update={"sharding": "fsdp2"}))
    run_plan(one, RunOptions("cpu", show_progress=False))
    ends = run_ranks(two, tmp_path / "first")

    assert [end.returncode for end in ends] == [0, 0], ends
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert told_answers(two) == whole_answers(two)
    whole, gathered = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert whole.keys() == gathered.keys()
    assert all(torch.allclose(whole[name], gathered[name], atol=1e-3) for name in whole)


@pytest.mark.slow
def test_a_process_that_dies_while_it_answers_costs_the_answers_alone(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = answering(sharded(make_plan(training={"max_steps": 1})))
    generate = "transformers.generation.utils.GenerationMixin.generate"
    main, other = (run.end() for run in start_ranks(plan, tmp_path / "ranks", kill_last_at=(generate, 2)))

    assert (main.returncode, other.returncode) == (0, -9), main
    assert "samples: no answers" in main.stderr
    assert is_finished(Path(plan.output.path))
    assert (result_folder(plan) / "adapter_model.safetensors").is_file()
    assert told_answers(plan) == []
