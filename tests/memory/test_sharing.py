"""Whoever judges a job of several GPUs comes to one answer; `tests/soak/soak_sharing.py` asks 2,000."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sharing_cases import disagreement, disagreement_on, random_jobs, random_manifests
from sharing_doors import disagreements, drawn

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.footprint import as_shared
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.sharing import SHARDING_WORDS, SharingRequest, can_shard, sharding_for
from kaitoc.compiler.memory.stacks import all_stacks, find_stack
from kaitoc.compiler.memory.workload import Lora, Quantization, Workload, WorkloadError


@pytest.mark.no_cover
def test_estimate_compile_dry_run_and_preflight_never_disagree() -> None:
    told = Counter(disagreement(plan, gpu) for plan, gpu in random_jobs(seed=19, number=30))

    assert set(told) == {""}


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(5))
def test_the_commands_agree_on_the_text_of_a_manifest(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert list(disagreements(drawn(seed), tmp_path / "tune.yaml")) == []


def test_processes_beside_the_one_that_reads_hold_no_four_bit_weights_from_transformers_4_45_on() -> None:
    def is_empty(word: str, stack: str) -> bool:
        return sharding_for(SharingRequest(word), find_stack(stack)).others_hold_nothing

    versions = ("4.39", "4.45", "4.54", "5")
    assert [is_empty("fsdp1", f"transformers-{version}") for version in versions] == [False, True, True, False]
    assert not is_empty("fsdp2", "transformers-4.45"), "accelerate keeps 4-bit weights from that road"


def test_four_bit_weights_wait_on_the_host_where_transformers_takes_them_there() -> None:
    """PEFT's documentation trains a 70B model on two GPUs of 24 GB, with transformers 4.39 and parameters offloaded."""

    def waits_on_host(word: str, version: str) -> bool:
        return sharding_for(SharingRequest(word), find_stack(f"transformers-{version}")).packed_on_host

    versions = ("4.38", "4.39", "4.54", "5")
    assert [waits_on_host("fsdp1", version) for version in versions] == [False, True, True, False]
    assert [waits_on_host("zero3", version) for version in versions] == [False, True, True, False]
    assert not waits_on_host("fsdp2", "4.54"), "accelerate keeps 4-bit weights from that road"


def test_on_several_nodes_auto_keeps_a_copy_on_each_where_one_surely_fits() -> None:
    model, gpu = find_model("llama-3.3-70b-instruct"), find_gpu("A100-80GB")
    assert model is not None
    lora = Workload(model, Lora(), 1, 512, "trl-chunked", num_gpus=16, gradient_checkpointing=True)

    def group_of(num_nodes: int, **changes: Any) -> int | None:
        auto = Sharding(ShardingKind.AUTO, num_nodes=num_nodes)
        return as_shared(replace(lora, sharding=auto, **changes), gpu).sharding.shard_group

    assert [group_of(1), group_of(2), group_of(4)] == [None, 8, 4]
    assert group_of(8) is None, "two GPUs hold no 70B model"
    assert group_of(16) is None, "a node with one GPU has nobody to share with"
    assert group_of(2, lora=None) is None, "a full fine-tune needs all GPUs"


def test_a_group_that_does_not_divide_is_refused_whatever_auto_comes_to() -> None:
    model, gpu = find_model("phi-4"), find_gpu("H100-80GB")
    assert model is not None
    auto = Sharding(ShardingKind.AUTO, shard_group=3)

    with pytest.raises(WorkloadError, match="the nearest size is 2"):
        as_shared(Workload(model, Lora(), 1, 512, "trl-chunked", num_gpus=8, sharding=auto), gpu)


@pytest.mark.no_cover
def test_check_and_estimate_of_a_manifest_agree_with_its_run() -> None:
    told = Counter(disagreement_on(text, stated) for text, stated in random_manifests(seed=19, number=4))

    assert set(told) == {""}


@pytest.mark.parametrize("stack", [stack.name for stack in all_stacks()])
@pytest.mark.parametrize("word", SHARDING_WORDS)
def test_every_word_means_something_on_every_stack(word: str, stack: str) -> None:
    found = sharding_for(SharingRequest(word), find_stack(stack))

    assert found.kind.value == {"fsdp": "fsdp2", "auto": found.kind.value}.get(word, word)


def test_only_the_bundled_runtime_shards_by_itself_and_kaitos_image_never() -> None:
    by_default = {
        stack.name for stack in all_stacks() if sharding_for(SharingRequest(), stack).kind is ShardingKind.AUTO
    }

    assert by_default == {"trl-chunked"}
    assert {stack.name.startswith("kaito-") for stack in all_stacks() if not can_shard(stack)} == {True}


def test_the_version_of_accelerate_decides_what_is_gathered_together() -> None:
    request = SharingRequest("fsdp2")

    assert sharding_for(request, find_stack("transformers-4.54")).wrap is Wrap.ROOT
    assert sharding_for(request, find_stack("transformers-5")).wrap is Wrap.TAIL


def test_auto_keeps_whole_copies_where_the_gpu_is_not_known_and_of_weights_in_8_bit() -> None:
    model, gpu = find_model("llama-3.3-70b-instruct"), find_gpu("A100-80GB")
    assert model is not None
    auto = Sharding(ShardingKind.AUTO)
    asked = Workload(model, None, 1, 512, "trl-chunked", num_gpus=8, sharding=auto)
    in_8_bit = Workload(model, None, 1, 512, "trl-chunked", Quantization.INT8, num_gpus=8, sharding=auto)

    assert as_shared(asked, gpu).sharding.kind is ShardingKind.FSDP2
    assert as_shared(asked, None).sharding.kind is ShardingKind.DDP
    assert as_shared(in_8_bit, gpu).sharding.kind is ShardingKind.DDP
