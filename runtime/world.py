"""Which of several processes is this one, and which devices it sees."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import NoReturn

from kaitoc.runtime.failures import FinalFailure

_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Two names for one setting: PyTorch calls it the second since 2.9 and reads both."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def grow_segments() -> None:
    """Have PyTorch's CUDA allocator grow its segments, which fragment less, unless the user configured it.

    It reads the variable when CUDA starts, so this comes before anything that asks for GPUs.
    """
    if not any(name in os.environ for name in _ALLOCATOR):
        os.environ[_ALLOCATOR[0]] = "expandable_segments:True"


def is_launched() -> bool:
    """Return whether a launcher started this process as one of several.

    `RANK` and `WORLD_SIZE` do not say so: Kubeflow's PyTorchJob gives them to a pod, whatever number of GPUs it has.
    """
    return "LOCAL_RANK" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Return whether this process is the one that writes files and talks to the user."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def local_rank() -> int:
    """Return this process's number on its machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


def num_nodes() -> int | None:
    """Count the machines of a launcher's processes, None when unknown or unevenly divided."""
    size, on_this = _number("WORLD_SIZE", 1), _number("LOCAL_WORLD_SIZE", 0)
    return size // on_this if is_launched() and on_this > 0 and size % on_this == 0 else None


def require_world(num_processes: int) -> None:
    """Raise `FinalFailure` where the environment tells of another number of processes than the plan's.

    A pod that nothing launched may have `WORLD_SIZE` of a job that is this pod alone: its processes are started here.
    """
    size = _number("WORLD_SIZE", 1)
    if is_launched():
        if size != num_processes:
            raise FinalFailure(
                f"the plan is for {num_processes} processes, but WORLD_SIZE is {size}: set `num_processes` to {size}, "
                f"or start {num_processes}"
            )
        return
    is_alone = size == 1 or (size == num_processes and os.environ.get("RANK", "0") == "0")
    if not is_alone:
        raise FinalFailure(
            f"WORLD_SIZE is {size}, but no launcher started this process, which could train only alone; start a run of "
            "several machines by `torchrun -m kaitoc.runtime PLAN.json` on each"
        )


def default_num_processes(device: str) -> int:
    """Count the training processes on this machine: the launcher's, else one per usable GPU."""
    if is_launched():
        return _number("WORLD_SIZE", 1)
    if device == "cpu":
        return 1
    grow_segments()
    import torch

    # NVML, which `device_count` asks, also counts the GPUs of a driver that is too old.
    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else 1


def hide_other_gpus() -> None:
    """Let a process that trains alone see one GPU: transformers spreads its batches over all that it sees.

    CUDA reads the variable when it starts; with CUDA running already, `training_arguments` tells transformers of one.
    """
    import torch

    if is_launched() or torch.cuda.is_initialized() or torch.cuda.device_count() <= 1:
        return
    visible = os.environ.get(_VISIBLE)
    os.environ[_VISIBLE] = visible.split(",")[0] if visible is not None else "0"


def leave_others() -> None:
    """Part from the other processes, all at once, before the main process goes on alone to save.

    NCCL waits for all processes when one tears its connections down.
    """
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End this process with a code; one of several ends without the interpreter's finalization.

    gloo's threads outlive the last collective. One that lets go of a tensor while the interpreter is finalized asks for
    its lock, is ended inside a destructor, and aborts the process ("terminate called without an active exception").
    """
    if not is_launched():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _number(name: str, otherwise: int) -> int:
    """Return a variable that a launcher sets; raises `FinalFailure` for one that is not a number."""
    stated = os.environ.get(name)
    if stated is None:
        return otherwise
    try:
        return int(stated)
    except ValueError as error:
        raise FinalFailure(f"{name} must be a number, not {stated!r}") from error


def free_memory() -> None:
    """Give back what a run that failed in this process holds, and forget its peak.

    A trainer's cycles keep its model until they are collected.
    """
    gc.collect()
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
