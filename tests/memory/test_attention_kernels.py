"""Which kernel scaled dot product attention takes on a GPU, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import Gpu, find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.model import stream_of
from kaitoc.compiler.memory.closed_form.op import Op, Repeat
from kaitoc.compiler.memory.closed_form.size import per_token
from kaitoc.compiler.memory.device import as_run_on
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Workload, WorkloadError

GROUPED = find_model("qwen2.5-coder-7b-instruct")
UNGROUPED = find_model("phi-3-mini-4k-instruct")
assert GROUPED is not None
assert UNGROUPED is not None
HALF = Workload(GROUPED, Lora(), 1, 2048, "transformers-5", dtype=Dtype.FLOAT16)


def _gpu(name: str) -> Gpu:
    found = find_gpu(name)
    assert found is not None
    return found


def _pair_bytes(workload: Workload, gpu: str) -> float:
    """Return what twice the length costs beyond twice the memory: the part that grows with pairs of tokens."""
    short, long = (
        footprint(replace(workload, seq_len_tokens=tokens), _gpu(gpu)).peak.categories for tokens in (1024, 2048)
    )
    return (long.activations + long.workspace) - 2 * (short.activations + short.workspace)


def test_before_ampere_grouped_keys_that_are_not_repeated_cost_the_attention_weights() -> None:
    assert _pair_bytes(HALF, "T4") > 1 << 30
    assert _pair_bytes(HALF, "A10-24GB") < 1 << 26


def test_before_ampere_repeated_keys_take_the_memory_efficient_kernel() -> None:
    assert _pair_bytes(replace(HALF, stack="transformers-4.48"), "T4") < 1 << 26


def test_before_ampere_bfloat16_has_no_fused_kernel_at_all() -> None:
    ungrouped = replace(HALF, architecture=UNGROUPED)
    assert _pair_bytes(replace(ungrouped, dtype=Dtype.BFLOAT16), "T4") > 1 << 30
    assert _pair_bytes(ungrouped, "T4") < 1 << 26


def test_autocast_decides_on_the_type_that_attention_computes_in() -> None:
    ungrouped = replace(HALF, architecture=UNGROUPED, dtype=Dtype.BFLOAT16, autocast=Dtype.FLOAT16)
    assert _pair_bytes(ungrouped, "T4") < 1 << 26


def test_flash_attention_on_a_gpu_that_lacks_it_is_an_error_that_names_the_gpu() -> None:
    with pytest.raises(WorkloadError, match="which T4 is not; use `sdpa` or `eager`"):
        footprint(replace(HALF, attention=Attention.FLASH), _gpu("T4"))


def test_a_workload_is_taken_as_it_is_on_later_gpus_and_on_none() -> None:
    assert as_run_on(HALF, None) is HALF
    assert as_run_on(HALF, _gpu("L4-24GB")) is HALF


def test_padding_makes_grouped_keys_be_repeated_for_the_mask() -> None:
    plain, padded = (footprint(replace(HALF, batch_size=2, is_padded=is_padded)) for is_padded in (False, True))
    width = (GROUPED.num_heads - GROUPED.num_kv_heads) * GROUPED.head_dim
    repeated_bytes = 2 * width * 2 * 2 * 2048 * GROUPED.num_layers
    assert padded.allocated_bytes - plain.allocated_bytes >= repeated_bytes


@pytest.mark.parametrize("stack", ["transformers-5", "transformers-4.48"])
def test_a_single_key_head_is_repeated_as_a_view_that_copies_nothing(stack: str) -> None:
    """`expand` gives all heads the same memory, and `reshape` keeps it so while there is only one head to repeat."""
    architecture = replace(GROUPED, num_kv_heads=1)
    workload = replace(HALF, architecture=architecture, stack=stack, batch_size=2, is_padded=True)
    attention = [item for item in _layer_ops(workload) if len(item.saved) == 4 and len(item.inputs) == 3]
    assert attention
    for item in attention:
        _, keys, values, _ = item.saved
        assert keys.size == values.size == per_token(2 * architecture.head_dim)


def _layer_ops(workload: Workload) -> list[Op]:
    instructions = list(stream_of(workload).instructions)
    for item in instructions:
        if isinstance(item, Repeat):
            instructions += item.first.instructions
    return [item for item in instructions if isinstance(item, Op)]


def test_padding_changes_nothing_for_attention_that_masks_anyway() -> None:
    eager = replace(HALF, attention=Attention.EAGER)
    assert footprint(replace(eager, is_padded=True)).allocated_bytes == footprint(eager).allocated_bytes
