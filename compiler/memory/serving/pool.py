"""The pool of KV blocks: how layers share it and what it holds (vllm/v1/core/kv_cache_utils.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.serving.cache_spec import CacheSpec, specs_of, unified
from kaitoc.compiler.memory.serving.shape import CacheKind
from kaitoc.compiler.memory.serving.weights import Stage
from kaitoc.compiler.memory.serving.workload import ServingWorkload

_WINDOWED = (CacheKind.SLIDING, CacheKind.CHUNKED)


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers with one block table: their indexes and, in the same order, their caches."""

    layers: tuple[int, ...]
    specs: tuple[CacheSpec, ...]

    def pages(self, length_tokens: int, max_batched_tokens: int) -> int:
        """Return the blocks that a request takes of this group."""
        return max(spec.pages(length_tokens, max_batched_tokens) for spec in set(self.specs))

    def on(self, stage: Stage) -> CacheGroup:
        """Restrict the group to the layers of a pipeline stage; requests take its blocks there even without layers."""
        kept = [(index, spec) for index, spec in zip(self.layers, self.specs, strict=True) if stage.holds(index)]
        return CacheGroup(tuple(index for index, _ in kept), tuple(spec for _, spec in kept) or self.specs[:1])


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """How a server's layers share the pool of one rank.

    `is_shared` says that layers of several groups share the pool's slots, of which there are as many as the largest
    group has layers.
    """

    groups: tuple[CacheGroup, ...]
    max_batched_tokens: int

    @property
    def is_shared(self) -> bool:
        """Return whether several groups share the pool."""
        return len(self.groups) > 1

    @property
    def block_bytes(self) -> int:
        """Return the bytes of one block over all layers that share it."""
        if not self.is_shared:
            return sum(spec.page_bytes for spec in self.groups[0].specs) if self.groups[0].layers else 0
        size = max(len(group.layers) for group in self.groups)
        page = max(spec.page_bytes for group in self.groups for spec in group.specs)
        return size * page

    def blocks_of(self, length_tokens: int) -> int:
        """Return the blocks that one request of a length takes of the pool."""
        return sum(group.pages(length_tokens, self.max_batched_tokens) for group in self.groups)

    def request_bytes(self, length_tokens: int) -> int:
        """Return the memory that one request of a length takes at most."""
        return self.block_bytes * self.blocks_of(length_tokens)

    def layer_bytes(self, length_tokens: int) -> int:
        """Return the same summed layer by layer, as vLLM checked it before it did so by groups."""
        tokens = self.max_batched_tokens
        specs = [spec for group in self.groups if group.layers for spec in group.specs]
        return sum(spec.pages(length_tokens, tokens) * spec.page_bytes for spec in specs)


def layout_of(workload: ServingWorkload, max_batched_tokens: int) -> CacheLayout:
    """Group all layers of a model into one pool (vLLM's `get_kv_cache_groups`)."""
    specs = specs_of(workload)
    kinds = {spec.kind for _, spec in specs}
    windows = {spec.window_tokens for _, spec in specs}
    if (len(kinds) <= 1 and len(windows) <= 1) or kinds <= {CacheKind.FULL, CacheKind.MLA}:
        return CacheLayout((_group(specs),), max_batched_tokens)
    return CacheLayout(_groups(unified(specs), _padding_ratio(workload)), max_batched_tokens)


def layout_on(layout: CacheLayout, stage: Stage) -> CacheLayout:
    """Return the layout of a rank of a pipeline stage."""
    return CacheLayout(tuple(group.on(stage) for group in layout.groups), layout.max_batched_tokens)


def _padding_ratio(workload: ServingWorkload) -> float:
    """Return up to what ratio the largest set of equal layers makes the size of groups, not the smallest."""
    return 1.5 if workload.has(LibraryChange.WIDER_GROUP_PADDING) else 1.25


def _groups(specs: Sequence[tuple[int, CacheSpec]], ratio: float) -> tuple[CacheGroup, ...]:
    """Return groups of equal layers (`_get_kv_cache_groups_uniform_page_size`).

    A group has as many layers as the smallest set of equal ones, or the largest where they differ little.
    """
    sets: dict[CacheSpec, list[int]] = {}
    for index, spec in specs:
        sets.setdefault(spec, []).append(index)
    sizes = [len(indexes) for indexes in sets.values()]
    size = max(sizes) if max(sizes) < min(sizes) * ratio else min(sizes)
    found = []
    for spec, indexes in sets.items():
        num_groups = -(-len(indexes) // size)
        for start in range(num_groups):
            layers = tuple(indexes[start::num_groups])
            found.append(CacheGroup(layers, (spec,) * len(layers)))
    return tuple(found)


def _group(specs: Sequence[tuple[int, CacheSpec]]) -> CacheGroup:
    return CacheGroup(tuple(index for index, _ in specs), tuple(spec for _, spec in specs))


@dataclass(frozen=True, slots=True)
class KvPool:
    """The KV cache of a replica.

    `num_blocks` is that of the smallest rank. `layout` is that of the whole model: requests take the same blocks on
    every stage.
    """

    layout: CacheLayout
    num_blocks: int
    reports_by_requests: bool

    def concurrency(self, length_tokens: int) -> float:
        """Compute the concurrent requests of this length (vLLM's `get_max_concurrency_for_kv_cache_config`)."""
        return self.num_blocks / self.layout.blocks_of(length_tokens)

    def tokens(self, length_tokens: int) -> int:
        """Return the tokens that requests of a length hold at once, the capacity."""
        return int(self.concurrency(length_tokens) * length_tokens)

    def logged_tokens(self, length_tokens: int) -> int:
        """Return the tokens that the server logs as "GPU KV cache size".

        Up to vLLM 0.17 that is the blocks of one group, too few for a model with several.
        """
        if self.reports_by_requests:
            return self.tokens(length_tokens)
        block = min(spec.block_tokens for group in self.layout.groups for spec in group.specs)
        return self.num_blocks // len(self.layout.groups) * block


def pool_of(workload: ServingWorkload, layout: CacheLayout, num_blocks: int) -> KvPool:
    """Return the pool of a number of blocks."""
    return KvPool(layout, max(0, num_blocks), workload.has(LibraryChange.CAPACITY_BY_REQUESTS))


def needed_bytes(workload: ServingWorkload, layout: CacheLayout, length_tokens: int) -> int:
    """Return the bytes that vLLM demands for one request of a length (`_check_enough_kv_cache_memory`)."""
    if workload.has(LibraryChange.LENGTH_BY_LAYERS):
        return layout.layer_bytes(length_tokens)
    if workload.has(LibraryChange.LENGTH_BY_FIRST_GROUP):
        return layout.block_bytes * layout.groups[0].pages(length_tokens, layout.max_batched_tokens)
    return layout.request_bytes(length_tokens)


def largest_length(limit_tokens: int, available_bytes: int, need: Callable[[int], int]) -> int:
    """Return the longest context up to a limit that the memory holds, 0 for none (`estimate_max_model_len`)."""
    low, high = 0, limit_tokens
    while low < high:
        middle = (low + high + 1) // 2
        if need(middle) <= available_bytes:
            low = middle
        else:
            high = middle - 1
    return low
