"""What a server's ranks hold, what is left for the KV cache, and whether vLLM starts."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache, partial

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.device import (
    context_bytes,
    cublas_workspace_bytes,
)
from kaitoc.compiler.memory.nccl import CHANNELS_NVLINK, CHANNELS_PCIE, CONNECTION_BYTES
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.activations import (
    BatchLimits,
    batch_limits,
    draft_buffers_bytes,
    draft_pass_bytes,
    forward_bytes,
    sampling_bytes,
)
from kaitoc.compiler.memory.serving.encoders import encoder_peak_bytes
from kaitoc.compiler.memory.serving.graphs import GraphMemory, graph_memory
from kaitoc.compiler.memory.serving.lora import slots_bytes
from kaitoc.compiler.memory.serving.pool import (
    CacheLayout,
    KvPool,
    largest_length,
    layout_of,
    layout_on,
    needed_bytes,
    pool_of,
)
from kaitoc.compiler.memory.serving.speculation import Drafter
from kaitoc.compiler.memory.serving.weights import Stage, draft_weights_bytes, stage_weights_bytes, stages_of
from kaitoc.compiler.memory.serving.workload import ServingError, ServingWorkload, require_layout

_WEIGHTS_ERROR = 0.02
"""What loaded weights may exceed their files by, as Kaito's estimator assumes too (`weightExpansionFactor`)."""


class ServingFault(str, Enum):
    """Why a server does not start."""

    UTILIZATION = "utilization"
    NO_CACHE = "no cache"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class RankMemory:
    """What one rank of a stage holds, in bytes.

    `available_bytes` is left for the KV cache, negative where the rest exceeds what is requested; `low_available_bytes`
    and `high_available_bytes` bound it.
    """

    stage: Stage
    layout: CacheLayout
    weights_bytes: int
    draft_bytes: int
    slots_bytes: int
    encoder_bytes: int
    forward_bytes: int
    sampling_bytes: int
    workspace_bytes: int
    graphs: GraphMemory
    requested_bytes: int
    outside_bytes: int
    available_bytes: int
    low_available_bytes: int
    high_available_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Return the peak of the profiling run beside the weights."""
        return max(self.forward_bytes, self.sampling_bytes) + self.workspace_bytes

    @property
    def beside_cache_bytes(self) -> int:
        """Return the bytes that vLLM subtracts from the requested memory before it sizes the KV cache."""
        return self.weights_bytes + self.draft_bytes + self.slots_bytes + self.peak_bytes + (
            self.graphs.bytes if self.graphs.is_counted else 0
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServingFootprint:
    """One replica on its GPUs.

    `ranks` has one entry per stage of the pipeline. `length_tokens` is the context that is served, 0 where the server
    does not start; `longest_tokens` the longest that the KV cache holds, up to the model's. `needed_bytes` is what one
    request of the context asked for takes on the tightest rank.
    """

    workload: ServingWorkload
    gpu: Gpu | None
    limits: BatchLimits
    ranks: tuple[RankMemory, ...]
    pool: KvPool
    length_tokens: int
    longest_tokens: int
    needed_bytes: int
    fault: ServingFault | None
    verdict: Verdict

    @property
    def tightest(self) -> RankMemory:
        """Return the rank with the fewest blocks."""
        return min(self.ranks, key=lambda rank: rank.available_bytes // rank.layout.block_bytes)

    @property
    def kv_tokens(self) -> int:
        """Return the tokens that the KV cache of one replica holds."""
        return self.pool.tokens(self._length)

    @property
    def logged_kv_tokens(self) -> int:
        """Return the tokens that the release's vLLM logs as the size of the KV cache."""
        return self.pool.logged_tokens(self._length)

    @property
    def _length(self) -> int:
        return self.length_tokens or self.workload.length_limit_tokens

    def concurrency(self, length_tokens: int) -> float:
        """Compute the concurrent requests of this length over all replicas."""
        return self.pool.concurrency(length_tokens) * self.workload.data_parallel


