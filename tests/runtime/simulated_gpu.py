"""CUDA and NVML as PyTorch asks them, for a machine that has neither: what they answer, refuse and get wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040)."
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"
NOT_SUPPORTED = "CUDA driver error: operation not supported"
NVML_FUNCTIONS = (
    "nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetUtilizationRates",
)  # fmt: skip
"""All that the runtime and what it calls of `torch.cuda` ask."""
NVML_ERRORS = sorted({value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")} | {4711})
"""The numbers of all errors of NVML's API, and one of a later version."""


@dataclass(frozen=True)
class Machine:
    """A machine's GPUs: what NVML counts, what CUDA gives, and the first thing that computing on one raises."""

    name: str = "NVIDIA A100-SXM4-80GB"
    capability: tuple[int, int] = (8, 0)
    num_listed: int = 1
    num_given: int = 1
    no_start: str | None = None
    fault: Callable[[], Exception | None] = lambda: None
    is_integrated: bool = False
    memory: Callable[[], tuple[int, int]] = lambda: (999, 3000)


A100 = Machine()
T4 = Machine("Tesla T4", (7, 5))
OLD = Machine(num_listed=2, num_given=0, no_start=OLD_DRIVER)


def _refused_while_segments_grow() -> Exception | None:
    grows = torch._C._accelerator_getAllocatorSettings() != "expandable_segments:False"
    return RuntimeError(NOT_SUPPORTED) if grows else None


VGPU = Machine("GRID A100D-20C", fault=_refused_while_segments_grow)


class Cuda:
    """PyTorch's view of a machine; `current` is the GPU that was made the current one."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current: int | None = None
        self._machine = machine
        self._has_started = False
        real = torch.zeros
        answers: dict[str, Any] = {
            "is_available": lambda: machine.num_given > 0,
            "is_initialized": lambda: self._has_started,
            "init": self._start,
            "device_count": lambda: machine.num_given if self._has_started else machine.num_listed,
            "set_device": self._set_device,
            "current_device": lambda: self.current or 0,
            "get_device_name": lambda: machine.name,
            "get_device_capability": lambda: machine.capability,
            "get_arch_list": lambda: ["sm_80", "sm_90"],
            "get_device_properties": lambda _: SimpleNamespace(is_integrated=machine.is_integrated),
            "mem_get_info": machine.memory,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        monkeypatch.setattr(torch, "zeros", lambda *size, device="cpu": self._zeros(real, *size, device=device))

    def _start(self) -> None:
        if self._machine.no_start is not None:
            raise RuntimeError(self._machine.no_start)
        self._has_started = True

    def _set_device(self, number: int) -> None:
        if number >= self._machine.num_given:
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.current = number

    def _zeros(self, real: Any, *size: int, device: str) -> torch.Tensor:
        fault = self._machine.fault() if device == "cuda" else None
        if fault is not None:
            raise fault
        return torch.Tensor(real(*size))


def simulate_nvml(monkeypatch: pytest.MonkeyPatch, *, failing: str | None = None, error: int = 0) -> None:
    """Let NVML answer for one GPU, but for the function that fails with an error."""
    answers = (
        None, "550.54.15", "handle", SimpleNamespace(used=1800), SimpleNamespace(gpu=87),
    )  # fmt: skip
    for name, answer in zip(NVML_FUNCTIONS, answers, strict=True):

        def reply(*_: object, answer: Any = answer, name: str = name) -> Any:
            if name == failing:
                raise pynvml.NVMLError(error)
            return answer

        monkeypatch.setattr(pynvml, name, reply)
