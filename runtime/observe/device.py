"""What the driver tells of a GPU. A measurement ends no run: on MIG, vGPU or unified memory NVML refuses questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from kaitoc.runtime.world import local_rank

_Answer = TypeVar("_Answer")


def held_bytes(device: str) -> int | None:
    """Read the used bytes of this process's GPU from NVML, None on a CPU or when NVML does not report them.

    PyTorch's own numbers leave out the CUDA context. Asked before the GPU is made the current one, which creates that
    context, it is what other processes hold.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return None
    return asked(lambda: int(torch.cuda.device_memory_used(local_rank())))


def device_bytes(device: str, held_by_others: int | None) -> int | None:
    """Return this process's peak on the GPU: the most that PyTorch reserved, and all that is taken beside it now."""
    now = held_bytes(device) if device == "cuda" else None
    if now is None or held_by_others is None:
        return None
    beside = max(0, now - held_by_others - torch.cuda.memory_reserved())
    return torch.cuda.max_memory_reserved() + beside


def utilization_percent() -> float | None:
    """Return the share of the last second in which this process's GPU computed, None where NVML does not tell."""
    if not torch.cuda.is_available():
        return None
    return asked(lambda: float(torch.cuda.utilization(local_rank())))


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, None where NVML does not tell."""

    def ask() -> str:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]  # not installed everywhere

        pynvml.nvmlInit()
        version: Any = pynvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)

    return asked(ask)


def free_and_total_bytes() -> tuple[int, int] | None:
    """Read the current GPU's free and total bytes, None when CUDA does not report them.

    A GPU that shares the machine's memory (GB10, Jetson) could have what the page cache holds too, which CUDA does not
    count as free.
    """
    answer = asked(lambda: tuple(map(int, torch.cuda.mem_get_info())))
    if answer is None:
        return None
    free_bytes, total_bytes = answer
    is_shared = asked(lambda: bool(torch.cuda.get_device_properties(torch.cuda.current_device()).is_integrated))
    available = asked(_available_bytes) if is_shared else None
    return max(free_bytes, available or 0), total_bytes


def asked(question: Callable[[], _Answer]) -> _Answer | None:
    """Return the answer to a question about the device, None where it is refused for whatever reason.

    NVML's errors are plain exceptions, and one of an unknown number is of no class of its own.
    """
    try:
        return question()
    except Exception:
        return None


def _available_bytes() -> int:
    """Return the memory that the machine could give, page cache included (Linux, `/proc/meminfo`)."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("MemAvailable:"))
