"""DeepSpeed's buffers, one by one, and the two runs that PEFT's documentation tells the memory of.

They are https://github.com/huggingface/peft/blob/5d602fdb/docs/source/accelerate/deepspeed.md: Llama-2-70B, LoRA of
rank 8 on all linear layers, 2,048 tokens a row, packed, checkpointed, flash attention; set up by `accelerate launch`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint, phase_peaks
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Optimizer, Quantization, Workload

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BUCKET_BYTES = 10**9
PREFETCH_PARAMETERS = 5 * 10**7


def workload(name: str, num_gpus: int, batch_size: int) -> Workload:
    model = find_model(name)
    assert model is not None
    return Workload(
        model, Lora(rank=8, targets=LAYERS), batch_size, 2048, "transformers-4.39", autocast=Dtype.BFLOAT16,
        gradient_checkpointing=True, attention=Attention.FLASH, optimizer=Optimizer.ADAMW, num_gpus=num_gpus,
        sharding=sharding_for(SharingRequest("zero3"), find_stack("transformers-4.39")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("num_gpus", "batch_size", "is_4bit", "gpu", "measured_bytes"),
    [(8, 8, False, "A100-80GB", 64e9), (2, 2, True, "A100-40GB", 36.6e9)],
)
def test_documented_runs_are_met_within_a_tenth(
    num_gpus: int, batch_size: int, is_4bit: bool, gpu: str, measured_bytes: float
) -> None:
    asked = workload("llama-2-70b", num_gpus, batch_size)
    if is_4bit:
        asked = replace(asked, quantization=Quantization.NF4, double_quant=True)

    assert footprint(asked, find_gpu(gpu)).device_bytes == pytest.approx(measured_bytes, rel=0.1)


def test_the_bucket_is_there_in_every_phase_of_a_step_however_few_parameters_are_trained() -> None:
    asked = workload("llama-3.2-1b", 2, 1)
    offloaded = replace(asked, sharding=replace(asked.sharding, offload=Offload.OPTIMIZER))

    for peak in (*phase_peaks(asked), *phase_peaks(offloaded)):
        if peak.phase not in (Phase.LOAD, Phase.SAVE):
            assert peak.categories.workspace >= BUCKET_BYTES


def test_what_is_gathered_ahead_is_there_twice() -> None:
    """All weights of a small model live at a time; a prefetch ends with the parameter that reaches its size."""
    asked = workload("llama-3.2-1b", 2, 1)
    architecture = asked.architecture
    largest = architecture.vocab_size * architecture.hidden_size
    forward = next(peak for peak in phase_peaks(asked) if peak.phase is Phase.FORWARD)
    kept = next(peak for peak in phase_peaks(asked) if peak.phase is Phase.OPTIMIZER).categories.weights

    gathered = forward.categories.weights - kept

    assert gathered >= 2 * (10**9 + PREFETCH_PARAMETERS + largest)
    assert gathered <= 2 * (architecture.num_parameters + 10**8 + PREFETCH_PARAMETERS + largest)
