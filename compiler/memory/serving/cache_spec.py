"""The KV cache of one layer on one rank: bytes per block and what one request takes (vllm/v1/kv_cache_interface.py)."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.serving.shape import CacheKind, LayerCache, StateShape
from kaitoc.compiler.memory.serving.workload import ServingError, ServingWorkload

_HALF_BYTES = 2
_ELEMENT_BYTES = {"auto": _HALF_BYTES, "bfloat16": _HALF_BYTES, "float16": _HALF_BYTES, "half": _HALF_BYTES}
_ONE_BYTE_PREFIXES = ("fp8", "int8")
_SPARSE_LATENT_BYTES = 656
"""A token of DeepSeek V3.2's latent cache in `fp8_ds_mla` (`MLAAttentionSpec.real_page_size_bytes`)."""
_SCALE_BYTES = 4
_LATENT_BLOCK_TOKENS = 64
"""Blocks of the latent attention kernels (FlashMLA; `get_supported_kernel_block_sizes`)."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """What a layer's cache takes: pages of `page_bytes` for `block_tokens` each.

    `state_pages` is how many pages a request's recurrent state takes, 0 for one in each block.
    """

    kind: CacheKind
    block_tokens: int
    page_bytes: int
    window_tokens: int = 0
    state_pages: int = 0

    def pages(self, length_tokens: int, max_batched_tokens: int) -> int:
        """Return the pages that a request of a length takes at most (`max_memory_usage_bytes`).

        A window may begin inside a block, hence one page more; chunks of a prompt are held beside it.
        """
        if self.kind is CacheKind.STATE and self.state_pages:
            return self.state_pages
        tokens = length_tokens
        if self.kind is CacheKind.SLIDING:
            tokens = min(self.window_tokens - 1 + max_batched_tokens, length_tokens)
        elif self.kind is CacheKind.CHUNKED:
            tokens = min(self.window_tokens + max_batched_tokens, length_tokens)
        return -(-tokens // self.block_tokens) + (self.kind is CacheKind.SLIDING)


def specs_of(workload: ServingWorkload) -> tuple[tuple[int, CacheSpec], ...]:
    """Return the caches of a model with the index of the layer that each belongs to."""
    model = workload.model
    block = _block_tokens(workload)
    found: list[tuple[int, CacheSpec]] = []
    for index, layer in enumerate((*model.layers, *workload.draft_layers)):
        cache = layer.cache
        if cache.kind is CacheKind.NONE:
            continue
        if cache.state is not None:
            page = _padded_state_bytes(workload, cache.state, block)
            pages = _state_pages(workload)
            found.append((index, CacheSpec(CacheKind.STATE, block, page, state_pages=pages)))
            continue
        page = block * token_bytes(workload, cache)
        kind = cache.kind
        if kind in (CacheKind.SLIDING, CacheKind.CHUNKED) and not _keeps_windows(workload):
            kind = CacheKind.FULL
        window = cache.window_tokens if kind is not CacheKind.FULL else 0
        found.append((index, CacheSpec(kind, block, page, window)))
        if cache.index_bytes:
            found.append((index, CacheSpec(CacheKind.MLA, block, block * cache.index_bytes)))
    return tuple(found)


def _state_pages(workload: ServingWorkload) -> int:
    """Return the pages of a request's state: one, beside one for each drafted token that may be taken back."""
    if not workload.prefix_caching:
        return 1 + workload.num_drafted_tokens
    return 2 + workload.num_drafted_tokens if workload.has(LibraryChange.ALIGNED_STATES) else 0


def _keeps_windows(workload: ServingWorkload) -> bool:
    """Return whether windows free their blocks: under the hybrid manager, or where every layer has the same window."""
    return workload.hybrid_manager or not workload.model.has_windows


