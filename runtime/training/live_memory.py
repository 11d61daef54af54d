"""Measures the bytes of live tensors, on a CPU as `torch.cuda.max_memory_allocated` does on a GPU.

A dispatch mode sees every operation. The storage of each result is counted once and forgotten when it is freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

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


class _Batch(NamedTuple):
    """A batch's (sequences, padded tokens), its peak, and whether all that a run holds was there."""

    shape: tuple[int, int]
    peak_bytes: int
    is_complete: bool


class MeasureFirstSteps(TrainerCallback):
    """Counts live tensors during the first steps of a run; seeing every operation is too slow for all of them.

    The optimizer's states exist from the end of the first step, gradients that are accumulated from the end of a
    step's first batch. The peak is that of batches which meet both, `largest_batch` the largest of them: what the run
    needs is predicted for that one. In a run without any they are those of all batches.
    """

    def __init__(self, existing: Iterable[torch.Tensor], trainer: CheckpointedTrainer, num_steps: int = 3) -> None:
        self._existing = list(existing)
        self._trainer = trainer
        self._num_steps = num_steps
        self._num_ended_steps = 0
        self._num_batches_in_step = 0
        self._memory: LiveMemory | None = None
        self._batches: list[_Batch] = []

    @property
    def peak_bytes(self) -> int:
        """Find the highest sum of live tensors."""
        return max((batch.peak_bytes for batch in self._compared()), default=0)

    @property
    def largest_batch(self) -> tuple[int, int]:
        """Find the shape of the largest batch that was measured."""
        return max((batch.shape for batch in self._compared()), key=lambda shape: shape[0] * shape[1], default=(0, 0))

    def _compared(self) -> list[_Batch]:
        return [batch for batch in self._batches if batch.is_complete] or self._batches

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start counting with what is loaded already."""
        self._memory = LiveMemory(self._existing)
        self._existing = []
        self._memory.__enter__()

    @override
    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note a batch whose gradients are accumulated."""
        self._note(args)

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note a step's last batch, with the optimizer behind it; stop counting after enough steps."""
        self._note(args)
        self._num_ended_steps += 1
        self._num_batches_in_step = 0
        if self._num_ended_steps == self._num_steps:
            self.close()

    @override
    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop counting in a run of fewer steps."""
        self.close()

    def _note(self, args: Any) -> None:
        if self._memory is None:
            return
        has_gradients = args.gradient_accumulation_steps == 1 or self._num_batches_in_step > 0
        is_complete = self._num_ended_steps > 0 and has_gradients
        self._batches.append(_Batch(self._trainer.last_batch, self._memory.peak_bytes, is_complete))
        self._memory.peak_bytes = self._memory.live_bytes
        self._num_batches_in_step += 1

    def close(self) -> None:
        """Stop counting, also in a run that failed: what follows in this process would be counted too."""
        if self._memory is not None:
            self._memory.__exit__(None, None, None)
            self._memory = None