@lru_cache(maxsize=4096)
def serving_footprint(workload: ServingWorkload, gpu: Gpu | None, margin: float = 0.0) -> ServingFootprint:
    """Return the footprint of a server on a GPU, and the verdict on it.

    `margin` is the share by which what is beside the KV cache may exceed its estimate before a verdict is "fits".
    Raises `ServingError` for a layout that vLLM refuses, and where neither a GPU nor `kv_cache_bytes` is known.
    """
    require_layout(workload)
    if gpu is None and workload.kv_cache_bytes is None:
        raise ServingError("the KV cache needs a GPU, or its own size (kv-cache-memory-bytes)")
    if workload.length_limit_tokens < 1:
        raise ServingError(f"the context of {workload.model.name} is not known; set max-model-len")
    limits = batch_limits(workload, gpu)
    if min(limits.sequences, limits.tokens, workload.block_tokens) < 1:
        raise ServingError("sequences and tokens per step, and tokens per block, must be at least 1")
    layout = layout_of(workload, limits.tokens)
    stages = stages_of(len(workload.model.layers), workload.pipeline_parallel)
    ranks = tuple(_rank(workload, stage, layout_on(layout, stage), gpu, limits) for stage in stages)
    if any(rank.layout.block_bytes == 0 for rank in ranks):
        raise ServingError(f"a stage of {workload.model.name} has no layer with a KV cache of its own")
    limit = workload.length_limit_tokens
    accepted = _longest_accepted(workload, ranks)
    pool = pool_of(workload, layout, min(rank.available_bytes // rank.layout.block_bytes for rank in ranks))
    fault = _fault(workload, ranks, gpu, accepted)
    tightest = min(ranks, key=lambda rank: rank.available_bytes // rank.layout.block_bytes)
    served = limit if workload.max_length_tokens is not None else accepted
    return ServingFootprint(
        workload=workload,
        gpu=gpu,
        limits=limits,
        ranks=ranks,
        pool=pool,
        length_tokens=served if fault is None else 0,
        longest_tokens=_longest_held(workload, ranks),
        needed_bytes=needed_bytes(workload, tightest.layout, limit),
        fault=fault,
        verdict=_verdict(workload, ranks, fault, gpu, margin),
    )


def _longest_held(workload: ServingWorkload, ranks: tuple[RankMemory, ...]) -> int:
    """Return the longest context that the pool holds, up to what the model can take."""
    limit = max(workload.model.max_length_tokens, workload.length_limit_tokens)
    return min(largest_length(limit, rank.available_bytes, rank.layout.request_bytes) for rank in ranks)


def _longest_accepted(workload: ServingWorkload, ranks: tuple[RankMemory, ...]) -> int:
    """Return the longest context, up to the one asked for, that passes vLLM's check at the start."""
    limit = workload.length_limit_tokens
    return min(
        largest_length(limit, rank.available_bytes, partial(needed_bytes, workload, rank.layout)) for rank in ranks
    )


def _rank(
    workload: ServingWorkload, stage: Stage, layout: CacheLayout, gpu: Gpu | None, limits: BatchLimits
) -> RankMemory:
    weights, slots = stage_weights_bytes(workload, stage), slots_bytes(workload, stage)
    drafts = draft_weights_bytes(workload, stage) + draft_buffers_bytes(workload, stage, limits.tokens)
    drafting = draft_pass_bytes(workload, stage, limits.tokens)
    forward = max(forward_bytes(workload, stage, limits.tokens), drafting)
    sampling = sampling_bytes(workload, limits) if stage.has_head else 0
    encoding = encoder_peak_bytes(workload, limits) if stage.embeds else 0
    workspace = cublas_workspace_bytes(gpu) // 2  # one thread runs forward passes only
    graphs = graph_memory(workload, stage, limits)
    outside = context_bytes(gpu) + _nccl_bytes(workload, gpu)
    counted, most = (graphs.bytes, graphs.high_bytes) if graphs.is_counted else (0, 0)
    peak = max(forward, sampling) + workspace
    requested = -int(-(gpu.memory_bytes * workload.utilization) // 1) if gpu is not None else 0
    if workload.kv_cache_bytes is not None:
        available = low = high = workload.kv_cache_bytes
    else:
        available = requested - weights - drafts - slots - peak - counted
        # Kernels that are loaded while profiling grow the context; the allocator rounds what it hands out.
        low = available - int((weights + drafts) * _WEIGHTS_ERROR) - peak // 4 - context_bytes(gpu) - (most - counted)
        low -= max(0, encoding - peak)
        high = requested - weights - drafts - slots - peak * 3 // 4
    return RankMemory(stage, layout, weights, drafts, slots, encoding, forward, sampling, workspace, graphs, requested,
                      outside, available, low, high)  # fmt: skip


def _nccl_bytes(workload: ServingWorkload, gpu: Gpu | None) -> int:
    if workload.tensor_parallel * workload.pipeline_parallel == 1:
        return 0
    has_nvlink = gpu is None or gpu.nvlink
    return CONNECTION_BYTES * (CHANNELS_NVLINK if has_nvlink else CHANNELS_PCIE)


def _fault(
    workload: ServingWorkload, ranks: tuple[RankMemory, ...], gpu: Gpu | None, longest: int
) -> ServingFault | None:
    """Return why vLLM refuses to start, None where it does start."""
    for rank in ranks:
        if gpu is not None and rank.requested_bytes + rank.outside_bytes > gpu.memory_bytes:
            return ServingFault.UTILIZATION
        if rank.available_bytes <= 0:
            return ServingFault.NO_CACHE
    if longest < (workload.max_length_tokens or 1):
        return ServingFault.LENGTH
    return None


def _verdict(
    workload: ServingWorkload, ranks: tuple[RankMemory, ...], fault: ServingFault | None, gpu: Gpu | None, margin: float
) -> Verdict:
    """Return "fits" where a request of the stated context fits at the low end, "tight" where it may.

    It is tight, too, where graphs that nobody counted do not fit beside what is requested, and where what drafts tokens
    has an unknown size.
    """
    if fault is ServingFault.UTILIZATION:
        return Verdict.DOES_NOT_FIT
    length = workload.max_length_tokens or workload.block_tokens
    speculation = workload.speculation
    is_sure = speculation is None or speculation.drafter is not Drafter.UNKNOWN
    is_possible = True
    for rank in ranks:
        need = needed_bytes(workload, rank.layout, length)
        spare = 0 if workload.kv_cache_bytes is not None else int(rank.beside_cache_bytes * margin)
        is_sure &= need <= rank.low_available_bytes - spare
        is_possible &= need <= rank.high_available_bytes
        uncounted = 0 if rank.graphs.is_counted else rank.graphs.bytes
        if gpu is not None and rank.requested_bytes + rank.outside_bytes + uncounted > gpu.memory_bytes:
            is_sure = False
    if is_sure:
        return Verdict.FITS
    return Verdict.TIGHT if is_possible else Verdict.DOES_NOT_FIT
