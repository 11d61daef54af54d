"""Counts the work of one training step: what every kernel computes and moves, on the memory engine's derivation.

`WorkTape` and `WorkOps` run the same decoder as the footprint (`closed_form/layers.py`), which is written operation by
operation after transformers, PEFT and bitsandbytes, and note for each kernel its arithmetic and its traffic. A kernel
that is no matrix product reads its inputs and writes its output once: eager PyTorch fuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from math import isqrt

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.elementwise import HALF_BYTES
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tape import Tape
from kaitoc.compiler.memory.closed_form.value import Buffer, Kind, Step, Value
from kaitoc.compiler.memory.result import Phase


class Group(str, Enum):
    """The parts of the model that time is attributed to."""

    ATTENTION = "attention"
    MLP = "mlp"
    HEAD = "head and loss"
    ADAPTERS = "adapters"
    DEQUANTIZATION = "dequantisation"
    ELEMENTWISE = "norms and elementwise"
    OPTIMIZER = "optimizer"
    COMMUNICATION = "communication"
    LAUNCH = "launch overhead"


class Unit(str, Enum):
    """The part of a GPU that limits a kernel's arithmetic."""

    HALF = "half"
    FLOAT32 = "float32"
    INT8 = "int8"
    FUSED_ATTENTION = "fused attention"
    NONE = "none"


class Pass(str, Enum):
    """Who launches a kernel: Python in the forward pass (and its repetition), or autograd's engine going back."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kind of kernel: `flops` of arithmetic, `padded_flops` with the idle lanes of narrow tiles, `moved` bytes.

    The result of a matrix product has `columns` and as many rows as there are `row_length` in `row_elements`.
    """

    group: Group
    unit: Unit
    flops: Size
    padded_flops: Size
    moved: Size
    row_elements: Size = ZERO
    row_length: int = 1
    columns: int = 0


@dataclass(slots=True)
class Note:
    """What is known of a recorded operation beyond its sizes; `kernels` replace the default on the way back.

    `extra_bytes` are read again going back by kernels that pass over their data twice.
    """

    scale: int
    group: Group
    kernels: tuple[Kernel, ...] = ()
    num_launches: int = 1
    extra_bytes: Size = ZERO


@dataclass(slots=True)
class Pending:
    """Kernels of the operation that follows after `skip` casts."""

    skip: int
    forward: tuple[Kernel, ...]
    backward: tuple[Kernel, ...]
    num_backward_launches: int


