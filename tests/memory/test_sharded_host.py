"""What the processes of a node hold in host memory while they share a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.host import MAX_CHECKPOINT_FILE_BYTES
from kaitoc.compiler.memory.closed_form.sharding.host import pinned_bytes
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Optimizer, Quantization, Workload

GB = 10**9


def job(word: str, stack: str, offload: Offload = Offload.NONE, **changes: object) -> Workload:
    model = find_model("llama-2-70b")
    assert model is not None
    asked = Workload(
        architecture=model,
        lora=Lora(rank=8),
        batch_size=2,
        seq_len_tokens=2048,
        stack=stack,
        attention=Attention.FLASH,
        autocast=Dtype.BFLOAT16,
        quantization=Quantization.NF4,
        double_quant=True,
        gradient_checkpointing=True,
        optimizer=Optimizer.ADAMW,
        num_gpus=2,
        sharding=sharding_for(SharingRequest(word, offload=offload), find_stack(stack)),
    )
    return replace(asked, **changes)


def host_bytes(workload: Workload) -> int:
    on_host = footprint(workload).host_bytes
    assert on_host is not None
    return on_host


def whole_bytes(workload: Workload) -> int:
    return sum(unit.stored_bytes * count for unit, count in units_of(workload).all_units())


def test_a_70b_model_in_4_bit_trains_on_two_gpus_of_24_gb_with_parameters_offloaded() -> None:
    """PEFT's documentation (`docs/source/accelerate/fsdp.md` at 5d602fdb) states 19.6 GB per GPU, and 35.6 without
    offload.
    """
    offloaded = footprint(job("fsdp1", "transformers-4.39", Offload.PARAMETERS))
    resident = footprint(job("fsdp1", "transformers-4.39"))

    assert offloaded.low_bytes < 19.6 * GB < offloaded.high_bytes
    assert resident.low_bytes < 35.6 * GB < resident.high_bytes


def test_offloaded_shards_of_fsdp1_are_pinned_with_a_gradient_each() -> None:
    """The same page states about 107 GB of host memory: of the model 88 after the first step, and 125 before it, when
    shards and their pinned copies are both there.
    """
    assert host_bytes(job("fsdp1", "transformers-4.39", Offload.PARAMETERS)) == pytest.approx(125 * GB, rel=0.01)


def test_each_process_packs_the_whole_model_onto_the_host_before_transformers_4_45() -> None:
    early, late = job("fsdp1", "transformers-4.39"), job("fsdp1", "transformers-4.45")

    assert host_bytes(early) == 2 * whole_bytes(early) + 2 * MAX_CHECKPOINT_FILE_BYTES
    assert host_bytes(late) == whole_bytes(late) + 2 * MAX_CHECKPOINT_FILE_BYTES


def test_each_process_of_zero3_packs_the_whole_model_onto_the_host() -> None:
    on_host = job("zero3", "transformers-4.54")

    assert host_bytes(on_host) == 2 * whole_bytes(on_host) + 2 * MAX_CHECKPOINT_FILE_BYTES


@pytest.mark.parametrize("word", ["fsdp1", "fsdp2", "zero3"])
def test_four_bit_weights_that_stay_on_the_gpu_are_all_there_before_the_first_are_split(word: str) -> None:
    loading, *_ = footprint(job(word, "transformers-5")).phases

    assert loading.allocated_bytes > 35 * GB
    assert host_bytes(job(word, "transformers-5")) == 2 * MAX_CHECKPOINT_FILE_BYTES


def test_one_process_reads_a_model_that_is_not_quantised_for_all() -> None:
    alone = job("fsdp2", "transformers-5", quantization=Quantization.NONE, num_gpus=8)

    assert host_bytes(alone) == whole_bytes(alone)


def test_a_reader_has_the_whole_model_until_the_last_shard_is_offloaded() -> None:
    """`original_sd` of `fsdp2_prepare_model` (accelerate 1.15) lives until all of it was sent."""
    half = {"quantization": Quantization.NONE, "num_gpus": 8}
    offloaded = job("fsdp2", "transformers-5", Offload.PARAMETERS, **half)

    assert host_bytes(offloaded) > 1.99 * whole_bytes(offloaded)


def test_pinned_memory_comes_in_powers_of_two() -> None:
    assert [pinned_bytes(size) for size in (0, 1, 3, 1 << 20, (1 << 20) + 1)] == [0, 1, 4, 1 << 20, 1 << 21]
