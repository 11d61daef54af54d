"""Which of several processes is this one, and which devices it sees."""

from __future__ import annotations

import gc
import os

_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Two names for one setting: PyTorch calls it the second since 2.9 and reads both."""


def grow_segments() -> None:
    """Have PyTorch's CUDA allocator grow its segments, which fragment less, unless the user configured it.

    It reads the variable when CUDA starts, so this comes before anything that asks for GPUs.
    """
    if not any(name in os.environ for name in _ALLOCATOR):
        os.environ[_ALLOCATOR[0]] = "expandable_segments:True"


def is_main_process() -> bool:
    """Return whether this process is the one that writes files and talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def num_gpus(device: str) -> int:
    """Return how many processes a machine is for: one per GPU that is visible, one on a CPU."""
    if device == "cpu":
        return 1
    grow_segments()
    import torch

    return max(1, torch.cuda.device_count())


def free_memory() -> None:
    """Give back what a run that failed in this process holds, and forget its peak.

    A trainer's cycles keep its model until they are collected.
    """
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
