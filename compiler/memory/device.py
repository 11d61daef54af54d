"""What a device holds beyond live tensors: CUDA context, library workspaces, and the allocator's unused memory."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.gpus import AMPERE, HOPPER, Gpu, all_gpus, context_reports
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.workload import Attention, Kernels, Workload, WorkloadError

DEFAULT_MODEL = "NVIDIA A100"

CUBLAS_WORKSPACE_BYTES = 2 * 8_519_680
"""Two cuBLAS workspaces through PyTorch's allocator, for the forward thread and for autograd's, of 2 * 4096 KiB +
8 * 16 KiB each (`aten/src/ATen/cuda/CublasHandlePool.cpp`, default `:4096:2:16:8`)."""

CUBLAS_WORKSPACE_HOPPER_BYTES = 2 * 32 * MIB
"""The same on compute capability 9.0, where the default is `:4096:8`."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Bytes beyond live tensors. `low_bytes` and `high_bytes` bound fragmentation plus context."""

    fragmentation_bytes: int
    context_bytes: int
    low_bytes: int
    high_bytes: int


def estimate(workload: Workload, gpu: Gpu | None, allocated_bytes: int, fragmentation_bytes: int) -> Reserve:
    """Return the bytes that the device holds beyond `allocated_bytes`, with bounds.

    On a full device PyTorch gives unused segments back and tries again (`release_cached_blocks`), so fragmentation does
    not exceed what the GPU has left. The low bound takes the allocator to be perfect; the high one adds what a replay
    of the model's step cannot see, allocations of the loop around it and memory cached since loading: a third of the
    fragmentation again and 2 % of what is allocated. Of several processes that share a model another one's context can
    be on the GPU too: libraries that ask before a process has chosen its device start one on the first
    (https://github.com/pytorch/pytorch/issues/135279); and NCCL may take all its channels, by what it finds between
    the GPUs. So it may with whole copies where nothing is known of what links them.
    """
    own_context = context_bytes(gpu)
    context = own_context + nccl_bytes(workload, gpu)
    high = fragmentation_bytes * 4 // 3 + allocated_bytes // 50 + context * 5 // 4
    if workload.sharding.is_sharded:
        high += own_context + _most_nccl_bytes(workload, gpu) - (context - own_context)
    elif workload.num_gpus > 1 and not knows_links(gpu):
        high += _most_nccl_bytes(workload, gpu) - (context - own_context)
    if gpu is not None:
        left = max(0, gpu.memory_bytes - context - allocated_bytes)
        fragmentation_bytes = min(fragmentation_bytes, left)
    return Reserve(fragmentation_bytes, context, context * 3 // 4, high)


def as_run_on(workload: Workload, gpu: Gpu | None) -> Workload:
    """Return a workload as a GPU runs it; raises `WorkloadError` for an attention kernel that the GPU lacks.

    Before Ampere PyTorch falls back to attention kernels of another kind (`sdp_utils.cpp`), and the flash-attention
    package refuses to run.
    """
    if gpu is None or gpu.compute_capability >= AMPERE:
        return workload
    if workload.attention is Attention.FLASH:
        raise WorkloadError(
            f"flash attention needs an Ampere or later GPU, which {gpu.name} is not; use `sdpa` or `eager`"
        )
    return replace(workload, kernels=Kernels.BEFORE_AMPERE)


def context_bytes(gpu: Gpu | None) -> int:
    """Return the size of a CUDA context with PyTorch's libraries loaded; an A100's where the GPU is not known.

    It is the median of what runs on such a GPU reported (`context_reports` in `gpus.json`). Where none did, it is the
    GPU's resident threads times the median share of one thread: a context is mostly local memory, which the driver
    holds for every thread the device can run at once, for the greediest kernel so far.
    """
    reported = _reported_contexts()
    model = gpu.model if gpu is not None else DEFAULT_MODEL
    if gpu is None or model in reported:
        return reported[model]
    return int(_bytes_per_thread() * gpu.resident_threads)


def cublas_workspace_bytes(gpu: Gpu | None) -> int:
    """Return the bytes that cuBLAS takes through PyTorch's allocator."""
    is_hopper = gpu is not None and gpu.compute_capability >= HOPPER
    return CUBLAS_WORKSPACE_HOPPER_BYTES if is_hopper else CUBLAS_WORKSPACE_BYTES


def knows_links(gpu: Gpu | None) -> bool:
    """Return whether it is known what links GPUs of a kind: not of one that is stated by its memory alone."""
    return gpu is not None and bool(gpu.model)


def nccl_bytes(workload: Workload, gpu: Gpu | None) -> int:
    """Return the bytes of NCCL's buffers, of which one GPU has none."""
    if workload.num_gpus == 1:
        return 0
    from kaitoc.compiler.memory import nccl  # for few jobs

    return nccl.buffer_bytes(workload, gpu)


def _most_nccl_bytes(workload: Workload, gpu: Gpu | None) -> int:
    from kaitoc.compiler.memory import nccl  # for few jobs

    return nccl.buffer_bytes(workload, gpu, nccl.MAX_CHANNELS)


@lru_cache(maxsize=1)
def _reported_contexts() -> dict[str, int]:
    """Return the median of the reported contexts by GPU model, in bytes."""
    context_bytes: dict[str, list[float]] = {}
    for report in context_reports():
        other_mib = 1024 * (report.in_use_gib - report.allocated_gib) - report.unallocated_mib
        context_bytes.setdefault(report.model, []).append(other_mib * MIB)
    return {model: int(_median(sizes)) for model, sizes in context_bytes.items()}


@lru_cache(maxsize=1)
def _bytes_per_thread() -> float:
    """Return the median share of one resident thread in the reported contexts."""
    threads = {gpu.model: gpu.resident_threads for gpu in all_gpus()}
    return _median([size / threads[model] for model, size in _reported_contexts().items()])


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
