"""What to tell a user whose GPU ran out of memory: what took it, and the command that makes the run fit."""

from __future__ import annotations

from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.plan import Plan

_GIB = 1 << 30
_NUM_NAMED = 3


def describe_out_of_memory(plan: Plan, footprint: Footprint | None, batch_shape: tuple[int, int]) -> str:
    """Return one message: the batch, the largest categories of the predicted peak, and what to run."""
    batch_size, seq_len_tokens = batch_shape
    lines = [f"out of memory on a batch of {batch_size} x {seq_len_tokens} tokens"]
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
