"""A process of a sharded run on meta tensors: PyTorch's own `fully_shard` in a process group that talks to nobody.

FSDP2 refuses meta tensors when a run begins, for they have no values, and knows no streams of theirs; both matter to
training alone. Its hooks, collectives and buffers are the real ones, so that the log has each of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard import (
    _fsdp_collectives,
    _fsdp_param,
    _fsdp_param_group,
    _fsdp_state,
    _fully_shard,
)
from torch.distributed.tensor import DTensor

from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind, Wrap
from kaitoc.compiler.memory.trace.model import torch_dtype
from kaitoc.compiler.memory.trace.recorder import AllocationRecorder
from kaitoc.compiler.memory.workload import Quantization, Workload, WorkloadError

_META = torch.device("meta")
_FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f")


def require_traceable(workload: Workload) -> None:
    """Raise `WorkloadError` for a way of sharding that this process cannot run."""
    sharding = workload.sharding
    if sharding.is_sharded and (sharding.kind is not ShardingKind.FSDP2 or sharding.offload is not Offload.NONE):
        raise WorkloadError(
            f"--trace supports FSDP2 without offload, not {sharding.kind.value}; remove --trace for an estimate"
        )


@contextmanager
def ranks(workload: Workload, recorder: AllocationRecorder) -> Iterator[DeviceMesh | None]:
    """Be the first process of a sharded run; yield the mesh of all processes, None for a run with whole copies."""
    if not workload.sharding.is_sharded:
        yield None
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=workload.num_gpus, store=FakeStore())
    try:
        with ExitStack() as patches, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in (_fsdp_state, _fsdp_param_group, _fsdp_collectives):
                patches.enter_context(patch.object(module, "_get_device_handle", lambda _device_type: _Device))
            patches.enter_context(patch.object(_fully_shard, "_get_device_from_mesh", lambda _mesh: _META))
            group = _fsdp_param_group.FSDPParamGroup
            patches.enter_context(patch.object(group, "_validate_no_meta_params", lambda _self: None))
            for name, told in (("alloc_storage", recorder.revive), ("free_storage", recorder.release)):
                resize = _telling(getattr(_fsdp_param, name), told)
                patches.enter_context(patch.object(_fsdp_param, name, resize))
            yield _mesh(workload)
    finally:
        dist.destroy_process_group()


class _Device:
    """Streams and events of a device on which everything has happened already."""

    @staticmethod
    def current_stream() -> _Stream:
        """Return the only stream."""
        return _Stream()

    @staticmethod
    def Stream(**options: Any) -> _Stream:  # noqa: N802  # PyTorch's name
        """Return a stream; only that of replicas, which has no priority, must have events (`foreach_reduce`)."""
        return _Stream(has_events=not options)

    @staticmethod
    def Event() -> _Event:  # noqa: N802  # PyTorch's name
        """Return an event of the past."""
        return _Event()

    @staticmethod
    def stream(_stream: _Stream) -> AbstractContextManager[None]:
        """Do what follows on the only stream."""
        return nullcontext()


class _Event:
    def record(self, _stream: object = None) -> None:
        """Happen."""

    def synchronize(self) -> None:
        """Wait for nothing."""


class _Stream:
    def __init__(self, *, has_events: bool = False) -> None:
        self._has_events = has_events

    def record_event(self) -> _Event | None:
        """Return an event that is complete already, None where there are no events."""
        return _Event() if self._has_events else None

    def wait_event(self, _event: object) -> None:
        """Wait for nothing."""

    def wait_stream(self, _stream: object) -> None:
        """Wait for nothing."""


def _telling(resize: Callable[[torch.Tensor], None], told: Callable[[torch.Tensor], None]) -> Any:
    def resized(tensor: torch.Tensor) -> None:
        resize(tensor)
        told(tensor)

    return resized


def _mesh(workload: Workload) -> DeviceMesh:
    """Return the mesh of all processes; of replicas by shards where there are several copies of the model."""
    group = workload.sharding.group_of(workload.num_gpus)
    if group == workload.num_gpus:
        return init_device_mesh("cpu", (group,))
    return init_device_mesh("cpu", (workload.num_gpus // group, group), mesh_dim_names=("replicate", "shard"))


def shard(model: Any, workload: Workload, mesh: DeviceMesh) -> None:
    """Split a model among the processes of a mesh as accelerate does (`fsdp2_prepare_model`, 1.13 and 1.15)."""
    half = torch_dtype(workload.autocast) if workload.autocast is not None else None
    if half is not None and workload.quantization is Quantization.NONE:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=half, output_dtype=half)
    how: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    reshards = workload.sharding.reshard_after_forward
    names = set(model._no_split_modules or ())
    for module in list(model.modules())[1:]:
        if type(module).__name__ in names:
            fully_shard(module, reshard_after_forward=reshards, **how)
    if workload.sharding.wrap is Wrap.ROOT:
        fully_shard(model, reshard_after_forward=reshards, **how)
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_tied = embedding.weight is head.weight
    if not is_tied:
        fully_shard(embedding, reshard_after_forward=reshards, **how)
    tail = [_final_norm(model), *([embedding] if is_tied else []), head]
    fully_shard(tail, reshard_after_forward=False, **how)
    fully_shard(model, **how)


def _final_norm(model: Any) -> torch.nn.Module:
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    found = [getattr(decoder, name) for name in _FINAL_NORMS if hasattr(decoder, name)]
    if not found:
        raise WorkloadError("the final norm of this model is not known, so it cannot be traced sharded")
    norm: torch.nn.Module = found[0]
    return norm


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def local_parameters(trained: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Return the optimizer's tensors: DTensors would have their full sizes worked out under the recorder."""
    return [torch.nn.Parameter(local(one.detach())) if isinstance(one, DTensor) else one for one in trained]


def hand_over_gradients(trained: list[torch.nn.Parameter], local_ones: list[torch.nn.Parameter]) -> None:
    """Give the optimizer's parameters the gradients of this process's shards."""
    for one, mine in zip(trained, local_ones, strict=True):
        if one is not mine:
            mine.grad = None if one.grad is None else local(one.grad)
            one.grad = None


def sync_gradients(model: Any, *, is_needed: bool) -> None:
    """Say whether the next batch's gradients are reduced (`Accelerator.no_sync`)."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(is_needed)


def run_as_forward(model: Any, function: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Run a function as the model's forward pass, inside its hooks."""
    model.forward = lambda *_args, **_kwargs: function()
    try:
        loss: torch.Tensor = model()
    finally:
        del model.forward
    return loss
