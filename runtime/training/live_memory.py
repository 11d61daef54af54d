"""Measures the bytes of live tensors, on a CPU as `torch.cuda.max_memory_allocated` does on a GPU.

A dispatch mode sees every operation. The storage of each result is counted once and forgotten when it is freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import TrainerCallback
from typing_extensions import override

from kaitoc.runtime.training.loop import CheckpointedTrainer


class LiveMemory(TorchDispatchMode):
    """Counts live storages while it is entered; `peak_bytes` is the highest sum seen."""

    def __init__(self, existing: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.live_bytes = 0
        self.peak_bytes = 0
        self._known: dict[int, int] = {}
        for tensor in existing:
            self.track(tensor)

    def track(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known or storage.device.type == "meta":
            return
        num_bytes = storage.nbytes()
        self._known[key] = num_bytes
        self.live_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live_bytes -= self._known.pop(key, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it returns."""
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self.track(value)
        return result


class MeasureFirstSteps(TrainerCallback):
    """Counts live tensors during the first steps of a run; seeing every operation is too slow for all of them.

    The optimizer's states exist from the end of the first step, so the peak of a later one is that of the run, for
    batches of equal length.
    """

    def __init__(self, existing: Iterable[torch.Tensor], trainer: CheckpointedTrainer, num_steps: int = 3) -> None:
        self._existing = list(existing)
        self._trainer = trainer
        self._num_steps = num_steps
        self._memory: LiveMemory | None = None
        self.peak_bytes = 0
        self.largest_batch = (0, 0)

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start counting with what is loaded already."""
        self._memory = LiveMemory(self._existing)
        self._existing = []
        self._memory.__enter__()

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop counting after enough steps."""
        self._num_steps -= 1
        if self._num_steps == 0:
            self.close()

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop counting in a run of fewer steps."""
        self.close()

    def close(self) -> None:
        """Stop counting, also in a run that failed: what follows in this process would be counted too."""
        if self._memory is not None:
            self._memory.__exit__(None, None, None)
            self.peak_bytes = self._memory.peak_bytes
            self.largest_batch = self._trainer.largest_batch
            self._memory = None
