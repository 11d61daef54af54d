"""The trace: the real model code of one fine-tuning step, run on meta tensors with every allocation logged.

One warm-up step and one measured step go through forward, loss, backward and the optimizer; the log of both is
replayed through a model of PyTorch's caching allocator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from kaitoc.compiler.catalog.families import known_model_types
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.progress import Task, tracked
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form.footprint import as_shared, host_bytes
from kaitoc.compiler.memory.closed_form.validation import validate
from kaitoc.compiler.memory.result import Categories, Category, Footprint, Phase, PhasePeak
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.trace.autocast import Autocast, regions_on_meta
from kaitoc.compiler.memory.trace.kernels import scratch_bytes
from kaitoc.compiler.memory.trace.losses import Batch, loss_of, outputs_of
from kaitoc.compiler.memory.trace.model import autocast_of, build_model, cuda_functions
from kaitoc.compiler.memory.trace.offload import OffloadedActivations
from kaitoc.compiler.memory.trace.optimizer import make_optimizer
from kaitoc.compiler.memory.trace.quantized import constants
from kaitoc.compiler.memory.trace.recorder import AllocationRecorder, Event
from kaitoc.compiler.memory.trace.reference import ReferenceModel, reference_of
from kaitoc.compiler.memory.trace.sharding import (
    hand_over_gradients,
    local,
    local_parameters,
    ranks,
    require_traceable,
    shard,
    sync_gradients,
)
from kaitoc.compiler.memory.workload import Allocator, Workload

NUM_STEPS = 2
NUM_INPUT_TENSORS = 3


@dataclass(frozen=True, slots=True)
class Trace:
    """What one workload was seen to allocate, in bytes. `phases` are the peaks of the measured step, after the load's.

    `allocated_bytes` and `reserved_bytes` are the caching allocator's peaks over both steps.
    """

    events: tuple[Event, ...]
    phases: tuple[PhasePeak, ...]
    num_trainable_parameters: int
    allocated_bytes: int
    reserved_bytes: int


def traced_footprint(asked: Workload, gpu: Gpu | None = None) -> Footprint:
    """Return the footprint of a workload from its trace alone; raises `WorkloadError` as `trace` does.

    What the caching allocator reserves beyond the peak comes from the replay of the log.
    """
    workload = device.as_run_on(_as_shared(asked, gpu), gpu)
    traced = trace(workload, gpu)
    allocated = max(phase.allocated_bytes for phase in traced.phases)
    reserve = device.estimate(workload, gpu, allocated, traced.reserved_bytes - traced.allocated_bytes)
    return Footprint(
        phases=traced.phases,
        num_trainable_parameters=traced.num_trainable_parameters,
        fragmentation_bytes=reserve.fragmentation_bytes,
        context_bytes=reserve.context_bytes,
        low_bytes=allocated + reserve.low_bytes,
        high_bytes=allocated + reserve.high_bytes,
        num_gpus=workload.num_gpus,
        sharding=workload.sharding,
        host_bytes=host_bytes(workload) if _has_closed_form(workload) else None,
    )


def _as_shared(asked: Workload, gpu: Gpu | None) -> Workload:
    """Return a workload as its GPUs share it; what `auto` comes to takes the closed form, without it whole copies."""
    return as_shared(asked, gpu if _has_closed_form(asked) else None)


def _has_closed_form(workload: Workload) -> bool:
    return workload.architecture.model_type in known_model_types()


def trace(workload: Workload, gpu: Gpu | None = None) -> Trace:
    """Run one training step of a workload on meta tensors and return its log and peaks.

    Raises `WorkloadError` for a workload that no run can have, a model that transformers does not know, and a
    software stack other than the installed one.
    """
    shapes = [BatchShape(workload.batch_size, workload.seq_len_tokens)] * _num_steps(workload)
    updates = {1, len(shapes)} if workload.accumulates else set(range(1, len(shapes) + 1))
    return _trace(workload, gpu, shapes, updates)


def trace_batches(
    workload: Workload, shapes: Sequence[BatchShape], gpu: Gpu | None = None, *, accumulation_steps: int = 1
) -> Trace:
    """Run batches of different sizes one after the other; raises as `trace` does. Phases are those of the last."""
    updates = set(range(accumulation_steps, len(shapes) + 1, accumulation_steps))
    return _trace(workload, gpu, shapes, updates)


def _trace(workload: Workload, gpu: Gpu | None, shapes: Sequence[BatchShape], updates: set[int]) -> Trace:
    """Return the trace of batches; the optimizer steps after those whose numbers, from 1, are in `updates`."""
    validate(workload)
    require_traceable(workload)
    with _quiet(), regions_on_meta(is_enabled=workload.autocast is not None):
        recorder, num_trainable = _record(workload, gpu, shapes, updates)
    events = tuple(recorder.events)
    allocator = replay(workload, events, updates)
    return Trace(
        events,
        _phase_peaks(events, len(shapes)),
        num_trainable,
        allocator.peak_allocated_bytes,
        allocator.peak_reserved_bytes,
    )


def replay(workload: Workload, events: tuple[Event, ...], updates: set[int]) -> CachingAllocator:
    """Return an allocator that has served a log; where the workload does so it is emptied after each update, as the
    Trainer's `on_step_end` comes once for all batches of an accumulation.
    """
    allocator = CachingAllocator(AllocatorSettings(expandable_segments=workload.allocator is Allocator.EXPANDABLE))
    held: dict[int, Block] = {}
    step = 0
    for event in events:
        if event.step != step and step in updates and workload.empty_cache_each_step:
            allocator.empty_cache()
        step = event.step
        key = id(event.allocation)
        if event.is_free:
            allocator.free(held.pop(key))
        else:
            held[key] = allocator.allocate(event.allocation.num_bytes)
    return allocator


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries from telling a user of an estimate, layer after layer, what training would warn of."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _record(
    workload: Workload, gpu: Gpu | None, shapes: Sequence[BatchShape], updates: set[int]
) -> tuple[AllocationRecorder, int]:
    """Return the log of all steps and the number of trainable parameters."""
    with tracked(f"tracing {workload.architecture.name}") as task:
        model = build_model(workload, find_stack(workload.stack))
        recorder = AllocationRecorder(scratch_bytes, workload.architecture.vocab_size)
        with ranks(workload, recorder) as mesh:
            num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            if mesh is not None:
                shard(model, workload, mesh)
            _record_steps(recorder, model, workload, gpu, shapes, updates, task)
    return recorder, num_trained


def _record_steps(
    recorder: AllocationRecorder, model: Any, workload: Workload, gpu: Gpu | None, shapes: Sequence[BatchShape],
    updates: set[int], task: Task,
) -> None:  # fmt: skip
    _hold_weights(recorder, model)
    reference = reference_of(model, workload, lambda copied: _hold_weights(recorder, copied))
    _label_modules(recorder, model, task)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    stepped = local_parameters(trained)
    optimizer = None if workload.steps_in_backward else make_optimizer(workload.optimizer, stepped)
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(_after_gradient(recorder, workload, parameter))
    autocast = autocast_of(workload)
    outputs: list[Any] = []
    for step, shape in enumerate(shapes, 1):
        recorder.step = step
        if step == 1:
            _hold_buffers(recorder, workload, gpu, trained)
        with ExitStack() as modes:
            modes.enter_context(cuda_functions(workload, autocast))
            modes.enter_context(recorder)
            is_last = step in updates
            sync_gradients(model, is_needed=is_last or workload.sharding.sync_each_batch)
            _run_batch(recorder, model, workload, autocast, shape, outputs, reference)
            if is_last and optimizer is not None:
                hand_over_gradients(trained, stepped)
                _update(recorder, optimizer)


def _num_steps(workload: Workload) -> int:
    """Count the batches to run: a warm-up, one with held gradients under accumulation, and the measured one."""
    return NUM_STEPS + 1 if workload.accumulates else NUM_STEPS


def _run_batch(
    recorder: AllocationRecorder, model: Any, workload: Workload, autocast: Autocast | None, shape: BatchShape,
    outputs: list[Any], reference: ReferenceModel | None,
) -> None:  # fmt: skip
    """Go through a batch forward and backward; `outputs` are those of the batch before where the loop holds them."""
    offload = OffloadedActivations(list(model.parameters())) if workload.offloads_activations else None
    with ExitStack() as hooks:
        if offload is not None:
            hooks.enter_context(offload)
            hooks.callback(offload.finish)
        _go_through(recorder, model, workload, autocast, shape, outputs, reference)


def _go_through(
    recorder: AllocationRecorder, model: Any, workload: Workload, autocast: Autocast | None, shape: BatchShape,
    outputs: list[Any], reference: ReferenceModel | None,
) -> None:  # fmt: skip
    with recorder.during(Phase.FORWARD):
        inputs = [torch.empty(shape, dtype=torch.int64, device="meta") for _ in range(NUM_INPUT_TENSORS)]
        batch = Batch(*inputs)
        if workload.holds_outputs:
            outputs[:] = [outputs_of(model, batch, workload)]
            loss = outputs[0].loss
        else:
            loss = loss_of(recorder, model, batch, workload)
        if reference is not None:
            recorder.phase = Phase.FORWARD
            with torch.no_grad(), reference() as frozen:
                loss_of(recorder, frozen, batch, workload)
        if autocast is not None:
            autocast.forget()
    with recorder.during(Phase.BACKWARD):
        torch.autograd.backward(loss)
        del loss


def _update(recorder: AllocationRecorder, optimizer: torch.optim.Optimizer) -> None:
    with recorder.during(Phase.OPTIMIZER):
        optimizer.step()
        recorder.settle(Phase.OPTIMIZER, Category.OPTIMIZER)
        optimizer.zero_grad(set_to_none=True)


def _after_gradient(
    recorder: AllocationRecorder, workload: Workload, parameter: torch.nn.Parameter
) -> Callable[[Any], None]:
    """Build the hook for a finished gradient: keep it, or step its parameter at once."""

    def keep(item: Any) -> None:
        recorder.relabel(local(item.grad), Category.GRADIENTS)

    if not workload.steps_in_backward:
        return keep
    optimizer = make_optimizer(workload.optimizer, [parameter])

    def step(item: Any) -> None:
        keep(item)
        optimizer.step()
        for state in optimizer.state.values():
            for held in state.values():
                if isinstance(held, torch.Tensor):
                    recorder.relabel(held, Category.OPTIMIZER)
        optimizer.zero_grad(set_to_none=True)

    return step


def _hold_weights(recorder: AllocationRecorder, model: torch.nn.Module) -> None:
    parameters = list(model.named_parameters())
    recorder.hold((local(tensor) for name, tensor in parameters if not _is_adapter(name)), Category.WEIGHTS)
    recorder.hold((local(tensor) for name, tensor in parameters if _is_adapter(name)), Category.ADAPTERS)
    recorder.hold(model.buffers(), Category.WEIGHTS)
    recorder.hold(constants(model), Category.WEIGHTS)


def _hold_buffers(
    recorder: AllocationRecorder, workload: Workload, gpu: Gpu | None, trained: list[torch.nn.Parameter]
) -> None:
    """Log what libraries allocate at the first step and keep: cuBLAS workspaces, and gradient buckets under DDP."""
    with recorder.during(Phase.FORWARD):
        recorder.allocate(device.cublas_workspace_bytes(gpu), Category.WORKSPACE)
        if workload.num_gpus > 1 and not workload.sharding.is_sharded:
            buckets = sum(parameter.numel() * parameter.element_size() for parameter in trained)
            recorder.allocate(buckets, Category.GRADIENTS)


def _is_adapter(name: str) -> bool:
    return "lora_" in name or "modules_to_save." in name


def _label_modules(recorder: AllocationRecorder, model: Any, task: Task) -> None:
    """Tell the recorder which module runs, and that the loss begins with the output layer; each is a step of `task`."""
    head = model.get_output_embeddings()
    stack: list[str] = []
    for path, module in model.named_modules():

        def enter(called: torch.nn.Module, _args: object, path: str = path) -> None:
            if called is head and recorder.phase is Phase.FORWARD:
                recorder.phase = Phase.LOSS
            stack.append(recorder.module)
            recorder.module = path
            task.advance()

        def leave(_called: torch.nn.Module, _args: object, _result: object) -> None:
            recorder.module = stack.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave, always_call=True)


def _phase_peaks(events: tuple[Event, ...], num_steps: int) -> tuple[PhasePeak, ...]:
    """Return the highest moment after loading and of each phase of the last step, by category."""
    live: dict[Category, int] = dict.fromkeys(Category, 0)
    total = 0
    peaks: dict[Phase, tuple[int, dict[Category, int]]] = {}
    for event in events:
        is_measured = event.step == (0 if event.phase is Phase.LOAD else num_steps)
        if is_measured and event.phase not in peaks:
            peaks[event.phase] = (total, dict(live))
        change = -event.allocation.num_bytes if event.is_free else event.allocation.num_bytes
        live[event.allocation.category] += change
        total += change
        if is_measured and total > peaks[event.phase][0]:
            peaks[event.phase] = (total, dict(live))
    return tuple(PhasePeak(phase, _categories(held)) for phase, (_, held) in peaks.items())


def _categories(held: dict[Category, int]) -> Categories:
    return replace(Categories(), **{category.value: num_bytes for category, num_bytes in held.items()})
