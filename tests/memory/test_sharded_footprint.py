"""One process of several that share a model: laws that hold for any model, and what no run can have."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "memory"))

import sharded
from samples import sample
from shard_cases import grown, random_pairs

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.sharding.state import shard_state
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.sharding.model import Offload, Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Dtype, Lora, Optimizer, Quantization, Workload, WorkloadError

KINDS = [kind for kind in ShardingKind if Sharding(kind).is_sharded]


def workload(name: str, method: str, kind: ShardingKind, num_gpus: int, **more: object) -> Workload:
    model = find_model(name)
    assert model is not None
    is_4bit = method == "qlora"
    asked = Workload(
        architecture=model,
        lora=None if method == "full" else Lora(rank=16),
        batch_size=1,
        seq_len_tokens=1024,
        stack="transformers-5",
        quantization=Quantization.NF4 if is_4bit else Quantization.NONE,
        autocast=Dtype.BFLOAT16,
        gradient_checkpointing=True,
        optimizer=Optimizer.ADAMW,
        num_gpus=num_gpus,
        sharding=Sharding(kind),
    )
    return replace(asked, **more)


def test_more_gpus_or_a_larger_group_never_need_more_memory_on_each_but_for_padding() -> None:
    """As `tests/soak/soak_shards.py` asks of 2,000 steps."""
    assert Counter(grown(few, many) for few, many in random_pairs(seed=19, number=50)) == {"": 50}


def test_more_gpus_add_nothing_to_a_context_but_connections() -> None:
    gpu = find_gpu("A100-80GB")
    assert gpu is not None
    few, many = (workload("qwen2.5-0.5b", "lora", ShardingKind.FSDP2, number) for number in (3, 40))
    beyond = [footprint(one, gpu).context_bytes - device.nccl_bytes(one, gpu) for one in (few, many)]

    assert beyond[0] == beyond[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_shard_needs_less_than_a_whole_copy(kind: ShardingKind, method: str) -> None:
    whole = workload("llama-3.1-8b-instruct", method, ShardingKind.DDP, 8)

    assert (
        shard_state(replace(whole, sharding=Sharding(kind))).weights_bytes < footprint(whole).phases[0].allocated_bytes
    )


def test_gradients_of_an_accumulation_are_kept_whole_unless_each_batch_is_reduced() -> None:
    once = workload("llama-3.1-8b-instruct", "full", ShardingKind.FSDP2, 8)
    kept = replace(once, accumulates=True)
    reduced = replace(kept, sharding=replace(kept.sharding, sync_each_batch=True))

    model_bytes = 2 * once.architecture.num_parameters
    assert footprint(kept).allocated_bytes > footprint(once).allocated_bytes + model_bytes // 2
    assert footprint(reduced).allocated_bytes < footprint(kept).allocated_bytes - model_bytes // 2


def test_the_constants_of_quantized_weights_are_on_every_process() -> None:
    few, many = (workload("mistral-7b-v0.1", "qlora", ShardingKind.FSDP2, num) for num in (2, 64))

    assert units_of(few).replicated_bytes == units_of(many).replicated_bytes > 0
    assert shard_state(many).weights_bytes > units_of(many).replicated_bytes


def test_frozen_layers_under_reentrant_checkpoints_keep_their_inputs_and_gradients_with_fsdp1() -> None:
    """Both live until the backward pass has ended: two tensors of the hidden size per layer and token more."""
    once = workload("mistral-7b-v0.1", "lora", ShardingKind.FSDP1, 2, stack="transformers-4.45", autocast=None)
    twice = replace(once, batch_size=2)
    per_token = (footprint(twice).allocated_bytes - footprint(once).allocated_bytes) / once.seq_len_tokens
    same = [replace(one, stack="transformers-5") for one in (once, twice)]
    without = (footprint(same[1]).allocated_bytes - footprint(same[0]).allocated_bytes) / once.seq_len_tokens

    kept = once.architecture.num_layers * once.architecture.hidden_size * 2
    assert per_token - without > kept * 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_gpus": 8, "sharding": Sharding(ShardingKind.FSDP2, num_nodes=3)},
            "cannot be spread evenly over 3 nodes; 2 nodes would work",
        ),
        ({"num_gpus": 8, "sharding": Sharding(ShardingKind.FSDP2, shard_group=16)}, "the nearest size is 8"),
        ({"num_gpus": 8, "sharding": Sharding(ShardingKind.FSDP2, shard_group=3)}, "the nearest size is 2"),
        ({"num_gpus": 1}, "at least 2 GPUs"),
        ({"quantization": Quantization.INT8}, "use 4-bit"),
        ({"sharding": Sharding(offload=Offload.PARAMETERS)}, "use fsdp2"),
        ({"sharding": Sharding(ShardingKind.FSDP2, offload=Offload.OPTIMIZER)}, "use parameters, or zero3"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_nearest_that_can(change: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        footprint(replace(workload("qwen2.5-0.5b", "lora", ShardingKind.FSDP2, 8), **change))


@pytest.mark.no_cover
def test_measured_runs_on_two_and_four_gpus_are_predicted_within_the_bars() -> None:
    rows = sharded.two_gpus()
    allocated = sharded.allocated_score(rows)
    ends, peaks = sharded.four_gpus()

    assert len(allocated.errors) == 166
    assert allocated.mean <= 0.005
    assert abs(allocated.worst) <= 0.02
    assert len(ends.errors) == 22
    assert abs(ends.worst) <= 0.002
    assert len(peaks.errors) == 33
    assert abs(peaks.worst) <= 0.02


def test_measured_device_totals_on_two_gpus_are_met_on_average_and_covered() -> None:
    score, covered = sharded.device_score(sample(sharded.two_gpus(), 40))

    assert score.mean <= 0.04
    assert sum(abs(error) > 0.2 for error in score.errors) <= 1
    assert covered >= 0.97


@pytest.mark.parametrize("kind", KINDS)
def test_the_shards_of_adapters_are_told_apart_from_those_of_weights(kind: ShardingKind) -> None:
    adapted = shard_state(workload("qwen2.5-0.5b", "lora", kind, 4))
    whole = shard_state(workload("qwen2.5-0.5b", "full", kind, 4))

    assert 0 < adapted.adapter_bytes < adapted.weights_bytes / 10
    assert whole.adapter_bytes == 0 < whole.weights_bytes
