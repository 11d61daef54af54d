"""The closed form of a sharded step, held to PyTorch's own `fully_shard` on meta tensors."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "memory"))

from narrow_llama import narrow_llama, narrow_workload
from random_steps import draw
from samples import sample

from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Lora, Loss, Quantization, Reference, Workload, WorkloadError

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
TOLERANCE = 0.003
TOLERANCE_OF_RANDOM = 0.015
RANDOM = (0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18)


def workload(num_gpus: int, sharding: Sharding, **changes: object) -> Workload:
    adapters = {"lora": Lora(rank=16, targets=("q_proj", "v_proj"))}
    return narrow_workload(num_gpus, sharding, **{**adapters, **changes})


def fsdp2(**options: object) -> Sharding:
    return replace(Sharding(ShardingKind.FSDP2), **options)


WAYS = {
    "adapters on two": workload(2, fsdp2()),
    "adapters on eight": workload(8, fsdp2()),
    "a root with the embedding": workload(4, fsdp2(wrap=Wrap.ROOT)),
    "all weights": workload(4, fsdp2(), lora=None),
    "all weights, a root with the embedding": workload(8, fsdp2(wrap=Wrap.ROOT), lora=None),
    "gathered until the backward pass": workload(4, fsdp2(reshard_after_forward=False)),
    "gradients kept whole": workload(4, fsdp2(), lora=None, accumulates=True),
    "gradients reduced each time": workload(4, fsdp2(sync_each_batch=True), lora=None, accumulates=True),
    "two copies of four": workload(8, fsdp2(shard_group=4), lora=None),
    "tied weights": workload(4, fsdp2(), architecture=narrow_llama(tie_word_embeddings=True), lora=None),
    "without mixed precision": workload(4, fsdp2(), autocast=None, lora=None),
    "without checkpoints": workload(4, fsdp2(), gradient_checkpointing=False),
    "rows that do not divide": workload(6, fsdp2(wrap=Wrap.ROOT), lora=None),
    "gradients and weights kept whole": workload(
        4, fsdp2(wrap=Wrap.ROOT, reshard_after_forward=False), lora=None, accumulates=True
    ),
    "a head whose gradient outlives its copy": workload(
        3, fsdp2(), architecture=narrow_llama(vocab_size=65536), lora=None, loss=Loss.CCE
    ),
    "adapters in the type of their layers": workload(8, fsdp2(), lora=Lora(rank=64), seq_len_tokens=2048),
}


@pytest.mark.parametrize("way", sample(WAYS, 7))
def test_the_closed_form_agrees_with_fully_shard(way: str) -> None:
    asked = WAYS[way]
    traced = max(phase.allocated_bytes for phase in trace(asked).phases)

    in_steps = [peak.allocated_bytes for peak in footprint(asked).phases if peak.phase is not Phase.LOAD]
    assert max(in_steps) == pytest.approx(traced, rel=TOLERANCE)


@pytest.mark.parametrize("number", sample(RANDOM, 4))
def test_it_agrees_on_models_of_the_catalog(number: int) -> None:
    asked = draw(random.Random(number))
    traced = max(phase.allocated_bytes for phase in trace(asked).phases)

    in_steps = [peak.allocated_bytes for peak in footprint(asked).phases if peak.phase is not Phase.LOAD]
    assert max(in_steps) == pytest.approx(traced, rel=TOLERANCE_OF_RANDOM)


@pytest.mark.parametrize("checkpoints", [True, False])
def test_4_bit_weights_are_split_too(checkpoints: bool) -> None:
    """Norms that were widened for training are gathered in the half type, whether or not layers are recomputed."""
    quantized = {"quantization": Quantization.NF4, "double_quant": True, "kbit_prep": True}
    asked = workload(4, fsdp2(), gradient_checkpointing=checkpoints, **quantized)
    traced = max(phase.allocated_bytes for phase in trace(asked).phases)

    in_steps = [peak.allocated_bytes for peak in footprint(asked).phases if peak.phase is not Phase.LOAD]
    assert max(in_steps) == pytest.approx(traced, rel=TOLERANCE)


@pytest.mark.parametrize("wrap", list(Wrap))
def test_the_buffer_of_a_layer_outlives_the_copy_of_the_next(wrap: Wrap) -> None:
    """Little besides weights is there in the forward pass of short recomputed sequences."""
    asked = workload(8, fsdp2(wrap=wrap), seq_len_tokens=16)
    traced = {peak.phase: peak.allocated_bytes for peak in trace(asked).phases}
    derived = {peak.phase: peak.allocated_bytes for peak in footprint(asked).phases}

    assert derived[Phase.FORWARD] == pytest.approx(traced[Phase.FORWARD], rel=TOLERANCE)


@pytest.mark.parametrize(
    ("checkpoints", "sharding"),
    [(True, fsdp2()), (False, fsdp2(wrap=Wrap.ROOT)), (True, fsdp2(reshard_after_forward=False))],
    ids=["adapters", "a root with the embedding, no checkpoints", "gathered until the backward pass"],
)
def test_a_reference_gathers_the_model_once_more(checkpoints: bool, sharding: Sharding) -> None:
    pairs = {"reference": Reference.BASE, "loss": Loss.FUSED, "batch_size": 2, "stack": "trl-chunked"}
    asked = workload(4, sharding, gradient_checkpointing=checkpoints, **pairs)
    traced = {peak.phase: peak.allocated_bytes for peak in trace(asked).phases if peak.phase is not Phase.LOAD}
    told = {peak.phase: peak.allocated_bytes for peak in footprint(asked).phases}

    assert {phase: told[phase] for phase in traced} == pytest.approx(traced, rel=0.02)


def test_a_tied_head_goes_back_before_the_last_layer_is_gathered() -> None:
    """The logits' gradients are gone by then; the root of a model observes the loss."""
    tied = narrow_llama(tie_word_embeddings=True, vocab_size=8192, intermediate_size=4096)
    asked = workload(2, fsdp2(), architecture=tied)
    traced = {peak.phase: peak.allocated_bytes for peak in trace(asked).phases}
    derived = {peak.phase: peak.allocated_bytes for peak in footprint(asked).phases}

    assert derived[Phase.BACKWARD] == pytest.approx(traced[Phase.BACKWARD], rel=TOLERANCE)


def test_what_the_trace_cannot_run_is_said() -> None:
    with pytest.raises(WorkloadError, match="--trace supports FSDP2"):
        trace(workload(4, Sharding(ShardingKind.FSDP1)))
