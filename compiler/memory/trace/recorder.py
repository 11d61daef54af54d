"""Log every allocation and free of the tensors that a piece of PyTorch code makes, on meta or on real memory.

A dispatch mode sees each operation below autograd; storages are watched with finalizers, so that the log has frees
where the last reference goes, as on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.result import Category, Phase
from kaitoc.compiler.memory.trace.results import quick_result

UNSHARED_TENSOR_USES = 4
UNSHARED_STORAGE_USES = 2
"""References to a gradient that only the autograd engine holds, as counted from inside a dispatch mode (2.13): held to
by tests/memory/test_trace_recorder.py."""


@dataclass(slots=True)
class Allocation:
    """One piece of memory. `category` is settled when the log ends: a gradient is known as such only once it is kept.

    `module` is the path of the module whose forward made it, "" outside of forward passes.
    """

    num_bytes: int
    category: Category
    module: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log.

    `allocation` begins, or ends when `is_free`, in `phase` of step number `step`, 0 for loading.
    """

    allocation: Allocation
    is_free: bool
    phase: Phase
    step: int


Scratch = Callable[[Any, tuple[Any, ...], Any], int]
"""Tells the bytes that a kernel takes beside its result and gives back, from the operator, its arguments and result."""


def no_scratch(_operator: Any, _args: tuple[Any, ...], _result: Any) -> int:
    """Say that a kernel needs no memory besides its results."""
    return 0


class AllocationRecorder(TorchDispatchMode):
    """Records while it is entered. `logits_width` marks tensors whose last dimension is the vocabulary as logits."""

    def __init__(self, scratch: Scratch = no_scratch, logits_width: int = 0) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.phase = Phase.LOAD
        self.step = 0
        self.module = ""
        self._scratch = scratch
        self._logits_width = logits_width
        self._live: dict[int, Allocation] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that nothing compiles what runs here, which spares a third of the time of every operator."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and log the storages it made; of a tensor that is spread, those of this process."""
        if DTensor in types:
            return NotImplemented
        if func is torch.ops.aten.add.Tensor and not torch.is_grad_enabled() and len(args) == 2:
            accumulated = _accumulated(*args)
            if accumulated is not None:
                return accumulated
        result = quick_result(func, args)
        if result is None:
            result = func(*args, **(kwargs or {}))
        self._watch_result(result)
        scratch_bytes = self._scratch(func, args, result)
        if scratch_bytes:
            self.pass_through(scratch_bytes)
        return result

    def hold(self, tensors: Iterable[torch.Tensor], category: Category) -> None:
        """Log tensors that exist already, each storage once."""
        for tensor in tensors:
            self._watch(tensor, category)

    def relabel(self, tensor: torch.Tensor, category: Category) -> None:
        """Say what a live tensor's memory is for."""
        allocation = self._live.get(tensor.untyped_storage()._cdata)
        if allocation is not None:
            allocation.category = category

    def release(self, tensor: torch.Tensor) -> None:
        """Log that a tensor was emptied in place."""
        allocation = self._live.pop(tensor.untyped_storage()._cdata, None)
        if allocation is not None:
            self._log(allocation, is_free=True)

    def revive(self, tensor: torch.Tensor) -> None:
        """Log that a tensor of weights was filled again in place."""
        self._watch(tensor, Category.WEIGHTS)

    def pass_through(self, num_bytes: int) -> None:
        """Log memory that is given back at once."""
        allocation = Allocation(num_bytes, Category.WORKSPACE, self.module, self.phase)
        self._log(allocation, is_free=False)
        self._log(allocation, is_free=True)

    def allocate(self, num_bytes: int, category: Category) -> None:
        """Log an allocation that no tensor frees, such as a library's workspace."""
        self._log(Allocation(num_bytes, category, self.module, self.phase), is_free=False)

    def settle(self, phase: Phase, category: Category) -> None:
        """Say what all that was made in a phase and still lives is for."""
        for allocation in self._live.values():
            if allocation.phase is phase:
                allocation.category = category

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Label what happens inside with a phase."""
        before, self.phase = self.phase, phase
        yield
        self.phase = before

    def live_bytes(self) -> int:
        """Return the bytes of all storages alive."""
        return sum(allocation.num_bytes for allocation in self._live.values())

    def _watch_result(self, result: Any) -> None:
        if isinstance(result, torch.Tensor):
            self._watch(result, Category.ACTIVATIONS)
        elif isinstance(result, (tuple, list)):
            for item in result:
                self._watch_result(item)

    def _watch(self, tensor: torch.Tensor, category: Category) -> None:
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key in self._live:
            return
        num_bytes = storage.nbytes()
        if not num_bytes:
            return
        if category is Category.ACTIVATIONS:
            category = self._guess(tensor)
        allocation = Allocation(num_bytes, category, self.module, self.phase)
        self._live[key] = allocation
        self._log(allocation, is_free=False)
        weakref.finalize(storage, self._forget, key).atexit = False

    def _guess(self, tensor: torch.Tensor) -> Category:
        if self.phase is Phase.OPTIMIZER:
            return Category.WORKSPACE
        is_logits = self._logits_width and tensor.dim() >= 2 and tensor.shape[-1] == self._logits_width
        return Category.LOGITS if is_logits else Category.ACTIVATIONS

    def _forget(self, key: int) -> None:
        allocation = self._live.pop(key, None)
        if allocation is not None:
            self._log(allocation, is_free=True)

    def _log(self, allocation: Allocation, *, is_free: bool) -> None:
        self.events.append(Event(allocation, is_free, self.phase, self.step))


def _accumulated(old: Any, new: Any) -> torch.Tensor | None:
    """Add two gradients in place where autograd would; return None for a sum that makes a new tensor.

    `accumulate` of `torch/csrc/autograd/input_buffer.cpp` (2.13) adds in place to whichever of two gradients nothing
    else refers to, but never while a dispatch mode is active.
    """
    if not (isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)):
        return None
    if old.shape != new.shape or old.dtype is not new.dtype:
        return None
    if _is_unshared(old):
        return old.add_(new)
    return new.add_(old) if _is_unshared(new) else None


def _is_unshared(tensor: torch.Tensor) -> bool:
    storage_uses = torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
    return bool(storage_uses == UNSHARED_STORAGE_USES and tensor._use_count() == UNSHARED_TENSOR_USES)  # type: ignore[attr-defined]  # not declared
