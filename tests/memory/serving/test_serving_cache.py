"""The KV cache is laid out as vLLM lays it out: figures of its allocator and of servers' logs."""

from __future__ import annotations

import pytest

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.serving.footprint import ServingFault, ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.weights import format_of
from kaitoc.compiler.memory.serving.workload import ServingWorkload

NEW, OLD = "0.25.1", "0.17.1"


def workload(name: str, vllm: str = NEW, **settings: object) -> ServingWorkload:
    model = served_model(name)
    assert model is not None
    return replace(ServingWorkload(model, vllm, weight_format=format_of(model)), **settings)


def with_cache(name: str, gib: float, vllm: str = NEW, **settings: object) -> ServingFootprint:
    return serving_footprint(workload(name, vllm, kv_cache_bytes=int(gib * GIB), **settings), None)


# What servers logged of the memory that they had, for models of every layout. The printed GiB are rounded.
LOGGED = (
    ("meta-llama/Llama-3.1-8B", 5.29, {"max_length_tokens": 2048}, 43_296),
    ("Qwen/Qwen2.5-1.5B-Instruct", 0.56, {}, 20_992),
    ("Qwen/Qwen3-8B-AWQ", 4.79, {"max_length_tokens": 4096}, 34_848),
    ("Qwen/Qwen3-0.6B", 54.98, {"max_length_tokens": 40_960}, 514_688),
    ("MiniMaxAI/MiniMax-M2.5", 23.62, {"tensor_parallel": 4, "max_length_tokens": 196_608}, 399_424),
    ("deepseek-ai/DeepSeek-R1-0528", 41.6, {"tensor_parallel": 8, "max_length_tokens": 8192}, 635_648),
    ("Qwen/Qwen3.5-9B", 15.06, {"tensor_parallel": 2, "max_length_tokens": 4096, "vllm": OLD}, 246_576),
    ("qwen3.5-2b", 5.95, {"max_length_tokens": 262_144, "vllm": OLD}, 129_472),
    ("qwen3-next-80b-a3b", 5.85,
     {"max_length_tokens": 65_536, "max_sequences": 4, "prefix_caching": True}, 242_534),
)  # fmt: skip


@pytest.mark.parametrize(("name", "gib", "settings", "tokens"), LOGGED, ids=[row[0] for row in LOGGED])
def test_the_logged_size_of_a_cache_follows_from_its_memory(
    name: str, gib: float, settings: dict[str, object], tokens: int
) -> None:
    assert with_cache(name, gib, **settings).logged_kv_tokens == pytest.approx(tokens, rel=0.003)


def test_a_window_frees_its_blocks_under_the_hybrid_manager_alone() -> None:
    """vLLM's allocator, run with Gemma 3 27B: 20 GiB hold 131,072 tokens 1.75 times, or 42,272 once."""
    on = with_cache("gemma-3-27b-instruct", 20, max_length_tokens=131_072)
    off = with_cache("gemma-3-27b-instruct", 20, hybrid_manager=False)

    assert on.pool.concurrency(131_072) == pytest.approx(1.75, abs=0.005)
    assert off.length_tokens == 42_272


def test_a_request_that_does_not_fit_is_refused_with_the_length_that_would() -> None:
    """A server with 0.71 GiB of cache for Llama 3.1 8B said that 131,072 tokens need 16.0 GiB."""
    refused = with_cache("meta-llama/Llama-3.1-8B", 0.71, max_length_tokens=131_072)

    assert refused.fault is ServingFault.LENGTH
    assert refused.needed_bytes == 16 * GIB
    assert refused.longest_tokens == 5808


def test_a_latent_cache_is_whole_on_every_rank() -> None:
    alone = with_cache("deepseek-r1-0528", 40, max_length_tokens=8192)
    shared = with_cache("deepseek-r1-0528", 40, max_length_tokens=8192, tensor_parallel=8)

    assert alone.kv_tokens == shared.kv_tokens


def test_fewer_key_heads_than_ranks_are_repeated() -> None:
    two = with_cache("qwen2.5-3b", 4, max_length_tokens=4096, tensor_parallel=2)
    four = with_cache("qwen2.5-3b", 4, max_length_tokens=4096, tensor_parallel=4)

    assert two.kv_tokens == four.kv_tokens


def test_fp8_halves_the_cache() -> None:
    half = with_cache("llama-3.1-8b-instruct", 8, max_length_tokens=4096)
    quarter = with_cache("llama-3.1-8b-instruct", 8, max_length_tokens=4096, kv_dtype="fp8")

    assert quarter.kv_tokens == 2 * half.kv_tokens


def test_a_recurrent_state_takes_one_block_and_two_with_prefix_caching() -> None:
    """Qwen 3.5 9B: blocks of 528 tokens, so that an attention layer's page holds a state."""
    plain = with_cache("qwen3.5-9b", 16, tensor_parallel=2, max_length_tokens=4096)
    cached = with_cache("qwen3.5-9b", 16, tensor_parallel=2, max_length_tokens=4096, prefix_caching=True)

    assert {spec.block_tokens for group in plain.pool.layout.groups for spec in group.specs} == {528}
    assert plain.pool.layout.blocks_of(4096) == 8 + 3
    assert cached.pool.layout.blocks_of(4096) == 8 + 6


def test_layers_that_share_the_cache_of_others_store_nothing() -> None:
    footprint = with_cache("gemma-4-e4b-it", 4, max_length_tokens=8192)

    assert sum(len(group.layers) for group in footprint.pool.layout.groups) == 42 - 18


def test_stages_of_a_pipeline_hold_their_own_layers() -> None:
    """80 layers on 3 stages: the last one, which computes logits too, has the fewest."""
    footprint = with_cache("llama-3.3-70b-instruct", 20, pipeline_parallel=3, max_length_tokens=8192)

    assert [len(rank.stage.layers) for rank in footprint.ranks] == [27, 27, 26]
