"""The work of a training step with batch and sequence length left open, kept per architecture and method."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.model import precision_of, replay_step
from kaitoc.compiler.memory.closed_form.optimizer import TrainableTensors
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.throughput.ops import WorkOps
from kaitoc.compiler.memory.throughput.rates import Rates, optimizer_bytes
from kaitoc.compiler.memory.throughput.tape import Kernel, Pass, WorkTape
from kaitoc.compiler.memory.workload import Dtype, Optimizer, Workload
from kaitoc.compiler.memory.workload_key import key_of_work


@dataclass(frozen=True, slots=True)
class Work:
    """All kernels of a forward and backward pass with how often each runs, and what surrounds them."""

    kernels: tuple[tuple[Kernel, int], ...]
    num_launches: Mapping[Pass, int]
    trainable: TrainableTensors
    gradient_bytes: int
    half_dtype: Dtype
    stack_name: str

    def launch_seconds(self, rates: Rates) -> float:
        """Return the time the host needs to launch the kernels of a forward and backward pass."""
        return sum(number * rates.launch_seconds[direction] for direction, number in self.num_launches.items())

    def optimizer_bytes(self, optimizer: Optimizer) -> int:
        """Return the bytes that one step of an optimizer moves."""
        return sum(optimizer_bytes(optimizer, count * elements, size) for count, elements, size in self.trainable)


def work_of(workload: Workload) -> Work:
    """Return the work of a workload; what does not depend on batch, length and optimizer is derived once."""
    return _derive(key_of_work(workload))


@lru_cache(maxsize=512)
def _derive(workload: Workload) -> Work:
    plan = plan_for(workload)
    tape = WorkTape(plan.architecture.num_experts)
    ops = WorkOps(tape, precision_of(workload), plan, double_quant=workload.double_quant)
    tape.chunked_loss = ops.chunked_loss(plan, workload.loss)
    replay_step(workload, plan, tape, ops)
    return Work(
        kernels=tuple(tape.kernels.items()),
        num_launches=tape.num_launches,
        trainable=plan.trainable,
        gradient_bytes=plan.gradient_bytes,
        half_dtype=_half_dtype(workload),
        stack_name=workload.stack,
    )


def _half_dtype(workload: Workload) -> Dtype:
    dtype = workload.autocast or workload.dtype
    return Dtype.FLOAT16 if dtype is Dtype.FLOAT16 else Dtype.BFLOAT16
