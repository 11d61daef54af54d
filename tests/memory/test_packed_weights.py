"""Checkpoints that GPTQ or AWQ quantized: what the loaded modules hold, and what a product takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.dtypes import quantized_bytes
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.estimate import FineTune, workload_from
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Quantization, WorkloadError

MODEL = find_model("mistral-7b-v0.1")
assert MODEL is not None
STORED = from_config(
    "stored",
    {**MODEL.config, "model_type": "mistral", "quantization_config": {"quant_method": "awq", "group_size": 64}},
)
TUNE = FineTune(
    MODEL, stack="transformers-4.45", method="qlora", batch_size=4, seq_len_tokens=512, quantization="gptq",
    autocast="none", gradient_checkpointing=True,
)  # fmt: skip


def test_a_weight_is_its_nibbles_scales_zero_points_and_groups() -> None:
    gptq, awq, column = (
        quantized_bytes(4096, 1024, quantization, False, group)
        for quantization, group in ((Quantization.GPTQ, 128), (Quantization.AWQ, 128), (Quantization.GPTQ, 0))
    )

    assert awq == 4096 * 1024 // 2 + 32 * (1024 * 2 + 1024 // 2)
    assert gptq == awq + 4096 * 4
    assert gptq - column == 31 * (1024 * 2 + 1024 // 2)


def test_the_checkpoint_says_how_it_is_quantized() -> None:
    stored = workload_from(FineTune(STORED, method="qlora"))

    assert (stored.quantization, stored.group_size) == (Quantization.AWQ, 64)
    assert workload_from(replace(TUNE, group_size=-1)).group_size == 0
    assert workload_from(TUNE).group_size == 128


def test_norms_stay_narrow_under_gptq_alone() -> None:
    """`prepare_model_for_kbit_training` widens what AWQ left in half precision, embedding and head included."""
    gptq, awq = (footprint(workload_from(replace(TUNE, quantization=name))) for name in ("gptq", "awq"))
    vocabulary = 2 * MODEL.vocab_size * MODEL.hidden_size

    assert awq.peak.categories.weights - gptq.peak.categories.weights > vocabulary * 2 - (16 << 20)


def test_going_back_through_awq_copies_the_weight_for_every_sequence() -> None:
    """`weights.repeat(batch_size, 1, 1)`: of equal tokens, more sequences need more."""
    one, four = (
        footprint(workload_from(replace(TUNE, quantization="awq", batch_size=rows, seq_len_tokens=1024 // rows)))
        for rows in (1, 4)
    )

    copies = 3 * MODEL.hidden_size * MODEL.intermediate_size * 2
    assert four.allocated_bytes - one.allocated_bytes == pytest.approx(copies, rel=0.01)


def test_shards_and_traces_are_refused() -> None:
    shared = replace(workload_from(TUNE), num_gpus=2, sharding=Sharding(ShardingKind.FSDP2))

    with pytest.raises(WorkloadError, match="gptq"):
        footprint(shared)
