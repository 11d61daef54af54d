"""What a device holds beyond live tensors: CUDA context, library workspaces, and the allocator's unused memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaitoc.compiler.memory.workload import Allocator, Workload

if TYPE_CHECKING:
    from kaitoc.compiler.catalog.gpus import Gpu

MIB = 1 << 20
CUBLAS_WORKSPACE_BYTES = 2 * 8_519_680
"""Two cuBLAS workspaces, one for the forward and one for autograd's thread, each 2 x 4096 KiB + 8 x 16 KiB
(`CUDABlas.cpp`, default `:4096:2:16:8`); they are part of what PyTorch reports as allocated."""

CONTEXT_BASE_BYTES = 213 * MIB
STACK_BYTES_PER_THREAD = 1024
THREAD_SLOTS = {"A100": 108 * 2048}


@dataclass(frozen=True, slots=True)
class Reserve:
    """Bytes beyond live tensors. `low_bytes` and `high_bytes` bound fragmentation plus context."""

    fragmentation_bytes: int
    context_bytes: int
    low_bytes: int
    high_bytes: int


def estimate(workload: Workload, gpu: Gpu | None, allocated_bytes: int) -> Reserve:
    """Return what the device holds beyond `allocated_bytes`."""
    share = 0.02 if workload.allocator is Allocator.EXPANDABLE else 0.08
    fragmentation = int(allocated_bytes * share)
    context = CONTEXT_BASE_BYTES + STACK_BYTES_PER_THREAD * THREAD_SLOTS["A100"]
    return Reserve(fragmentation, context, context, 2 * fragmentation + context)
