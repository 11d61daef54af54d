"""The work of a training step with batch and sequence length left open, kept per architecture and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from kaitoc.compiler.memory.footprint_model import precision_of, replay_step
from kaitoc.compiler.memory.footprint_plan import plan_for
from kaitoc.compiler.memory.footprint_size import ZERO, Size
from kaitoc.compiler.memory.throughput_ops import WorkOps
from kaitoc.compiler.memory.throughput_rates import Rates, optimizer_bytes
from kaitoc.compiler.memory.throughput_tape import Group, Kernel, Pass, Unit, WorkTape, traffic
from kaitoc.compiler.memory.workload import Dtype, Workload

BACKWARD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of kernel and how often a step runs it."""

    group: Group
    unit: Unit
    flops: Size
    padded_flops: Size
    moved: Size
    count: int


@dataclass(frozen=True, slots=True)
class Work:
    """All kernels of a forward and backward pass, and what surrounds them."""

    rows: tuple[Row, ...]
    num_launches: Mapping[Pass, int]
    optimizer_bytes: int
    gradient_bytes: int
    half_dtype: Dtype
    stack_name: str
    backward_share: float = BACKWARD_SHARE

    def launch_seconds(self, rates: Rates) -> float:
        """Return the time the host needs to launch the kernels of a forward and backward pass."""
        return sum(number * rates.launch_seconds[direction] for direction, number in self.num_launches.items())


def work_of(workload: Workload) -> Work:
    """Return the work of a workload; what does not depend on batch and length is derived once."""
    architecture = workload.architecture
    return _derive(_Key(workload, (architecture.name, architecture.num_parameters, architecture.model_type)))


class _Key:
    """A workload as a cache key: equal but for batch, length and number of GPUs, which the work leaves open."""

    __slots__ = ("_identity", "workload")

    def __init__(self, workload: Workload, architecture: tuple[str, int, str]) -> None:
        self.workload = workload
        self._identity = (
            architecture,
            workload.lora,
            workload.stack,
            workload.quantization,
            workload.double_quant,
            workload.kbit_prep,
            workload.dtype,
            workload.autocast,
            workload.gradient_checkpointing,
            workload.attention,
            workload.loss,
            workload.optimizer,
        )

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity


@lru_cache(maxsize=512)
def _derive(key: _Key) -> Work:
    workload = replace(key.workload, batch_size=1, seq_len_tokens=1, num_gpus=1)
    plan = plan_for(workload)
    tape = WorkTape(plan.architecture.num_experts)
    ops = WorkOps(tape, precision_of(workload), plan, double_quant=workload.double_quant)
    replay_step(workload, plan, tape, ops)
    moved = sum(
        optimizer_bytes(workload.optimizer, count * elements, size) for count, elements, size in plan.trainable
    )
    return Work(
        rows=tuple(_rows(tape.kernels)),
        num_launches=tape.num_launches,
        optimizer_bytes=moved,
        gradient_bytes=plan.gradient_bytes,
        half_dtype=_half_dtype(workload),
        stack_name=workload.stack,
    )


def _rows(kernels: Mapping[Kernel, int]) -> list[Row]:
    """Join kernels that only move bytes, whose times add up whatever their sizes."""
    moved: dict[Group, Size] = {}
    rows = []
    for kernel, count in kernels.items():
        if kernel.unit is Unit.NONE:
            moved[kernel.group] = moved.get(kernel.group, ZERO).plus(kernel.moved.times(count))
        else:
            rows.append(Row(kernel.group, kernel.unit, kernel.flops, kernel.padded_flops, kernel.moved, count))
    for group, size in moved.items():
        kernel = traffic(group, size)
        rows.append(Row(group, kernel.unit, kernel.flops, kernel.padded_flops, kernel.moved, 1))
    return rows


def _half_dtype(workload: Workload) -> Dtype:
    dtype = workload.autocast or workload.dtype
    return Dtype.FLOAT16 if dtype is Dtype.FLOAT16 else Dtype.BFLOAT16
