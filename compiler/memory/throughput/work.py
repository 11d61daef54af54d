"""Reads a stream for its work: all kernels of a step, with batch and sequence length left open.

A kernel that is no matrix product reads its inputs and writes its output once: eager PyTorch fuses nothing. Equal
layers are read once and counted as often as there are such layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.kernel import Direction, Group, Kernel, Launch, launch, traffic
from kaitoc.compiler.memory.closed_form.model import reference_stream_of, stream_of
from kaitoc.compiler.memory.closed_form.op import Accumulate, Checkpoint, Op, Repeat, Scratch
from kaitoc.compiler.memory.closed_form.optimizer import TrainableTensors
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.throughput.rates import Rates, optimizer_bytes
from kaitoc.compiler.memory.workload import Dtype, Optimizer, Workload
from kaitoc.compiler.memory.workload_key import key_of_work


@dataclass(frozen=True, slots=True)
class Work:
    """All kernels of a forward and backward pass with how often each runs, in all and in the backward pass, and what
    surrounds them.
    """

    kernels: tuple[tuple[Kernel, int, int], ...]
    num_launches: Mapping[Direction, int]
    trainable: TrainableTensors
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
    reader = WorkReader()
    reader.step(stream_of(workload), reference_stream_of(workload))
    return Work(
        kernels=tuple((kernel, count, reader.kernels_back.get(kernel, 0)) for kernel, count in reader.kernels.items()),
        num_launches=reader.num_launches,
        trainable=plan.trainable,
        half_dtype=_half_dtype(workload),
        stack_name=workload.stack,
    )


def _half_dtype(workload: Workload) -> Dtype:
    dtype = workload.autocast or workload.dtype
    return Dtype.FLOAT16 if dtype is Dtype.FLOAT16 else Dtype.BFLOAT16


class WorkReader(Autograd):
    """Counts the kernels that the operations of a stream carry, all, and the backward ones with what is recomputed."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: dict[Kernel, int] = {}
        self.kernels_back: dict[Kernel, int] = {}
        self._goes_back = False
        self.num_launches = {Direction.FORWARD: 0, Direction.BACKWARD: 0}
        self._scale = 1
        self._tail: list[Launch] | None = None

    def seed(self, value: Value, size: Size) -> None:
        """Start backward."""
        self._goes_back = True
        super().seed(value, size)

    def _launch(self, op: Op) -> None:
        if op.saves_inputs:
            self._keep_tail()
        self._count(op.forward, Direction.FORWARD)
        if op.saves_results:
            self._keep_tail()

    def _scratch(self, instruction: Scratch) -> None:
        self._count(instruction.forward, Direction.FORWARD)
        self._count(instruction.backward, Direction.BACKWARD)

    def _repeat(self, instruction: Repeat) -> None:
        with self._scaled(instruction.count):
            value = self._run(instruction.first, self._values[instruction.given.number])
        self._values[instruction.later.result.number] = value

    def _accumulate_in_place(self, instruction: Accumulate) -> None:
        target = self._values[instruction.target.number]
        with self._scaled(instruction.count):
            result = self._add_in_place(instruction, target, instruction.target.needs_grad)
            self._count(instruction.forward, Direction.FORWARD)
        self._values[instruction.output.number] = result

    def _run_again(self, instruction: Checkpoint, given: Value) -> Value:
        """Run a checkpointed body again.

        The variant that is not reentrant stops at the last tensor that backward needs (`torch/utils/checkpoint.py`,
        `set_checkpoint_early_stop`): inputs are saved before their kernel runs, outputs after.
        """
        if instruction.keeps_output:
            return super()._run_again(instruction, given)
        self._tail = []
        result = super()._run_again(instruction, given)
        self._tail = None
        return result

    def _undo(self, step: BackwardStep) -> None:
        outer, self._scale = self._scale, step.scale
        grad = step.output.grad
        if grad is not None and step.launched_by is not None:
            self._count_back(step.launched_by.backward, grad)
        super()._undo(step)
        self._scale = outer

    def _count_back(self, backward: Launch, grad: Buffer) -> None:
        if backward.moves_gradient:
            (kernel,) = backward.kernels
            backward = launch(traffic(kernel.group, kernel.moved + grad.size), num_launches=backward.num_launches)
        self._count(backward, Direction.BACKWARD)

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        if value.grad is not None:
            self._count(launch(traffic(Group.ELEMENTWISE, grad.size * 3)), Direction.BACKWARD)
        super()._accumulate(value, grad)

    def _record(self, step: BackwardStep) -> None:
        step.scale = self._scale
        super()._record(step)

    def _count(self, launched: Launch, direction: Direction) -> None:
        """Add kernels, each as often as the run of equal layers it stands in."""
        if self._tail is not None and direction is Direction.FORWARD:
            self._tail.append(launched)
            return
        for kernel in launched.kernels:
            self.kernels[kernel] = self.kernels.get(kernel, 0) + self._scale
            if self._goes_back:
                self.kernels_back[kernel] = self.kernels_back.get(kernel, 0) + self._scale
        self.num_launches[direction] += launched.num_launches * self._scale

    def _keep_tail(self) -> None:
        """Count what ran since the last saved tensor: it is needed after all."""
        if self._tail is None:
            return
        tail, self._tail = self._tail, None
        for launched in tail:
            self._count(launched, Direction.FORWARD)
        self._tail = []

    @contextmanager
    def _scaled(self, count: int) -> Iterator[None]:
        """Count everything inside `count` times."""
        outer, self._scale = self._scale, self._scale * count
        yield
        self._scale = outer
