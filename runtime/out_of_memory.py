"""What to tell a user whose GPU ran out of memory: what took it, and the command that makes the run fit."""

from __future__ import annotations

import torch

from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.plan.plan import Plan

_GIB = 1 << 30
_NUM_NAMED = 3
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device's memory did not suffice; on a CPU PyTorch has no type for it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _CPU_ALLOCATOR in str(error)


def describe_out_of_memory(plan: Plan, footprint: Footprint | None, batch_shape: tuple[int, int] | None) -> str:
    """Return one message: the batch, the largest categories of the predicted peak, and what to run.

    `batch_shape` is (sequences, padded tokens), None before the first batch.
    """
    where = "while the model was loaded" if batch_shape is None else "on a batch of {} x {} tokens".format(*batch_shape)
    lines = [f"out of memory {where}"]
    if footprint is not None:
        lines.append(f"the run needs {footprint.reserved_bytes / _GIB:.1f} GiB, most of it for {_largest(footprint)}")
    manifest = plan.provenance.manifest or "MANIFEST"
    lines.append(f"`kaitoc compile {manifest} --target bundled -o compiled` finds a configuration that fits")
    return "\n".join(lines)


def _largest(footprint: Footprint) -> str:
    peak = footprint.peak.categories
    names = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "workspace")
    sizes = sorted(((getattr(peak, name), name) for name in names), reverse=True)[:_NUM_NAMED]
    return ", ".join(f"{name} ({size / _GIB:.1f} GiB)" for size, name in sizes if size)
