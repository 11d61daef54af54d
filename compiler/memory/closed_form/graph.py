"""How autograd goes back: reference counts, and the gradients that flow from one recorded operation to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaitoc.compiler.core.annotations import Protocol
from kaitoc.compiler.memory.closed_form.op import HANDED_ON, PASSED_ON, Accumulate, Op, Split, View
from kaitoc.compiler.memory.closed_form.scratch import Piece
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind


class Buffer:
    """One allocation and how many hold it."""

    __slots__ = ("holders", "kind", "size")

    def __init__(self, size: Size, kind: Kind) -> None:
        self.size = size
        self.kind = kind
        self.holders = 1


class Value:
    """A tensor as it is read: the buffer that it lies in, and the gradient that flows back to it."""

    __slots__ = ("buffer", "grad")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.grad: Buffer | None = None


class BackwardStep:
    """How one operation that was read goes back; `gradients` are as in `Op`. `replay` does it in place of the rules.

    `is_tied`: its parameters get another gradient later. `computed` are gradients that going forward took.
    `pieces` and `later_pieces` are the tensors that make up `temporary`, where they are known; with `scratch_first`
    all of it is given up before any gradient is there.
    `launched_by` carries the backward kernels. `scale` is how often the operation runs where it stands for many.
    """

    __slots__ = (
        "computed", "gradients", "inputs", "is_tied", "later_pieces", "launched_by", "output", "parameter_gradients",
        "pieces", "replay", "saved", "scale", "scratch_first", "temporary",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Sequence[Value],
        output: Value,
        gradients: Sequence[Size | None] = (),
        launched_by: Op | View | Split | Accumulate | None = None,
        replay: Callable[[Buffer], None] | None = None,
    ) -> None:
        self.inputs = inputs
        self.output = output
        self.gradients = gradients
        self.launched_by = launched_by
        self.replay = replay
        self.saved: list[Buffer] = []
        self.temporary = ZERO
        self.parameter_gradients = 0
        self.computed: list[Buffer] = []
        self.pieces: tuple[Piece, ...] = ()
        self.later_pieces: tuple[Piece, ...] = ()
        self.scratch_first = False
        self.is_tied = False
        self.scale = 1

    @property
    def asks_for_saved(self) -> bool:
        """Whether it unpacks something that going forward saved, if only a parameter."""
        return bool(self.saved or (isinstance(self.launched_by, Op) and self.launched_by.num_saved_parameters))


StepScratch = Callable[[int], int]
"""What an optimizer takes while it steps over a parameter with a gradient of so many bytes."""


class Host(Protocol):
    """Where saved tensors go and come from (`closed_form/offload.py`)."""

    def unpack(self, step: BackwardStep) -> list[Buffer]:
        """Bring back what an operation saved; return what is given up once it has run."""


class Graph:
    """The operations that were recorded; what a reader is after it gets from the methods that it overrides.

    `step_scratch` is set where each parameter is stepped over, and its gradient dropped, as soon as that is complete;
    `host` where saved tensors leave the GPU.
    """

    def __init__(self) -> None:
        self._steps: list[BackwardStep] = []
        self._retained: list[Buffer] = []
        self._incomplete: Buffer | None = None
        self._given_up: list[Buffer] = []
        self.step_scratch: StepScratch | None = None
        self.host: Host | None = None

    def seed(self, value: Value, size: Size) -> None:
        """Start backward with a gradient of the given size."""
        value.grad = Buffer(size, Kind.WORKSPACE)
        self._allocate(value.grad)

    def backward(self) -> None:
        """Go back through all that was recorded; the last output must have its gradient set."""
        while self._steps:
            self._undo(self._steps.pop())
        for buffer in self._retained:
            self._release(buffer)
        self._retained = []

    def _allocate(self, buffer: Buffer) -> None:
        """Take notice of a new buffer."""

    def _free(self, buffer: Buffer) -> None:
        """Take notice of the end of a buffer."""

    def _leave(self, gradient: Buffer) -> None:
        """Take notice of the gradient of parameters, which outlives the backward pass."""

    def _rename(self, buffer: Buffer, kind: Kind) -> None:
        """Count a buffer under another kind."""
        buffer.kind = kind

    def _parameter_gradient(self, step: BackwardStep) -> Buffer | None:
        """Return the gradient of an operation's parameters, which going forward may have taken; None without one."""
        computed = step.computed.pop() if step.computed else None
        if not step.parameter_gradients:
            if computed is not None:
                self._release(computed)
            return None
        if computed is None:
            gradient = Buffer(fixed(step.parameter_gradients), Kind.GRADIENT)
            self._allocate(gradient)
        else:
            gradient = computed
            self._rename(gradient, Kind.GRADIENT)
        self._leave(gradient)
        return gradient

    def _takes_weight_first(self, _step: BackwardStep) -> bool:
        """Whether an operation computes the gradient of its parameters before those of its inputs."""
        return False

    def _has_run(self, step: BackwardStep) -> None:
        """Take notice of an operation that went back, whose gradients come to their tensors next."""

    def _step_over(self, gradient: Buffer, scratch: StepScratch) -> None:
        """Step the optimizer over parameters, and drop their gradient."""
        self._mark(fixed(scratch(gradient.size.fixed)))
        self._release(gradient)

    def _mark(self, temporary: Size = ZERO) -> None:
        """Take notice of a moment at which a kernel runs with its scratch memory."""

    def _mark_scratch(self, temporary: Size, pieces: Sequence[Piece]) -> None:  # noqa: ARG002  # for peaks alone
        """Take notice of a kernel's scratch memory, and of the tensors that make it up where they are known."""
        self._mark(temporary)

    def _undo(self, step: BackwardStep) -> None:
        grad, step.output.grad = step.output.grad, None
        if self.host is not None and grad is not None:
            self._given_up = self.host.unpack(step)
        if step.computed:
            self._mark()
        if grad is not None and step.replay is not None:
            step.replay(grad)
        elif grad is not None:
            self._go_back(step, grad)
        self._release_saved(step)
        self._give_up()

    def _give_up(self) -> None:
        """Release what came back from the host for operations before this one."""
        given_up, self._given_up = self._given_up, []
        for buffer in given_up:
            self._release(buffer)

    def _release_saved(self, step: BackwardStep) -> None:
        for buffer in step.saved:
            self._release(buffer)
        step.saved = []

    def _go_back(self, step: BackwardStep, grad: Buffer) -> None:
        if step.scratch_first:
            self._mark_scratch(step.temporary, step.pieces)
        weight_first = self._takes_weight_first(step)
        gradient = self._parameter_gradient(step) if weight_first else None
        results: list[tuple[Value, Buffer]] = []
        for value, size in zip(step.inputs, step.gradients, strict=True):
            if size is None:
                continue
            if size == HANDED_ON:
                results.append((value, step.computed.pop(0)))
                continue
            if size == PASSED_ON:
                grad.holders += 1
                results.append((value, grad))
                continue
            buffer = Buffer(size, Kind.WORKSPACE)
            self._allocate(buffer)
            results.append((value, buffer))
        if not weight_first:
            gradient = self._parameter_gradient(step)
        if step.scratch_first:
            self._mark()
        else:
            self._mark_scratch(step.temporary, step.pieces)
        self._release(grad)
        self._has_run(step)
        for value, buffer in results:
            self._accumulate(value, buffer)
        if step.is_tied:
            gradient, self._incomplete = self._incomplete, gradient
        if gradient is not None and self.step_scratch is not None:
            self._step_over(gradient, self.step_scratch)

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        old = value.grad
        if old is None:
            value.grad = grad
            return
        if old.holders > 1:
            total = Buffer(grad.size, Kind.WORKSPACE)
            self._allocate(total)
            self._mark()
            self._release(old)
            value.grad = total
        self._release(grad)

    def _record(self, step: BackwardStep) -> None:
        self._steps.append(step)

    def _release(self, buffer: Buffer) -> None:
        buffer.holders -= 1
        if buffer.holders == 0:
            self._free(buffer)
