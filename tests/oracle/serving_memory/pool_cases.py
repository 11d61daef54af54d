"""The KV caches that vLLM's allocator is asked about: models of every layout, with seeded memory and settings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.serving.cache_spec import token_bytes
from kaitoc.compiler.memory.serving.footprint import serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.pool import layout_of
from kaitoc.compiler.memory.serving.shape import CacheKind
from kaitoc.compiler.memory.serving.weights import stages_of
from kaitoc.compiler.memory.serving.workload import ServingError, ServingWorkload

_Json = dict[str, Any]
MODELS = ("llama-3.1-8b-instruct", "qwen2.5-3b", "mistral-7b-v0.1", "gemma-3-27b-instruct", "gemma-2-9b",
          "gemma-4-31b-it", "gpt-oss-20b", "deepseek-r1-0528", "deepseek-v3.2", "qwen3.5-9b", "qwen3-next-80b-a3b",
          "nemotron-3-nano-30b-a3b", "gemma-4-e4b-it")  # fmt: skip
UNDIVIDED = ("qwen3.5-9b", "qwen3-next-80b-a3b", "nemotron-3-nano-30b-a3b", "deepseek-v3.2")
"""Models that the cases do not put on several stages, among which vLLM before 0.17 does not divide V3.2's caches."""
NUM_CASES = 260
BATCHED = (2048, 8192)


def workloads(vllm: str) -> Iterator[ServingWorkload]:
    """Yield seeded workloads with a KV cache of stated size."""
    drawn = random.Random(11)
    for number in range(NUM_CASES):
        model = served_model(MODELS[number % len(MODELS)])
        assert model is not None
        is_recurrent = model.is_hybrid
        length = drawn.choice([None, 1000, 4096, 8192, 30_001, 131_072])
        yield ServingWorkload(
            model,
            vllm,
            tensor_parallel=drawn.choice([1, 2]),
            pipeline_parallel=drawn.choice([1, 1, 2, 3] if model.name not in UNDIVIDED else [1]),
            max_length_tokens=length,
            max_batched_tokens=drawn.choice(BATCHED),
            kv_dtype=drawn.choice(["auto", "auto", "fp8"]),
            hybrid_manager=is_recurrent or drawn.random() < 0.6,
            prefix_caching=is_recurrent and drawn.random() < 0.5,
            kv_cache_bytes=int(drawn.uniform(0.02, 24) * GIB),
        )


def case_of(workload: ServingWorkload) -> _Json:
    """Return a workload as vLLM's allocator is asked about it: every layer by itself, before groups are made."""
    tokens = workload.max_batched_tokens or BATCHED[0]
    plain = replace(workload, hybrid_manager=True)
    layout = layout_of(plain, tokens)
    block = min(spec.block_tokens for group in layout.groups for spec in group.specs)
    layers: list[tuple[int, _Json]] = []
    for index, layer in enumerate(workload.model.layers):
        cache = layer.cache
        if cache.kind is CacheKind.NONE:
            continue
        if cache.state is not None:
            page = layout.groups[0].specs[0].page_bytes  # states are padded to the page of attention
            size = block if workload.prefix_caching else workload.length_limit_tokens
            layers.append((index, {"kind": "state", "block": size, "elements": 1, "page": page}))
            continue
        element = 1 if workload.kv_dtype == "fp8" else 2
        heads = max(1, cache.num_kv_heads // workload.tensor_parallel)
        entry = {"kind": "full", "block": block, "heads": heads, "dim": cache.key_dim, "element_bytes": element}
        if cache.kind is CacheKind.SLIDING:
            entry |= {"kind": "sliding", "window": cache.window_tokens}
        if cache.kind is CacheKind.MLA:
            entry |= {
                "kind": "mla",
                "heads": 1,
                "dim": token_bytes(workload, cache),
                "element_bytes": 1,
                "name": "auto",
            }
        layers.append((index, entry))
        if cache.index_bytes:
            layers.append((index, entry | {"dim": cache.index_bytes, "name": None}))
    stages = stages_of(len(workload.model.layers), workload.pipeline_parallel)
    return {
        "layers": layers,
        "stages": [len(stage.layers) for stage in stages],
        "available": workload.kv_cache_bytes,
        "length": workload.length_limit_tokens,
        "auto": workload.max_length_tokens is None,
        "batched": tokens,
        "hybrid": workload.hybrid_manager,
        "states": "align" if workload.prefix_caching else "none",
    }


def predicted(workload: ServingWorkload) -> _Json:
    """Return what kaitoc says in the shape of the recording; lengths that fit are not those that vLLM refuses."""
    try:
        footprint = serving_footprint(workload, None)
    except ServingError as error:
        return {"crashed": str(error)}
    if footprint.fault is not None:
        return {"refused": footprint.longest_tokens}
    return {
        "blocks": footprint.pool.num_blocks,
        "length": footprint.length_tokens,
        "concurrency": round(footprint.pool.concurrency(footprint.length_tokens), 6),
    }
