"""What a server holds beside its KV cache, and what follows for its start."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.catalog.served_models import find_served, served_names
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.activations import BatchLimits, batch_limits
from kaitoc.compiler.memory.serving.footprint import ServingFault, ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.graphs import capture_sizes
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.weights import Stage, format_of, stage_weights_bytes, stages_of
from kaitoc.compiler.memory.serving.workload import LoraSlots, ServingError, ServingWorkload, WeightFormat

NEW = "0.25.1"
MODELS = ("llama-3.1-8b-instruct", "gemma-3-27b-instruct", "qwen3.5-9b", "mistral-small-4-119b", "gpt-oss-20b")
EXACT = [model.name for model in all_models() if model.num_parameters > 10**9]


def workload(name: str, vllm: str = NEW, **changes: object) -> ServingWorkload:
    model = served_model(name)
    assert model is not None
    return replace(ServingWorkload(model, vllm, weight_format=format_of(model)), **changes)


def on_a100(name: str, vllm: str = NEW, **changes: object) -> ServingFootprint:
    return serving_footprint(workload(name, vllm, **changes), find_gpu("A100-80GB"))


def weights(name: str, **changes: object) -> int:
    asked = workload(name, **changes)
    return stage_weights_bytes(asked, stages_of(len(asked.model.layers), 1)[0])


@pytest.mark.parametrize("name", EXACT)
def test_half_precision_weights_are_the_parameters_of_the_model(name: str) -> None:
    """Biases, positions and norms of queries and keys are left out: less than 0.5 % of any model."""
    known = find_served(name)

    assert known is not None
    assert known.checkpoint_bytes is not None
    assert weights(name) == pytest.approx(known.checkpoint_bytes, rel=0.005)


@pytest.mark.parametrize("name", served_names())
def test_weights_take_no_more_than_the_files_that_kaitos_catalog_states(name: str) -> None:
    """Draft layers are not loaded; the files of gpt-oss hold the weights twice."""
    known = find_served(name)

    assert known is not None
    if known.checkpoint_bytes is not None:
        assert weights(name) <= known.checkpoint_bytes * 1.005


# GiB that servers logged for the weights of one rank.
LOADED = (
    ("llama-3.1-8b-instruct", 1, 14.99),
    ("qwen3-8b", 1, 15.27),
    ("Qwen/Qwen3-8B-AWQ", 1, 5.71),
    ("openai/gpt-oss-20b", 1, 13.72),
    ("MiniMaxAI/MiniMax-M2.5", 4, 53.75),
    ("deepseek-ai/DeepSeek-R1-0528", 8, 79.739),
    ("google/gemma-4-26B-A4B", 1, 48.5),
    ("Qwen/Qwen3.5-9B", 2, 8.91),
)


@pytest.mark.parametrize(("name", "ranks", "gib"), LOADED)
def test_loaded_weights_are_those_that_servers_logged(name: str, ranks: int, gib: float) -> None:
    assert weights(name, tensor_parallel=ranks) / GIB == pytest.approx(gib, rel=0.02)


@pytest.mark.parametrize("smaller", [WeightFormat.FP8, WeightFormat.AWQ, WeightFormat.BITSANDBYTES])
def test_a_quantized_model_takes_less(smaller: WeightFormat) -> None:
    assert weights("llama-3.1-8b-instruct", weight_format=smaller) < 0.65 * weights("llama-3.1-8b-instruct")


def test_stages_share_the_layers_with_the_ends_the_lightest() -> None:
    assert stages_of(10, 4) == (Stage(0, 2, True, False), Stage(2, 5, False, False), Stage(5, 8, False, False),
                                Stage(8, 10, False, True))  # fmt: skip


@pytest.mark.parametrize(("gpu", "sequences", "tokens"), [("A100-80GB", 256, 2048), ("H100-80GB", 1024, 8192)])
def test_large_gpus_but_the_a100_take_larger_batches_by_default(gpu: str, sequences: int, tokens: int) -> None:
    assert batch_limits(workload("llama-3.1-8b-instruct"), find_gpu(gpu)) == BatchLimits(sequences, tokens)


def test_the_throughput_mode_doubles_what_is_not_set() -> None:
    doubled = workload("llama-3.1-8b-instruct", doubles_batch=True, max_sequences=64)

    assert batch_limits(doubled, find_gpu("A100-80GB")) == BatchLimits(64, 4096)


def test_graphs_are_captured_for_51_batch_sizes_by_default() -> None:
    sizes = capture_sizes(BatchLimits(256, 2048))

    assert len(sizes) == 51
    assert len([size for size in sizes if size <= 256]) == 35


def test_graphs_come_off_the_cache_since_they_are_counted() -> None:
    before, after = on_a100("gpt-oss-20b", "0.17.1"), on_a100("gpt-oss-20b", "0.22.1")

    assert before.tightest.available_bytes - after.tightest.available_bytes == after.tightest.graphs.bytes > 0


def test_eager_servers_capture_nothing() -> None:
    assert on_a100("gpt-oss-20b", eager=True).tightest.graphs.high_bytes == 0


def test_slots_take_what_rank_and_number_ask_for() -> None:
    """Llama 3.1 8B, rank 16, one slot: 42 million parameters of adapters on all linear layers."""
    one = on_a100("llama-3.1-8b-instruct", lora=LoraSlots()).tightest.slots_bytes
    many = on_a100("llama-3.1-8b-instruct", lora=LoraSlots(max_loras=4, max_rank=64)).tightest.slots_bytes

    assert one == 41_943_040 * 2
    assert many == 16 * one


def test_sorting_samplers_take_more_than_masking_ones() -> None:
    assert on_a100("llama-3.1-8b-instruct", "0.12.0").tightest.sampling_bytes > (
        on_a100("llama-3.1-8b-instruct", "0.17.1").tightest.sampling_bytes
    )


def test_a_model_that_outgrows_the_gpu_leaves_no_cache() -> None:
    footprint = on_a100("llama-3.3-70b-instruct")

    assert (footprint.fault, footprint.verdict) == (ServingFault.NO_CACHE, Verdict.DOES_NOT_FIT)
    assert footprint.length_tokens == 0


def test_a_gpu_whose_memory_is_all_requested_has_none_for_its_context() -> None:
    footprint = on_a100("llama-3.2-1b", utilization=1.0)

    assert (footprint.fault, footprint.verdict) == (ServingFault.UTILIZATION, Verdict.DOES_NOT_FIT)


def test_heads_that_ranks_cannot_share_are_refused() -> None:
    with pytest.raises(ServingError, match="28 attention heads"):
        on_a100("qwen2.5-7b", tensor_parallel=8)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MODELS), low=st.floats(0.4, 0.9), more=st.floats(0.0, 0.08))
def test_more_utilization_never_leaves_less_cache(name: str, low: float, more: float) -> None:
    first, second = (on_a100(name, utilization=value, tensor_parallel=2) for value in (low, low + more))

    assert second.tightest.available_bytes >= first.tightest.available_bytes
    assert second.longest_tokens >= first.longest_tokens


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MODELS), ranks=st.sampled_from([1, 2, 4]))
def test_more_ranks_never_hold_more_weights_each(name: str, ranks: int) -> None:
    assert weights(name, tensor_parallel=2 * ranks) <= weights(name, tensor_parallel=ranks)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(MODELS), length=st.integers(16, 60_000), more=st.integers(0, 60_000))
def test_longer_requests_are_never_served_more_at_once(name: str, length: int, more: int) -> None:
    pool = serving_footprint(workload(name, kv_cache_bytes=16 * GIB), None).pool

    assert pool.concurrency(length + more) <= pool.concurrency(length)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MODELS), first=st.integers(256, 30_000), more=st.integers(0, 30_000))
def test_larger_batches_never_leave_more_cache(name: str, first: int, more: int) -> None:
    small, large = (
        on_a100(name, max_batched_tokens=tokens, max_sequences=16, tensor_parallel=2)
        for tokens in (first, first + more)
    )

    assert large.tightest.available_bytes <= small.tightest.available_bytes


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MODELS), length=st.integers(16, 130_000))
def test_a_length_that_fits_is_served_whole(name: str, length: int) -> None:
    footprint = on_a100(name, max_length_tokens=length, tensor_parallel=2)

    if footprint.verdict is Verdict.FITS:
        assert footprint.length_tokens == length
        assert footprint.concurrency(length) >= 1
    if footprint.longest_tokens < length:
        assert footprint.verdict is not Verdict.FITS
