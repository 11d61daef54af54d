"""What to tell a user whose GPU ran out of memory: what took it, and the command that makes the run fit."""

from __future__ import annotations

import errno
import re

import torch

from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.plan.plan import Plan

_NUM_NAMED = 3
_SPELLINGS = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|unable to mmap .*Cannot allocate memory"
    r"|CUDA (error: |driver error: )?out of memory"
    r"|Triton Error \[CUDA\]: out of memory"
    r"|cudaErrorMemoryAllocation|(CUDA|NVRTC)_ERROR_OUT_OF_MEMORY"
    r"|CU(BLAS|SOLVER|SPARSE)_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED|CURAND_STATUS_ALLOCATION_FAILED"
    r"|CUDNN_STATUS_(INTERNAL_ERROR_(HOST|DEVICE)_ALLOCATION_FAILED|ALLOC_FAILED)"
    r"|Cuda failure (2 )?'out of memory'",
    re.IGNORECASE,
)
"""How libraries say it that have no type of their own for it.

Sources: PyTorch's `c10/core/impl/alloc_cpu.cpp`, `c10/cuda/CUDAException.cpp` (an AcceleratorError),
`c10/cuda/driver_api.h` (expandable segments), `aten/src/ATen/cuda/Exceptions.cpp` (cuBLAS, cuSOLVER, cuSPARSE),
`aten/src/ATen/MapAllocator.cpp`, the driver's and NVRTC's names of their errors (`cuda.h`, `nvrtc.h`),
Triton's `third_party/nvidia/backend/driver.c`, which allocates beside PyTorch, cuDNN's `cudnn_graph.h`, NCCL's
`src/include/checks.h`.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device's memory does not suffice, also one that caused another error."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, (torch.OutOfMemoryError, MemoryError)) or _SPELLINGS.search(str(current)):
            return True
        if isinstance(current, OSError) and current.errno == errno.ENOMEM:
            return True
        seen.add(id(current))
        current = current.__cause__
    return False


def describe_out_of_memory(plan: Plan, footprint: Footprint | None, batch_shape: tuple[int, int] | None) -> str:
    """Return one message: the batch, the largest categories of the predicted peak, and what to run.

    `batch_shape` is (sequences, padded tokens), None before the first batch.
    """
    where = "while the model was loaded" if batch_shape is None else "on a batch of {} x {} tokens".format(*batch_shape)
    lines = [f"out of memory {where}"]
    if footprint is not None:
        lines.append(f"the run needs {format_gib(footprint.reserved_bytes)}, most of it for {_largest(footprint)}")
    manifest = plan.provenance.manifest or "MANIFEST"
    lines.append(f"`kaitoc compile {manifest} --target bundled -o compiled` finds a configuration that fits")
    return "\n".join(lines)


def _largest(footprint: Footprint) -> str:
    sizes = sorted(((size, category.value) for category, size in footprint.peak.categories.items()), reverse=True)
    return ", ".join(f"{name} ({format_gib(size)})" for size, name in sizes[:_NUM_NAMED] if size)