def token_bytes(workload: ServingWorkload, cache: LayerCache) -> int:
    """Return the bytes of a token in a layer's cache on one rank; a latent cache is on every rank in full."""
    element = _element_bytes(workload.kv_dtype)
    scale = 2 * _SCALE_BYTES if workload.kv_dtype.endswith("_per_token_head") else 0
    if cache.kind is CacheKind.MLA:
        if cache.index_bytes and workload.kv_dtype.startswith("fp8"):
            return _SPARSE_LATENT_BYTES
        return int(cache.key_dim * element)
    heads = max(1, cache.num_kv_heads // workload.tensor_parallel)
    return int(heads * ((cache.key_dim + cache.value_dim) * element + scale))


def read_bytes(workload: ServingWorkload, cache: LayerCache, context_tokens: int) -> int:
    """Count the cache bytes that one rank reads in a layer for the next token; a state is also written."""
    if cache.state is not None:
        return 2 * _state_bytes(workload, cache.state)
    if cache.kind is CacheKind.NONE:
        return 0
    return token_bytes(workload, cache) * seen_tokens(cache, context_tokens)


def seen_tokens(cache: LayerCache, context_tokens: int) -> int:
    """Count the context tokens a layer attends to, 0 for a layer without attention."""
    if cache.state is not None or cache.kind is CacheKind.NONE:
        return 0
    return min(context_tokens, cache.window_tokens) if cache.window_tokens else context_tokens


def _element_bytes(kv_dtype: str) -> float:
    if kv_dtype in _ELEMENT_BYTES:
        return _ELEMENT_BYTES[kv_dtype]
    if kv_dtype.startswith(_ONE_BYTE_PREFIXES):
        return 1
    if kv_dtype.startswith("int4"):
        return 0.5
    if kv_dtype == "nvfp4":
        return 0.5 + 1 / 16
    raise ServingError(f"the KV cache type `{kv_dtype}` is not modelled")


def _block_tokens(workload: ServingWorkload) -> int:
    """Return the tokens of a block.

    Of a hybrid model the block is enlarged until the page of an attention layer holds a recurrent state
    (`_align_hybrid_block_size` in vllm/platforms/interface.py; before it, `HybridAttentionMambaModelConfig`).
    """
    model = workload.model
    is_latent = any(layer.cache.kind is CacheKind.MLA for layer in model.layers)
    block = max(workload.block_tokens, _LATENT_BLOCK_TOKENS) if is_latent else workload.block_tokens
    attention = [layer.cache for layer in model.layers if layer.cache.state is None and layer.cache.key_dim]
    if not model.is_hybrid or not attention:
        return block
    per_token = token_bytes(workload, attention[0])
    state = max(_state_bytes(workload, layer.cache.state) for layer in model.layers if layer.cache.state is not None)
    return max(block, block * -(-state // (block * per_token)))


def _padded_state_bytes(workload: ServingWorkload, state: StateShape, block_tokens: int) -> int:
    """Return the page of a recurrent state, padded to that of an attention layer."""
    attention = [layer.cache for layer in workload.model.layers if layer.cache.state is None and layer.cache.key_dim]
    page = block_tokens * token_bytes(workload, attention[0]) if attention else 0
    return max(page, _state_bytes(workload, state))


def _state_bytes(workload: ServingWorkload, state: StateShape) -> int:
    """Return the recurrent state of a request in one layer on one rank (`MambaStateShapeCalculator`)."""
    ranks = workload.tensor_parallel
    groups = state.num_groups
    if groups % ranks:
        groups += ranks - groups
    features = (state.conv_features + groups * state.group_features) // ranks
    conv = features * (state.conv_tokens + workload.num_drafted_tokens) * _HALF_BYTES
    return conv + state.num_heads // ranks * state.head_elements * (state.state_element_bytes or _HALF_BYTES)


def unified(specs: tuple[tuple[int, CacheSpec], ...]) -> tuple[tuple[int, CacheSpec], ...]:
    """Return caches with pages of one size: smaller ones take more tokens, or are padded where that does not come out
    (`unify_kv_cache_spec_page_size`).
    """
    largest = max(spec.page_bytes for _, spec in specs)
    found = []
    for index, spec in specs:
        ratio, rest = divmod(largest, spec.page_bytes)
        tokens = spec.block_tokens if rest else spec.block_tokens * ratio
        found.append((index, replace(spec, page_bytes=largest, block_tokens=tokens)))
    return tuple(found)
