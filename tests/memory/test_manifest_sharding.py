"""`fsdp` of a manifest, the estimate, the plan and the compiler's choice mean one sharding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES, SharingRequest, request_in
from kaitoc.compiler.passes.model import Goal
from kaitoc.compiler.plan.plan import PlanError
from kaitoc.compiler.plan.request import RunError
from kaitoc.compiling import compiled, request_for
from kaitoc.estimating import estimate
from kaitoc.running import plan as plan_of_file

BUNDLED = Overrides(target="bundled")
JOB = """apiVersion: v1
kind: ConfigMap
metadata: {name: params}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {torch_dtype: bfloat16}
      LoraConfig: {r: 16, lora_alpha: 16, target_modules: [qkv_proj, o_proj]}
      TrainingArguments:
        output_dir: /mnt/results
        max_length: 4096
        per_device_train_batch_size: BATCH
        gradient_checkpointing: true
        learning_rate: 2.0e-05
        bf16: trueFSDP
      DatasetConfig: {train_test_split: 1}
      DataCollator: {mlm: false}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tune}
resource:
  instanceType: Standard_NC48ads_A100_v4
  labelSelector: {matchLabels: {app: tune}}
tuning:
  preset: {name: phi-4}
  method: lora
  config: params
  input: {urls: ["https://example.com/data.json"]}
  output: {image: example.com/tuned:1, imagePushSecret: secret}
"""


def write(folder: Path, batch: int, fsdp: str = "") -> str:
    path = folder / "tune.yaml"
    path.write_text(JOB.replace("BATCH", str(batch)).replace("FSDP", f"\n        fsdp: {fsdp}" if fsdp else ""))
    return str(path)


@pytest.mark.parametrize("word", ["full_shard", "full_shard auto_wrap", '["full_shard"]', "true"])
def test_fsdp_of_the_manifest_shards_estimate_and_plan(word: str, tmp_path: Path) -> None:
    path = write(tmp_path, 1, word)

    (found,) = estimate([path], assume=BUNDLED)

    assert found.footprint.sharding.kind is ShardingKind.FSDP2
    assert plan_of_file(path, num_processes=2).sharding == "fsdp2"
    assert plan_of_file(path, num_processes=2, sharding="ddp").sharding == "ddp", "the command line has the last word"


@pytest.mark.parametrize(("sharding", "group"), [("ddp", None), ("fsdp2", None), ("fsdp2", 4), ("auto", None)])
def test_a_dry_run_predicts_what_the_estimate_of_its_processes_says(
    sharding: str, group: int | None, tmp_path: Path
) -> None:
    path = write(tmp_path, 1)
    shared = SharingRequest(sharding, shard_group=group)
    (found,) = estimate([path], assume=replace(BUNDLED, gpu="A100-80GB", num_gpus=8, sharing=shared))

    planned = plan_of_file(
        path, assume=Overrides(gpu="A100-80GB"), num_processes=8, sharding=sharding, shard_group=group
    )

    assert planned.predicted is not None
    assert planned.predicted.device_bytes == found.footprint.device_bytes


def test_a_dry_run_of_shards_in_8_bit_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = Path(write(tmp_path, 1))
    path.write_text(
        path.read_text().replace("      LoraConfig", "      QuantizationConfig: {load_in_8bit: true}\n      LoraConfig")
    )

    with pytest.raises(PlanError, match="use 4-bit"):
        plan_of_file(path, num_processes=2, sharding="fsdp2")


def test_activations_that_a_manifest_sends_to_the_host_leave_estimate_and_plan(tmp_path: Path) -> None:
    path = Path(write(tmp_path, 8))
    (kept,) = estimate([path], assume=BUNDLED)
    path.write_text(path.read_text().replace("bf16: true", "bf16: true\n        activation_offloading: true"))

    (found,) = estimate([path], assume=BUNDLED)
    predicted = plan_of_file(path, num_processes=2).predicted

    assert found.footprint.allocated_bytes < kept.footprint.allocated_bytes - GIB
    assert predicted is not None
    assert predicted.activations == found.footprint.peak.categories.activations


def test_options_on_shards_leave_activations_of_whole_copies_on_the_host(tmp_path: Path) -> None:
    path = Path(write(tmp_path, 8))
    path.write_text(path.read_text().replace("bf16: true", "bf16: true\n        activation_offloading: true"))
    (plain,) = estimate([path], assume=replace(BUNDLED, gpu="H200-141GB"))
    (grouped,) = estimate([path], assume=replace(BUNDLED, gpu="H200-141GB", sharing=SharingRequest(shard_group=2)))

    assert plain.footprint.sharding.kind is grouped.footprint.sharding.kind is ShardingKind.DDP
    assert grouped.footprint.phases == plain.footprint.phases


def test_words_that_the_runtime_does_not_follow_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not support `fsdp: shard_grad_op`"):
        plan_of_file(write(tmp_path, 1, "shard_grad_op"), num_processes=2)


def test_without_fsdp_the_stack_decides(tmp_path: Path) -> None:
    path = write(tmp_path, 1)

    assert request_in(None) is request_in("") is AS_THE_STACK_DOES
    assert plan_of_file(path, num_processes=2).sharding == "auto"


def test_the_compiler_splits_a_model_that_whole_copies_leave_no_room_for(tmp_path: Path) -> None:
    """A batch of one leaves nothing else that keeps the result."""
    path = write(tmp_path, 1)
    (roomy,) = estimate([path], assume=BUNDLED)
    overrides = Overrides(target="bundled", gpu_memory_gib=roomy.footprint.device_bytes / GIB + 0.2)
    (narrow,) = estimate([path], assume=overrides)
    (written,) = compiled(Inputs((path,)), request_for(overrides)).files
    again = write_text(tmp_path / "again.yaml", written.text)
    (wide,) = estimate([again], assume=overrides)

    assert narrow.verdict is not Verdict.FITS
    assert "fsdp: full_shard" in written.text
    assert (wide.verdict, wide.footprint.sharding.kind) == (Verdict.FITS, ShardingKind.FSDP2)


def write_text(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("goal", [Goal.FIT, Goal.MEMORY])
def test_kaitos_image_is_never_told_to_split(goal: Goal, tmp_path: Path) -> None:
    path = write(tmp_path, 16)
    result = compiled(Inputs((path,)), request_for(Overrides(target="kaito"), goal=goal))

    assert all("fsdp" not in file.text for file in result.files)
