"""Chooses the device of a run, and proves before anything is loaded that PyTorch can compute on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import torch

from kaitoc.runtime.failures import FinalFailure, in_words
from kaitoc.runtime.notes import note
from kaitoc.runtime.out_of_memory import is_out_of_memory
from kaitoc.runtime.world import is_main_process, local_rank

_SHOWS_GPUS = re.compile(r"\d|GPU-|MIG-")
"""How a `CUDA_VISIBLE_DEVICES` begins that shows some (torch/cuda/__init__.py, `_parse_visible_devices`)."""
_NVIDIA_SMI_SECONDS = 20


def choose_device(wanted: str) -> str:
    """Return `cuda`, with this process's GPU made the current one, or `cpu`.

    Raises `FinalFailure` when a GPU is asked for and there is none, and when `auto` would leave a GPU unused.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        _take_gpu()
        return "cuda"
    if wanted == "cuda":
        raise FinalFailure(f"PyTorch finds no CUDA GPU: {_reason()}; --device cpu trains without one")
    gpus = _listed_gpus()
    if gpus:
        raise FinalFailure(
            f"PyTorch {torch.__version__} cannot use {', '.join(gpus)}, which nvidia-smi lists: {_reason()}; "
            "--device cpu trains without it"
        )
    return "cpu"


def _take_gpu() -> None:
    """Make this process's GPU the current one; raises `FinalFailure` where it has none of its own."""
    torch.cuda.init()  # before it has started, `device_count` is NVML's, which counts what CUDA may not give
    rank, num_gpus = local_rank(), torch.cuda.device_count()
    if rank >= num_gpus:
        raise FinalFailure(
            f"process {rank + 1} of this machine has no GPU of its own: CUDA gives {num_gpus}, and of GPUs in MIG mode "
            f"only one; set --num-processes to {num_gpus}, or run on more machines with torchrun"
        )
    torch.cuda.set_device(rank)
    try:
        _compute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        _compute_in_fixed_segments(error)


def _compute() -> None:
    """Allocate on the current GPU and run a kernel there."""
    (torch.zeros(1, device="cuda") + 1).item()


def _compute_in_fixed_segments(refused: RuntimeError) -> None:
    """Go without segments that grow where the driver refuses them: vGPU profiles and Jetson lack virtual memory.

    Source: pytorch's `c10/cuda/CUDACachingAllocator.cpp`, ExpandableSegment: any answer of the driver but "out of
    memory" is an error. Raises `FinalFailure` for a GPU that this PyTorch has no kernels for.
    """
    torch._C._accelerator_setAllocatorSettings("expandable_segments:False")
    try:
        _compute()
    except RuntimeError as error:
        if "no kernel image" not in str(error):
            raise refused from None
        major, minor = torch.cuda.get_device_capability()
        raise FinalFailure(
            f"PyTorch {torch.__version__} has no kernels for {torch.cuda.get_device_name()} (sm_{major}{minor}), only "
            f"for {', '.join(torch.cuda.get_arch_list())}; --device cpu trains without it"
        ) from error
    if is_main_process():
        note("memory: the driver refuses expandable segments, so they are off")


def _reason() -> str:
    """Return why CUDA does not start, in PyTorch's words."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the second says that PyTorch was built without CUDA
        return in_words(error)
    return "it counts none"


def _listed_gpus() -> list[str]:
    """Return the names of the GPUs that `nvidia-smi` lists, none where the environment hides them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    program = shutil.which("nvidia-smi")
    if program is None or (visible is not None and not _SHOWS_GPUS.match(visible.strip())):
        return []
    try:
        listed = subprocess.run(  # noqa: S603
            [program, "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU \d+: (.+?)(?: \(UUID: .*)?$", listed, re.MULTILINE)
