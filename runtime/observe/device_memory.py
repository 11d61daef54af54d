"""What a process takes of its GPU, as the driver counts it: PyTorch's own numbers leave out the CUDA context."""

from __future__ import annotations

import os

import torch


def held_bytes(device: str) -> int | None:
    """Return what is taken of the current GPU by NVML's count, None on a CPU or where NVML is not there.

    Asked before CUDA starts, it is what other processes hold; so the GPU is named, for asking which is current starts
    CUDA.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return None
    try:
        return int(torch.cuda.device_memory_used(int(os.environ.get("LOCAL_RANK", "0"))))
    except Exception:  # no pynvml, no NVML, MIG, vGPU: NVMLError is a plain Exception, and a measurement ends no run
        return None


def device_bytes(device: str, held_by_others: int | None) -> int | None:
    """Return this process's peak on the GPU: the most that PyTorch reserved, and all that is taken beside it now."""
    now = held_bytes(device) if device == "cuda" else None
    if now is None or held_by_others is None:
        return None
    beside = max(0, now - held_by_others - torch.cuda.memory_reserved())
    return torch.cuda.max_memory_reserved() + beside
