"""What makes a training step slower or faster, as laws over workloads, and how the answer adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu, all_gpus, find_gpu
from kaitoc.compiler.catalog.models import all_models, find_model
from kaitoc.compiler.memory.closed_form.kernel import Group, Unit
from kaitoc.compiler.memory.throughput.rates import rates_of
from kaitoc.compiler.memory.throughput.speed import Throughput, throughput
from kaitoc.compiler.memory.workload import (
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Workload,
    WorkloadError,
)


def _model(name: str) -> Architecture:
    model = find_model(name)
    assert model is not None
    return model


def _gpu(name: str) -> Gpu:
    gpu = find_gpu(name)
    assert gpu is not None
    return gpu


A100 = _gpu("A100-80GB")
BASE = Workload(
    architecture=_model("llama-3.2-3b"),
    lora=Lora(rank=16, targets=("q_proj", "v_proj")),
    batch_size=4,
    seq_len_tokens=1024,
    stack="transformers-5",
)
workloads = st.builds(
    replace,
    st.just(BASE),
    architecture=st.sampled_from([model for model in all_models() if model.max_position_embeddings >= 512]),
    lora=st.sampled_from([None, Lora(rank=8, targets=("all-linear",)), Lora(rank=64, dropout=0.1, dora=True)]),
    batch_size=st.integers(1, 16),
    seq_len_tokens=st.integers(1, 512),
    stack=st.sampled_from(["transformers-4.48", "trl-chunked"]),
    gradient_checkpointing=st.booleans(),
    attention=st.sampled_from(Attention),
    loss=st.sampled_from(Loss),
    optimizer=st.sampled_from(Optimizer),
    autocast=st.sampled_from([None, Dtype.BFLOAT16]),
)


@settings(max_examples=60, deadline=None)
@given(workload=workloads, gpu=st.sampled_from(all_gpus()), num_gpus=st.integers(1, 8), steps=st.integers(1, 4))
def test_the_parts_of_a_step_sum_to_it_and_to_its_speed(
    workload: Workload, gpu: Gpu, num_gpus: int, steps: int
) -> None:
    result = throughput(workload, gpu, num_gpus, accumulation_steps=steps)
    assert sum(cost.seconds for cost in result.breakdown) == pytest.approx(result.step_seconds)
    assert all(cost.seconds >= 0 and cost.flops >= 0 and cost.num_bytes >= 0 for cost in result.breakdown)
    assert result.tokens_per_step == workload.batch_size * workload.seq_len_tokens * num_gpus * steps
    assert result.tokens_per_second == pytest.approx(result.tokens_per_step / result.step_seconds)


@settings(max_examples=40, deadline=None)
@given(workload=workloads)
def test_a_longer_batch_never_takes_less_time(workload: Workload) -> None:
    longer = replace(workload, batch_size=2 * workload.batch_size)
    if workload.batch_size > 1:
        rounding = 1e-12 * throughput(workload, A100).step_seconds
        assert throughput(longer, A100).step_seconds >= throughput(workload, A100).step_seconds - rounding


@settings(max_examples=40, deadline=None)
@given(workload=workloads)
def test_checkpointing_costs_work_but_never_doubles_it(workload: Workload) -> None:
    plain = throughput(replace(workload, gradient_checkpointing=False, kbit_prep=True), A100)
    again = throughput(replace(workload, gradient_checkpointing=True, kbit_prep=True), A100)
    assert plain.flops_per_step <= again.flops_per_step <= 2 * plain.flops_per_step


@pytest.mark.parametrize("gpu", all_gpus(), ids=lambda gpu: gpu.name)
def test_every_gpu_of_the_catalog_has_a_speed(gpu: Gpu) -> None:
    assert throughput(BASE, gpu).tokens_per_second > 0


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.name)
def test_a_trained_weight_costs_six_operations_a_token_and_a_frozen_one_four(model: Architecture) -> None:
    length = min(256, model.max_position_embeddings)
    base = replace(BASE, architecture=model, batch_size=1, seq_len_tokens=length, stack="transformers-4.48")
    full = throughput(replace(base, lora=None), A100)
    frozen = throughput(replace(base, lora=Lora(rank=1, targets=("all-linear",)), kbit_prep=True), A100)
    assert 1.35 < _products(full) / _products(frozen) < 1.5


def _products(result: Throughput) -> float:
    groups = (Group.ATTENTION, Group.MLP, Group.HEAD)
    return sum(cost.flops for cost in result.breakdown if cost.group in groups)


def test_quantized_weights_are_dequantized_for_every_product() -> None:
    plain = throughput(BASE, A100)
    quantized = throughput(replace(BASE, quantization=Quantization.NF4, kbit_prep=True), A100)
    checkpointed = replace(BASE, quantization=Quantization.NF4, kbit_prep=True, gradient_checkpointing=True)
    again = throughput(replace(checkpointed, stack="kaito-v0.9"), A100)
    assert plain.seconds_of(Group.DEQUANTIZATION) == 0
    assert again.seconds_of(Group.DEQUANTIZATION) > 1.4 * quantized.seconds_of(Group.DEQUANTIZATION) > 0


def test_newer_bitsandbytes_dequantizes_faster() -> None:
    workload = replace(BASE, quantization=Quantization.NF4)
    older = throughput(replace(workload, stack="transformers-4.48"), A100)
    newer = throughput(replace(workload, stack="transformers-5"), A100)
    assert newer.seconds_of(Group.DEQUANTIZATION) < older.seconds_of(Group.DEQUANTIZATION)


def test_flash_attention_leaves_out_the_masked_half() -> None:
    one = replace(BASE, batch_size=1, seq_len_tokens=8192)
    several = replace(BASE, batch_size=2, seq_len_tokens=8192)
    flash, masked = replace(several, attention=Attention.FLASH), replace(several, attention=Attention.SDPA)
    assert throughput(masked, A100).flops_per_step > throughput(flash, A100).flops_per_step
    assert (
        throughput(one, A100).flops_per_step == throughput(replace(one, attention=Attention.FLASH), A100).flops_per_step
    )


def test_eager_attention_is_slower_the_longer_the_sequence() -> None:
    def share(length: int) -> float:
        workload = replace(BASE, batch_size=1, seq_len_tokens=length)
        eager = throughput(replace(workload, attention=Attention.EAGER), A100)
        return eager.step_seconds / throughput(workload, A100).step_seconds

    assert 1.0 < share(512) < share(2048) < share(8192)


def test_a_wider_adapter_costs_more_but_never_the_base_model_again() -> None:
    narrow, wide = (throughput(replace(BASE, lora=Lora(rank=rank)), A100) for rank in (8, 256))
    assert narrow.step_seconds < wide.step_seconds < 2 * narrow.step_seconds


@pytest.mark.parametrize("name", ["mixtral-8x7b", "qwen3-30b-a3b", "qwen1.5-moe-a2.7b"])
def test_experts_compute_as_much_fused_as_apart(name: str) -> None:
    apart = throughput(replace(BASE, architecture=_model(name), stack="transformers-4.48"), A100)
    fused = throughput(replace(BASE, architecture=_model(name), stack="transformers-5"), A100)
    assert _products(fused) == pytest.approx(_products(apart), rel=0.01)


def test_adapters_on_fused_experts_need_the_gradient_of_the_whole_weight() -> None:
    """PEFT adds them to the weight itself, so that its gradient is formed: six operations a token, not four."""
    base = replace(BASE, architecture=_model("mixtral-8x7b"), kbit_prep=True)
    attention_only = throughput(replace(base, lora=Lora(8, targets=("q_proj",))), A100)
    everywhere = throughput(replace(base, lora=Lora(8, targets=("all-linear",))), A100)
    assert 1.4 < _flops_of(everywhere, Group.MLP) / _flops_of(attention_only, Group.MLP) < 1.6


def _flops_of(result: Throughput, group: Group) -> float:
    return sum(cost.flops for cost in result.breakdown if cost.group is group)


def test_a_chunked_loss_computes_the_logits_again_and_a_fused_one_moves_less() -> None:
    full, chunked, fused = (
        throughput(replace(BASE, loss=loss), A100) for loss in (Loss.FULL, Loss.CHUNKED, Loss.FUSED)
    )
    assert _flops_of(chunked, Group.HEAD) == pytest.approx(1.5 * _flops_of(full, Group.HEAD), rel=0.01)
    assert _flops_of(fused, Group.HEAD) == pytest.approx(_flops_of(full, Group.HEAD), rel=0.01)
    assert fused.seconds_of(Group.HEAD) < full.seconds_of(Group.HEAD)


def test_the_foreach_optimizer_moves_more_than_the_fused_one() -> None:
    full = replace(BASE, lora=None)
    foreach, fused, small = (
        throughput(replace(full, optimizer=optimizer), A100).seconds_of(Group.OPTIMIZER)
        for optimizer in (Optimizer.ADAMW, Optimizer.ADAMW_FUSED, Optimizer.ADAMW_8BIT)
    )
    assert small < fused < foreach


def test_accumulation_pays_the_optimizer_once_for_several_batches() -> None:
    full = replace(BASE, lora=None)
    once, four = throughput(full, A100), throughput(full, A100, accumulation_steps=4)
    assert four.seconds_of(Group.OPTIMIZER) == once.seconds_of(Group.OPTIMIZER)
    assert four.tokens_per_second > once.tokens_per_second


def test_gradients_of_adapters_cost_next_to_nothing_to_exchange_and_those_of_a_model_do() -> None:
    adapters = throughput(BASE, A100, 4)
    slow_link = throughput(replace(BASE, lora=None, batch_size=1), _gpu("A10"), 4)
    assert adapters.seconds_of(Group.COMMUNICATION) < 0.01 * adapters.step_seconds
    assert slow_link.seconds_of(Group.COMMUNICATION) > 0.1 * slow_link.step_seconds


def test_the_workload_says_how_many_gpus_when_the_caller_does_not() -> None:
    assert throughput(replace(BASE, num_gpus=2), A100) == throughput(BASE, A100, 2)


def test_a_tiny_batch_takes_as_long_as_its_kernels_take_to_launch() -> None:
    tiny = throughput(replace(BASE, batch_size=1, seq_len_tokens=1), _gpu("H100"))
    large = throughput(BASE, A100)
    assert tiny.seconds_of(Group.LAUNCH) > 0
    assert large.seconds_of(Group.LAUNCH) == 0


def test_experts_that_are_indexed_by_lists_keep_the_gpu_waiting_for_every_row() -> None:
    mixtral = replace(BASE, architecture=_model("mixtral-8x7b"), stack="transformers-4.39")
    plain, again = (throughput(replace(mixtral, gradient_checkpointing=one), A100) for one in (False, True))
    num_rows = 2 * 32 * mixtral.batch_size * mixtral.seq_len_tokens

    assert plain.seconds_of(Group.HOST) == pytest.approx(num_rows * 356e-9, rel=0.01)
    assert again.seconds_of(Group.HOST) == pytest.approx(2 * plain.seconds_of(Group.HOST))
    assert throughput(replace(mixtral, stack="transformers-4.45"), A100).seconds_of(Group.HOST) == 0


def test_cards_that_throttle_multiply_as_fast_as_they_were_measured_to() -> None:
    t4, l4, a100 = (rates_of(_gpu(name), Dtype.FLOAT16, BASE.stack).flops[Unit.HALF] for name in ("T4", "L4", "A100"))
    peaks = [_gpu(name).fp16_flops for name in ("T4", "L4", "A100")]

    assert t4 / peaks[0] < 0.65
    assert l4 / peaks[1] < 0.6
    assert a100 / peaks[2] > 0.8


def test_a_gpu_without_bfloat16_units_computes_it_in_float32() -> None:
    t4 = _gpu("T4")
    half = throughput(replace(BASE, dtype=Dtype.FLOAT16), t4)
    assert half.tokens_per_second > 2 * throughput(BASE, t4).tokens_per_second


@pytest.mark.parametrize(("num_gpus", "steps"), [(0, 1), (1, 0), (-1, 1)])
def test_no_gpus_or_no_batches_are_refused(num_gpus: int, steps: int) -> None:
    with pytest.raises(WorkloadError, match="at least 1"):
        throughput(BASE, A100, num_gpus, accumulation_steps=steps)


def test_a_workload_that_no_run_can_have_is_refused() -> None:
    with pytest.raises(WorkloadError, match="batch size"):
        throughput(replace(BASE, batch_size=0), A100)
