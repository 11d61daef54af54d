"""What PyTorch's autograd keeps alive, by counting references to buffers whose sizes are linear forms.

The tape repeats the rules of `torch/csrc/autograd` (PyTorch 2.2 to 2.13): a buffer lives while Python or a saved
variable refers to it; backward visits operations in reverse order of creation, releases an operation's saved
variables after it ran, adds gradients in place when nobody else holds them (`input_buffer.cpp`), and steals the
first gradient of a parameter (`accumulate_grad.h`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.value import Buffer, Kind, Moment, Step, Value
from kaitoc.compiler.memory.result import Phase


class Tape:
    """Runs a model's forward and backward pass on sizes alone and keeps the moments that can be a peak."""

    def __init__(self) -> None:
        self.live: list[Size] = [ZERO] * len(Kind)
        self.phase = Phase.FORWARD
        self.moments: dict[Phase, list[Moment]] = {}
        self._steps: list[Step] = []
        self._retained: list[Buffer] = []
        self._keeps_contexts = False
        self._recording = True

    def new(self, elements: Size, num_bytes: int, needs_grad: bool, kind: Kind = Kind.ACTIVATION) -> Value:
        """Allocate a tensor that the caller holds until it drops it."""
        buffer = Buffer(elements.times(num_bytes), kind)
        self._allocate(buffer)
        return Value(elements, num_bytes, buffer, needs_grad)

    def drop(self, *values: Value) -> None:
        """Give up Python's reference to tensors."""
        for value in values:
            self._release(value.buffer)

    def replace(self, new: Value, old: Value) -> Value:
        """Give up Python's reference to a tensor that another one stands in for; return that one."""
        self.drop(old)
        return new

    def hold(self, value: Value) -> Value:
        """Add a Python reference."""
        value.buffer.holders += 1
        return value

    def relabel(self, value: Value, kind: Kind) -> None:
        """Count a tensor's buffer under another kind."""
        buffer = value.buffer
        self.live[buffer.kind] = self.live[buffer.kind].minus(buffer.size)
        buffer.kind = kind
        self._allocate(buffer)

    def mark(self, temporary: Size = ZERO) -> None:
        """Note the present moment, with scratch memory of the kernel that runs."""
        live = self.live
        if temporary is not ZERO:
            live = [*live]
            live[Kind.WORKSPACE] = live[Kind.WORKSPACE].plus(temporary)
        total = live[0].plus(live[1]).plus(live[2]).plus(live[3])
        kept = self.moments.setdefault(self.phase, [])
        for moment in kept:
            if moment.total.covers(total):
                return
        kept[:] = [moment for moment in kept if not total.covers(moment.total)]
        kept.append(Moment(total, tuple(live)))

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
        """Run one operation and record how it goes back.

        `saves` are inputs the backward needs, `saves_size` other data it keeps (masks, statistics). `retains` are
        inputs that the operation holds outside autograd's saved variables, until its whole graph is gone. `grads` are
        the sizes of the inputs' gradients, by default those of the inputs. `parameter_gradients` are the bytes of
        gradients of trainable parameters, which stay until the optimizer has run.
        """
        needs_grad = parameter_gradients > 0 or any(value.needs_grad for value in inputs)
        output = self.new(elements, num_bytes, needs_grad, kind)
        self.mark(forward_temporary.plus(saves_size) if forward_temporary is not ZERO else saves_size)
        if needs_grad and (self._recording or self._keeps_contexts):
            for value in retains:
                value.buffer.holders += 1
                self._retained.append(value.buffer)
        if not needs_grad or not self._recording:
            return output
        saved = []
        for value in (*saves, output) if saves_output else saves:
            value.buffer.holders += 1
            saved.append(value.buffer)
        if saves_size is not ZERO:
            extra = Buffer(saves_size, Kind.ACTIVATION)
            self._allocate(extra)
            saved.append(extra)
        sizes = grads if grads is not None else [value.size for value in inputs]
        wanted = tuple(size if value.needs_grad else None for value, size in zip(inputs, sizes, strict=True))
        self._steps.append(Step(tuple(inputs), output, saved, wanted, backward_temporary, parameter_gradients))
        return output

    def view(self, value: Value, elements: Size) -> Value:
        """Take a slice that shares the buffer; its gradient goes into one of the whole's size.

        `split`, `chunk` and slices of one tensor gather their gradients with a concatenation or zero-padded sums, so
        the first gradient allocates the whole and the others are added to it.
        """
        value.buffer.holders += 1
        part = Value(elements, value.num_bytes, value.buffer, value.needs_grad)
        if value.needs_grad and self._recording:
            self._steps.append(Step((value,), part, [], (value.size,), ZERO, 0))
        return part

    def split(self, value: Value, *parts: Size) -> tuple[Value, ...]:
        """Take views that cover the whole; their gradients are gathered into one of its size (`split_backward`)."""
        views = []
        for elements in parts:
            value.buffer.holders += 1
            views.append(Value(elements, value.num_bytes, value.buffer, value.needs_grad))
        first, *others = views
        if not value.needs_grad or not self._recording:
            return tuple(views)

        def gather(grad: Buffer) -> None:
            whole = Buffer(value.size, Kind.WORKSPACE)
            self._allocate(whole)
            self.mark()
            self._release(grad)
            for other in others:
                if other.grad is not None:
                    self._release(other.grad)
                    other.grad = None
            self._accumulate(value, whole)

        self._steps.append(Step((value,), first, [], (None,), ZERO, 0, gather))
        return tuple(views)

    def checkpoint(self, function: Callable[[Value], Value], given: Value, keeps_output: bool) -> Value:
        """Run `function` without saving; backward runs it again (`torch.utils.checkpoint`).

        `keeps_output` is the reentrant variant, whose recomputed output lives while the block goes back. The other one
        builds a graph without saved tensors, whose operations keep what they hold on their contexts.
        """
        recording, self._recording = self._recording, False
        self._keeps_contexts = not keeps_output
        output = function(given)
        self._recording, self._keeps_contexts = recording, False
        output.needs_grad = True

        def replay(grad: Buffer) -> None:
            outer, self._steps = self._steps, []
            outer_retained, self._retained = self._retained, []
            again = Value(given.elements, given.num_bytes, given.buffer, given.needs_grad)
            result = function(again)
            if not keeps_output:
                self.drop(result)
            result.grad = grad
            if keeps_output:
                grad.holders += 1
            self.backward()
            if keeps_output:
                self.drop(result)
                self._release(grad)
            self._steps = outer
            self._retained = outer_retained
            if again.grad is not None:
                self._accumulate(given, again.grad)

        given.buffer.holders += 1
        self._steps.append(Step((given,), output, [given.buffer], (None,), ZERO, 0, replay))
        return output

    def repeat(self, function: Callable[[Value], Value], given: Value, count: int, gradient_bytes: int) -> Value:
        """Run `function` on its own output `count` times, deriving only the first and last run.

        Between the two, forward and backward change what is live by the same amount for every run, so a peak lies
        in the first or the last. A run on an input without gradient saves less and stands alone.
        `gradient_bytes` are the parameter gradients that one run leaves behind.
        """
        if not given.needs_grad and count > 1:
            given = self._chain(function, given)
            count -= 1
        if count <= 3:
            for _ in range(count):
                given = self._chain(function, given)
            return given
        before = tuple(self.live)
        first = self._chain(function, given)
        kept = [now.minus(then) for now, then in zip(self.live, before, strict=True)]
        skipped = [size.times(count - 2) for size in kept]
        self._shift(skipped, 1)

        def jump(grad: Buffer) -> None:
            self._shift(skipped, -1)
            self._allocate(Buffer(fixed(gradient_bytes * (count - 2)), Kind.GRADIENT))
            self._accumulate(first, grad)

        bridge = Value(first.elements, first.num_bytes, first.buffer, first.needs_grad)
        if first.needs_grad and self._recording:
            self._steps.append(Step((first,), bridge, [], (None,), ZERO, 0, jump))
        return self._chain(function, bridge)

    def accumulate(self, function: Callable[[], Value], target: Value, count: int) -> Value:
        """Add `count` results of `function` into `target` in place (`index_add_`), deriving the first and the last.

        Returns the last alias of `target`, which the caller holds in its place.
        """
        if count < 3:
            for _ in range(count):
                target = self._add_in_place(function(), target)
            return target
        before, start = tuple(self.live), len(self._steps)
        target = self._add_in_place(function(), target)
        kept = [now.minus(then).times(count - 2) for now, then in zip(self.live, before, strict=True)]
        gradient_bytes = sum(step.parameter_gradients for step in self._steps[start:]) * (count - 2)
        self._shift(kept, 1)
        if not self._recording or not target.needs_grad:
            return self._add_in_place(function(), target)
        bridge = Value(target.elements, target.num_bytes, target.buffer, True)

        def jump(grad: Buffer) -> None:
            self._shift(kept, -1)
            self._allocate(Buffer(fixed(gradient_bytes), Kind.GRADIENT))
            self._accumulate(target, grad)

        self._steps.append(Step((target,), bridge, [], (None,), ZERO, 0, jump))
        return self._add_in_place(function(), bridge)

    def _add_in_place(self, addend: Value, target: Value) -> Value:
        """Return an alias of `target`; the addend's gradient is a new gather, the target's passes through."""
        needs_grad = target.needs_grad or addend.needs_grad
        result = Value(target.elements, target.num_bytes, target.buffer, needs_grad)
        self.mark()
        if needs_grad and self._recording:
            sizes = (addend.size if addend.needs_grad else None, ZERO if target.needs_grad else None)
            self._steps.append(Step((addend, target), result, [], sizes, ZERO, 0))
        self.drop(addend)
        return result

    def backward(self) -> None:
        """Go back through all recorded operations; the last output must have its gradient set."""
        while self._steps:
            step = self._steps.pop()
            grad, step.output.grad = step.output.grad, None
            if grad is not None and step.replay is not None:
                step.replay(grad)
            elif grad is not None:
                self._go_back(step, grad)
            for buffer in step.saved:
                self._release(buffer)
        for buffer in self._retained:
            self._release(buffer)
        self._retained = []

    def seed(self, value: Value, size: Size) -> None:
        """Start backward with a gradient of the given size for `value`."""
        value.grad = Buffer(size, Kind.WORKSPACE)
        self._allocate(value.grad)

    def _go_back(self, step: Step, grad: Buffer) -> None:
        results: list[tuple[Value, Buffer]] = []
        for value, size in zip(step.inputs, step.grad_sizes, strict=True):
            if size is None:
                continue
            if size is ZERO:
                grad.holders += 1
                results.append((value, grad))
                continue
            buffer = Buffer(size, Kind.WORKSPACE)
            self._allocate(buffer)
            results.append((value, buffer))
        if step.parameter_gradients:
            self._allocate(Buffer(fixed(step.parameter_gradients), Kind.GRADIENT))
        self.mark(step.temporary)
        self._release(grad)
        for value, buffer in results:
            self._accumulate(value, buffer)

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        old = value.grad
        if old is None:
            value.grad = grad
            return
        if old.holders > 1:
            total = Buffer(grad.size, Kind.WORKSPACE)
            self._allocate(total)
            self.mark()
            self._release(old)
            value.grad = total
        self._release(grad)

    def _chain(self, function: Callable[[Value], Value], given: Value) -> Value:
        output = function(given)
        self.drop(given)
        return output

    def _shift(self, sizes: Sequence[Size], sign: int) -> None:
        for kind, size in enumerate(sizes):
            self.live[kind] = self.live[kind].plus(size.times(sign))

    def _allocate(self, buffer: Buffer) -> None:
        self.live[buffer.kind] = self.live[buffer.kind].plus(buffer.size)

    def _release(self, buffer: Buffer) -> None:
        buffer.holders -= 1
        if buffer.holders == 0:
            self.live[buffer.kind] = self.live[buffer.kind].minus(buffer.size)


@contextmanager
def phase(tape: Tape, name: Phase) -> Iterator[None]:
    """Attribute the moments inside the block to one phase."""
    before, tape.phase = tape.phase, name
    yield
    tape.phase = before
