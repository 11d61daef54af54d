"""The trace of whole steps: phases, categories, and what each option does to them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Phase, PhasePeak
from kaitoc.compiler.memory.trace.run import Trace, replay
from kaitoc.compiler.memory.trace.run import trace as trace_anew
from kaitoc.compiler.memory.workload import (
    Allocator,
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Workload,
    WorkloadError,
)

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 2000,
    "max_position_embeddings": 2048,
}
TINY = from_config("tiny-llama", CONFIG)
LORA = Workload(TINY, Lora(), 2, 256, "transformers-5")
FULL = replace(LORA, lora=None)
trace = cache(trace_anew)


def _peak(traced: Trace, phase: Phase) -> PhasePeak:
    return next(peak for peak in traced.phases if peak.phase is phase)


def test_all_phases_are_told_in_order() -> None:
    assert [peak.phase for peak in trace(LORA).phases] == [phase for phase in Phase if phase is not Phase.SAVE]


def test_loading_holds_the_parameters_and_nothing_else() -> None:
    loaded = _peak(trace(FULL), Phase.LOAD).categories
    assert loaded.weights == pytest.approx(2 * TINY.num_parameters, rel=0.001)
    assert loaded.total == loaded.weights


def test_full_fine_tuning_with_adam_keeps_two_moments_and_one_gradient_per_weight() -> None:
    stepping = _peak(trace(FULL), Phase.OPTIMIZER).categories
    assert stepping.optimizer == pytest.approx(2 * stepping.weights, rel=0.001)
    assert stepping.gradients == pytest.approx(stepping.weights, rel=0.001)


def test_every_free_has_its_allocation() -> None:
    live = set()
    for event in trace(LORA).events:
        key = id(event.allocation)
        if event.is_free:
            live.remove(key)
        else:
            assert key not in live
            live.add(key)


def test_checkpointing_lowers_the_activations() -> None:
    plain, saving = (trace(replace(LORA, gradient_checkpointing=on)) for on in (False, True))
    assert _peak(saving, Phase.LOSS).categories.activations < _peak(plain, Phase.LOSS).categories.activations / 4


def test_eager_attention_costs_more_than_a_fused_kernel_and_flash_as_much_as_sdpa() -> None:
    eager, fused, flash = (trace(replace(LORA, attention=kernel)).allocated_bytes for kernel in Attention)
    assert eager > fused
    assert flash == pytest.approx(fused, rel=0.01)


@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_optimizer_runs(optimizer: Optimizer) -> None:
    stepping = _peak(trace(replace(FULL, optimizer=optimizer)), Phase.OPTIMIZER).categories
    assert (stepping.optimizer == 0) is (optimizer is Optimizer.SGD)


def test_8_bit_moments_take_less_than_half_of_those_in_16_bit() -> None:
    small, large = (
        _peak(trace(replace(FULL, optimizer=optimizer)), Phase.OPTIMIZER).categories.optimizer
        for optimizer in (Optimizer.ADAMW_8BIT, Optimizer.ADAMW)
    )
    assert small < 0.6 * large


@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.FP4, Quantization.INT8])
def test_quantized_weights_shrink_and_carry_adapters(quantization: Quantization) -> None:
    loaded = _peak(trace(replace(LORA, quantization=quantization)), Phase.LOAD).categories
    plain = _peak(trace(LORA), Phase.LOAD).categories
    assert loaded.weights < 0.75 * plain.weights
    assert loaded.adapters == plain.adapters


def test_expandable_segments_change_what_is_reserved_and_not_what_lives() -> None:
    traced = trace(LORA)
    expandable = trace(replace(LORA, allocator=Allocator.EXPANDABLE))
    assert traced.phases == expandable.phases
    assert expandable.reserved_bytes != traced.reserved_bytes


def test_autocast_widens_norms_and_narrows_products() -> None:
    wide = replace(FULL, dtype=Dtype.FLOAT32)
    mixed = replace(wide, autocast=Dtype.BFLOAT16)
    ratio = trace(mixed).phases[1].categories.activations / trace(wide).phases[1].categories.activations
    assert 0.5 < ratio < 1.0


def test_a_replay_never_reserves_less_than_lives() -> None:
    traced = trace(LORA)
    allocator = replay(replace(LORA, empty_cache_each_step=True), traced.events, {1, 2})
    assert allocator.peak_reserved_bytes >= allocator.peak_allocated_bytes == traced.allocated_bytes


def test_a_model_that_transformers_does_not_know_is_refused() -> None:
    unknown = replace(TINY, model_type="never-heard-of")
    with pytest.raises(WorkloadError, match="cannot be traced"):
        trace(replace(LORA, architecture=unknown))


def test_a_stack_of_another_major_version_is_refused() -> None:
    with pytest.raises(WorkloadError, match="remove --trace for that stack"):
        trace(replace(LORA, stack="transformers-4.45"))


def test_targets_that_no_module_has_are_refused() -> None:
    with pytest.raises(WorkloadError, match="cannot be traced"):
        trace(replace(LORA, lora=Lora(targets=("nothing",))))


@pytest.mark.parametrize("autocast", [None, Dtype.BFLOAT16])
def test_the_chunked_loss_keeps_only_one_chunk_of_logits(autocast: Dtype | None) -> None:
    long = replace(LORA, seq_len_tokens=1024, gradient_checkpointing=True, autocast=autocast)
    full, chunked = (_peak(trace(replace(long, loss=loss)), Phase.BACKWARD) for loss in (Loss.FULL, Loss.CHUNKED))
    assert chunked.categories.logits < full.categories.logits / 4


@pytest.mark.parametrize("autocast", [None, Dtype.BFLOAT16])
def test_the_fused_loss_keeps_no_logits_beyond_a_tile(autocast: Dtype | None) -> None:
    long = replace(LORA, batch_size=8, seq_len_tokens=2048, gradient_checkpointing=True, autocast=autocast)
    full, fused = (_peak(trace(replace(long, loss=loss)), Phase.LOSS).categories for loss in (Loss.FULL, Loss.FUSED))
    tile_bytes = 4096 * TINY.vocab_size * 2
    assert fused.logits <= tile_bytes < full.logits / 4


def test_a_masked_layer_keeps_its_own_mask() -> None:
    sliding = from_config("sliding", {**CONFIG, "model_type": "mistral", "sliding_window": 128})
    free = from_config("free", {**CONFIG, "model_type": "mistral", "sliding_window": None})
    masked, plain = (_peak(trace(replace(LORA, architecture=one)), Phase.LOSS) for one in (sliding, free))
    masks = TINY.num_layers * LORA.batch_size * LORA.seq_len_tokens**2 * 2
    assert masked.categories.activations - plain.categories.activations >= masks


def test_adapters_are_folded_into_experts_in_the_type_that_the_experts_have() -> None:
    config = {**CONFIG, "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "head_dim": 32}
    model = from_config("tiny-qwen3-moe", {**config, "moe_intermediate_size": 128})
    workload = replace(LORA, architecture=model, gradient_checkpointing=False)

    traced_bytes = max(peak.allocated_bytes for peak in trace(workload).phases)

    assert footprint(workload).allocated_bytes == pytest.approx(traced_bytes, rel=0.02)