class WorkTape(Tape):
    """A tape that counts kernels instead of keeping moments."""

    def __init__(self, num_experts: int = 0) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.scale = 1
        self.group = Group.ELEMENTWISE
        self.kernels: dict[Kernel, int] = {}
        self.num_launches = {Pass.FORWARD: 0, Pass.BACKWARD: 0}
        self.pending: Pending | None = None
        self.chunked_loss: Pending | None = None
        self._tail: list[tuple[Sequence[Kernel], int]] | None = None
        self._notes: dict[int, Note] = {}

    def mark(self, temporary: Size = ZERO) -> None:
        """Keep no moments: only work counts."""

    def count(self, kernels: Sequence[Kernel], direction: Pass, num_launches: int) -> None:
        """Add kernels, each as often as the run of equal layers it stands in."""
        if self._tail is not None and direction is Pass.FORWARD:
            self._tail.append((kernels, num_launches))
            return
        for kernel in kernels:
            self.kernels[kernel] = self.kernels.get(kernel, 0) + self.scale
        self.num_launches[direction] += num_launches * self.scale

    def apply(
        self,
        inputs: Sequence[Value],
        elements: Size,
        num_bytes: int,
        *,
        saves: Sequence[Value] = (),
        saves_output: bool = False,
        saves_size: Size = ZERO,
        retains: Sequence[Value] = (),
        grads: Sequence[Size | None] | None = None,
        forward_temporary: Size = ZERO,
        backward_temporary: Size = ZERO,
        parameter_gradients: int = 0,
        kind: Kind = Kind.ACTIVATION,
    ) -> Value:
        """Run one operation and count its kernel; its backward is counted when the tape goes back.

        Rows of logits do not fit the shared memory of a block, so that log-softmax passes over them once more for
        their sum, both ways (`SoftMax.cu`, `cunn_SoftMaxForward`, `cunn_SoftMaxBackward`).
        """
        num_steps = len(self._steps)
        output = super().apply(
            inputs,
            elements,
            num_bytes,
            saves=saves,
            saves_output=saves_output,
            saves_size=saves_size,
            retains=retains,
            grads=grads,
            forward_temporary=forward_temporary,
            backward_temporary=backward_temporary,
            parameter_gradients=parameter_gradients,
            kind=kind,
        )
        if saves:
            self._keep_tail()
        is_chunked_loss = self.phase is Phase.LOSS and forward_temporary is not ZERO
        pending = self.chunked_loss if is_chunked_loss else self._take_pending()
        if pending is None:
            pending = self._expert_product(inputs, output)
        if pending is not None:
            self.count(pending.forward, Pass.FORWARD, len(pending.forward))
            note = Note(self.scale, self.group, pending.backward, pending.num_backward_launches)
        else:
            is_log_softmax = kind is Kind.LOGITS and saves_output
            scratch = forward_temporary.times(2).plus(saves_size)
            note = self._count_forward(inputs, output, scratch, inputs[0].size if is_log_softmax else ZERO)
        self._tag(num_steps, note)
        if saves_output or saves_size is not ZERO:
            self._keep_tail()
        return output

    def view(self, value: Value, elements: Size) -> Value:
        """Take a slice; its gradient is written into zeros of the whole's size."""
        num_steps = len(self._steps)
        part = super().view(value, elements)
        self._tag(num_steps, Note(self.scale, self.group))
        return part

    def split(self, value: Value, *parts: Size) -> tuple[Value, ...]:
        """Take views that cover the whole; their gradients are concatenated."""
        num_steps = len(self._steps)
        views = super().split(value, *parts)
        self._tag(num_steps, Note(self.scale, self.group, (traffic(self.group, value.size.times(2)),)))
        return views

    def checkpoint(self, function: Callable[[Value], Value], given: Value, keeps_output: bool) -> Value:
        """Run `function` without saving; going back runs it again, as often as it stands for.

        The variant that is not reentrant stops at the last tensor that backward needs (`torch/utils/checkpoint.py`,
        `set_checkpoint_early_stop`): inputs are saved before their kernel runs, outputs after.
        """
        num_steps = len(self._steps)

        def run(value: Value) -> Value:
            if keeps_output or not self._recording:
                return function(value)
            self._tail = []
            result = function(value)
            self._tail = None
            return result

        output = super().checkpoint(run, given, keeps_output)
        self._tag(num_steps, Note(self.scale, self.group, num_launches=0))
        return output

    def repeat(self, function: Callable[[Value], Value], given: Value, count: int, _gradient_bytes: int) -> Value:
        """Run `function` once for all of `count` equal layers."""
        if not given.needs_grad and count > 1:
            given = self._chain(function, given)
            count -= 1
        with self.scaled(count):
            return self._chain(function, given)

    def accumulate(self, function: Callable[[], Value], target: Value, count: int) -> Value:
        """Run `function` once for all of `count` equal additions into `target`."""
        with self.scaled(count):
            addend = function()
            self.count((traffic(self.group, addend.size.times(3)),), Pass.FORWARD, 1)
            num_steps = len(self._steps)
            back = (traffic(self.group, addend.size.times(2)),)
            result = self._add_in_place(addend, target)
            self._tag(num_steps, Note(self.scale, self.group, back))
            return result

    def backward(self) -> None:
        """Go back through all recorded operations, each counted with the scale it was recorded at."""
        outer = self.scale, self.group
        while self._steps:
            step = self._steps.pop()
            note = self._notes.pop(id(step))
            self.scale, self.group = note.scale, note.group
            grad, step.output.grad = step.output.grad, None
            if grad is not None:
                self._count_back(step, grad, note)
                if step.replay is not None:
                    step.replay(grad)
                else:
                    self._go_back(step, grad)
            for buffer in step.saved:
                self._release(buffer)
        self.scale, self.group = outer

    @contextmanager
    def scaled(self, count: int) -> Iterator[None]:
        """Count everything inside `count` times."""
        outer, self.scale = self.scale, self.scale * count
        yield
        self.scale = outer

    @contextmanager
    def inside(self, group: Group) -> Iterator[None]:
        """Attribute what is inside to a group."""
        outer, self.group = self.group, group
        yield
        self.group = outer

    def _keep_tail(self) -> None:
        """Count what ran since the last saved tensor: it is needed after all."""
        if self._tail is None:
            return
        tail, self._tail = self._tail, None
        for kernels, num_launches in tail:
            self.count(kernels, Pass.FORWARD, num_launches)
        self._tail = []

    def _count_forward(self, inputs: Sequence[Value], output: Value, scratch: Size, extra: Size) -> Note:
        """Count a kernel that reads its inputs and writes its output and scratch memory."""
        group = Group.HEAD if self.phase is Phase.LOSS and self.group is Group.ELEMENTWISE else self.group
        moved = output.size.plus(scratch).plus(extra)
        for value in inputs:
            moved = moved.plus(value.size)
        self.count((traffic(group, moved),), Pass.FORWARD, 1)
        return Note(self.scale, group, extra_bytes=extra)

    def _expert_product(self, inputs: Sequence[Value], output: Value) -> Pending | None:
        """Return the kernels of a grouped product with a weight made on the fly (PEFT's adapters on fused experts).

        Rows visit k experts: inputs of k * in and outputs of k * out elements per token, a weight of
        num_experts * in * out elements, hence 2 * k * in * out operations per token.
        """
        if len(inputs) != 2 or not self.num_experts or not inputs[1].elements.fixed:
            return None
        given, weight = inputs
        square = given.elements.per_token * output.elements.per_token * weight.elements.fixed // self.num_experts
        flops = Size(0, 2 * isqrt(square))
        moved = given.size.plus(weight.size).plus(output.size)
        unit = Unit.HALF if output.num_bytes == HALF_BYTES else Unit.FLOAT32
        product = Kernel(Group.MLP, unit, flops, flops, moved)
        return Pending(0, (product,), (product, product), 2)

    def _count_back(self, step: Step, grad: Buffer, note: Note) -> None:
        if note.kernels or step.replay is not None:
            self.count(note.kernels, Pass.BACKWARD, note.num_launches)
            return
        written = [size for size in step.grad_sizes if size is not None and size is not ZERO]
        moved = grad.size.plus(step.temporary.times(2)).plus(fixed(step.parameter_gradients)).plus(note.extra_bytes)
        for size in (*written, *(buffer.size for buffer in step.saved)):
            moved = moved.plus(size)
        if written or step.parameter_gradients:
            self.count((traffic(self.group, moved),), Pass.BACKWARD, max(1, len(written)))

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        if value.grad is not None:
            self.count((traffic(Group.ELEMENTWISE, grad.size.times(3)),), Pass.BACKWARD, 1)
        super()._accumulate(value, grad)

    def _take_pending(self) -> Pending | None:
        pending = self.pending
        if pending is None:
            return None
        if pending.skip:
            pending.skip -= 1
            return None
        self.pending = None
        return pending

    def _tag(self, num_steps: int, note: Note) -> None:
        if len(self._steps) > num_steps:
            self._notes[id(self._steps[-1])] = note


def traffic(group: Group, moved: Size) -> Kernel:
    """Return a kernel that only moves bytes."""
    return Kernel(group, Unit.NONE, ZERO, ZERO, moved)
