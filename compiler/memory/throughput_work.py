"""The work of a training step with batch and sequence length left open, kept per architecture and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from kaitoc.compiler.memory.footprint_model import precision_of, replay_step
from kaitoc.compiler.memory.footprint_plan import plan_for
from kaitoc.compiler.memory.throughput_ops import WorkOps
from kaitoc.compiler.memory.throughput_rates import Rates, optimizer_bytes
from kaitoc.compiler.memory.throughput_tape import Kernel, Pass, WorkTape
from kaitoc.compiler.memory.workload import Dtype, Workload
from kaitoc.compiler.records import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """All kernels of a forward and backward pass with how often each runs, and what surrounds them."""

    kernels: tuple[tuple[Kernel, int], ...]
    num_launches: Mapping[Pass, int]
    optimizer_bytes: int
    gradient_bytes: int
    half_dtype: Dtype
    stack_name: str

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
    tape.chunked_loss = ops.chunked_loss(plan, workload.loss)
    replay_step(workload, plan, tape, ops)
    moved = sum(optimizer_bytes(workload.optimizer, count * elements, size) for count, elements, size in plan.trainable)
    return Work(
        kernels=tuple(tape.kernels.items()),
        num_launches=tape.num_launches,
        optimizer_bytes=moved,
        gradient_bytes=plan.gradient_bytes,
        half_dtype=_half_dtype(workload),
        stack_name=workload.stack,
    )


def _half_dtype(workload: Workload) -> Dtype:
    dtype = workload.autocast or workload.dtype
    return Dtype.FLOAT16 if dtype is Dtype.FLOAT16 else Dtype.BFLOAT16
