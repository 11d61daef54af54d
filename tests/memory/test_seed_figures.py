"""What was reported of Phi-3-mini-128k fine-tunes on one A100 80GB, and that the closed form meets it.

`docs/memory.md` says of each figure what explains the rest.
"""

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.workload import Allocator, Attention, Dtype, Lora, Optimizer, Quantization, Workload

PHI = find_model("phi-3-mini-128k-instruct")
A100 = find_gpu("A100-80GB")
assert PHI is not None
assert A100 is not None
GIB = 2**30
O_PROJ = Lora(8, 8.0, 0.0, ("o_proj",))
EAGER = Workload(PHI, O_PROJ, 1, 1000, "transformers-4.45", attention=Attention.EAGER, optimizer=Optimizer.ADAMW)
FUSED = replace(EAGER, attention=Attention.SDPA)


def device_bytes(workload: Workload) -> int:
    return footprint(workload, A100).device_bytes


@pytest.mark.parametrize(
    ("dtype", "quantization", "double_quant", "reported_gb", "tolerance"),
    [
        (Dtype.FLOAT32, Quantization.NONE, False, 15.73, 0.02),
        (Dtype.BFLOAT16, Quantization.NONE, False, 8.09, 0.02),
        (Dtype.BFLOAT16, Quantization.INT8, False, 4.64, 0.05),
        (Dtype.BFLOAT16, Quantization.NF4, False, 3.00, 0.05),
        (Dtype.BFLOAT16, Quantization.NF4, True, 3.00, 0.10),
    ],
)
def test_loaded_weights_and_a_context_meet_what_was_reported(
    dtype: Dtype, quantization: Quantization, double_quant: bool, reported_gb: float, tolerance: float
) -> None:
    found = footprint(replace(EAGER, dtype=dtype, quantization=quantization, double_quant=double_quant), A100)
    loaded = next(phase for phase in found.phases if phase.phase is Phase.LOAD)
    assert (loaded.allocated_bytes + found.context_bytes) / 1e9 == pytest.approx(reported_gb, rel=tolerance)


def test_eager_lora_without_checkpointing_reaches_80_gib_near_3500_tokens() -> None:
    large = replace(A100, memory_bytes=200 * GIB)
    tokens = next(
        tokens
        for tokens in range(2000, 5000, 20)
        if footprint(replace(EAGER, seq_len_tokens=tokens), large).device_bytes > 80 * GIB
    )
    assert tokens == pytest.approx(3500, rel=0.12)


def test_qlora_saves_most_at_3500_tokens_because_it_checkpoints() -> None:
    long = replace(EAGER, seq_len_tokens=3500)
    quantized = replace(
        long, quantization=Quantization.NF4, double_quant=True, kbit_prep=True, gradient_checkpointing=True
    )
    checkpointed = replace(long, gradient_checkpointing=True)
    whole = footprint(long).device_bytes
    assert 0.70 <= 1 - footprint(quantized).device_bytes / whole <= 0.90
    assert 1 - footprint(checkpointed).device_bytes / whole >= 0.70


@pytest.mark.parametrize("workload", [EAGER, FUSED], ids=["eager", "sdpa"])
def test_small_ranks_hardly_differ_and_a_rank_beyond_the_width_costs_more_than_twice(workload: Workload) -> None:
    by_rank = {rank: device_bytes(replace(workload, lora=replace(O_PROJ, rank=rank))) for rank in (8, 256, 16384)}
    assert by_rank[256] < 1.06 * by_rank[8]
    assert by_rank[16384] > 2 * by_rank[8]


def test_adapting_the_mlp_too_costs_little_with_checkpointing_and_several_percent_without() -> None:
    both = replace(O_PROJ, targets=("o_proj", "down_proj"))
    checkpointed = replace(FUSED, gradient_checkpointing=True)
    assert device_bytes(replace(checkpointed, lora=both)) < 1.02 * device_bytes(checkpointed)
    assert 1.05 < device_bytes(replace(FUSED, lora=both)) / device_bytes(FUSED) < 1.15


@pytest.mark.parametrize("tokens", [1000, 2000])
def test_expandable_segments_lower_what_is_reserved_and_leave_what_is_allocated(tokens: int) -> None:
    default = footprint(replace(EAGER, seq_len_tokens=tokens), A100)
    expandable = footprint(replace(EAGER, seq_len_tokens=tokens, allocator=Allocator.EXPANDABLE), A100)
    assert expandable.reserved_bytes < default.reserved_bytes
    assert expandable.allocated_bytes == default.allocated_bytes
