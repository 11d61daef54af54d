"""Writes a training step down as a stream of operations; the modelling code of this room speaks to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from kaitoc.compiler.memory.closed_form.effects import PLAIN, Effects
from kaitoc.compiler.memory.closed_form.held import Concatenate, CopyGradient, Leaf, Linger, Return, Scope
from kaitoc.compiler.memory.closed_form.kernel import NO_LAUNCH, Group, Launch, launch, traffic
from kaitoc.compiler.memory.closed_form.op import (
    Accumulate,
    Begin,
    Body,
    Cache,
    Checkpoint,
    Drop,
    DropCache,
    Enter,
    Hold,
    Instruction,
    Keep,
    New,
    Op,
    Part,
    Relabel,
    Repeat,
    Scratch,
    Split,
    Stream,
    View,
)
from kaitoc.compiler.memory.closed_form.scratch import most
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.closed_form.tensor import Kind, Storage, Tensor
from kaitoc.compiler.memory.result import Phase


class StreamBuilder:
    """Collects instructions in the order in which Python runs them.

    Every tensor that a method returns is held by the caller, who must drop it where Python would.
    """

    def __init__(self) -> None:
        self.group = Group.ELEMENTWISE
        self.is_loss = False
        self._instructions: list[Instruction] = []
        self._num_tensors = 0
        self._bodies: dict[Hashable, Body] = {}
        self.owed: tuple[Launch, Launch | None] | None = None
        """What the next operation launches in place of its own: the head's product before a loss of full logits, and
        8-bit products of inputs that autocast would narrow. Every published figure is counted so."""

    def stream(self, loss: Tensor) -> Stream:
        """Return the stream written so far, to go back from `loss`."""
        return Stream(tuple(self._instructions), loss)

    def new(
        self,
        elements: Size,
        num_bytes: int,
        needs_grad: bool,
        kind: Kind = Kind.ACTIVATION,
        detail: tuple[Size, ...] = (),
    ) -> Tensor:
        """Allocate a tensor, or one for several that are there as long."""
        tensor = self._tensor(elements, num_bytes, Storage(elements * num_bytes, kind), needs_grad)
        self._write(New(tensor, detail))
        return tensor

    def drop(self, *tensors: Tensor) -> None:
        """Give up Python's reference to tensors."""
        self._write(Drop(tensors))

    def replace(self, new: Tensor, old: Tensor) -> Tensor:
        """Give up Python's reference to a tensor that another one stands in for; return that one."""
        self.drop(old)
        return new

    def hold(self, tensor: Tensor) -> Tensor:
        """Add a Python reference."""
        self._write(Hold(tensor))
        return tensor

    def keep(self, tensor: Tensor) -> None:
        """Hand a tensor out with the model's outputs, which the loop holds."""
        self._write(Keep(tensor))

    def cache(self, tensor: Tensor) -> None:
        """Put a tensor into the cache of the model's outputs, whose computation records no gradient."""
        self._write(Cache(tensor))

    def drop_cache(self) -> None:
        """Give up the model's outputs with their cache."""
        self._write(DropCache())

    def relabel(self, tensor: Tensor, kind: Kind) -> Tensor:
        """Count a tensor's storage under another kind."""
        storage = Storage(tensor.storage.size, kind)
        relabelled = Tensor(tensor.number, tensor.elements, tensor.num_bytes, storage, tensor.needs_grad)
        self._write(Relabel(relabelled))
        return relabelled

    def require_grad(self, tensor: Tensor) -> Tensor:
        """Return a tensor that gradients flow back to although nothing before it is trained."""
        return Tensor(tensor.number, tensor.elements, tensor.num_bytes, tensor.storage, True)

    def scratch(self, temporary: Size, forward: Launch, backward: Launch = NO_LAUNCH) -> None:
        """Run kernels that leave no tensor behind."""
        self._write(Scratch(temporary, forward, backward))

    def apply(self, inputs: Sequence[Tensor], elements: Size, num_bytes: int, effects: Effects = PLAIN) -> Tensor:
        """Run one operation and return its output."""
        has_backward = effects.parameter_gradients > 0 or any(tensor.needs_grad for tensor in inputs)
        output = self._tensor(elements, num_bytes, Storage(elements * num_bytes, effects.kind), has_backward)
        sizes = effects.gradients if effects.gradients is not None else [tensor.size for tensor in inputs]
        saved = (*effects.saves, output) if effects.saves_output else effects.saves
        gradients = tuple(size if tensor.needs_grad else None for tensor, size in zip(inputs, sizes, strict=True))
        forward, backward = effects.forward, effects.backward
        owed, self.owed = self.owed, None
        is_plain = forward is None
        if forward is None and owed is not None:
            is_plain = False
            forward, backward = owed
        self._write(
            Op(
                inputs=tuple(inputs),
                output=output,
                saved=saved,
                saved_size=effects.saves_size,
                computes=effects.computes,
                forward_pieces=effects.forward_pieces,
                backward_pieces=effects.backward_pieces,
                later_pieces=effects.later_pieces,
                scratch_first=effects.scratch_first,
                detail=effects.detail,
                num_saved_parameters=effects.num_saved_parameters,
                retained=effects.retains,
                gradients=gradients,
                forward_temporary=effects.forward_temporary + most(effects.forward_pieces) + effects.saves_size,
                backward_temporary=effects.backward_temporary + most(effects.backward_pieces),
                parameter_gradients=effects.parameter_gradients,
                is_tied=effects.is_tied,
                has_backward=has_backward,
                group=self._group() if is_plain else self.group,
                reads_again=effects.reads_again,
                stated_forward=forward,
                stated_backward=backward,
            )
        )
        return output

    def view(self, whole: Tensor, elements: Size) -> Tensor:
        """Take a slice that shares the storage."""
        part = self._tensor(elements, whole.num_bytes, whole.storage, whole.needs_grad)
        self._write(View(whole, part, Launch((traffic(self.group, whole.size),), 1, moves_gradient=True)))
        return part

    def copy_gradient(self, tensor: Tensor) -> None:
        """Use a tensor in another form from here on."""
        self._write(CopyGradient(tensor))

    def leaf(self, tensor: Tensor) -> None:
        """Have a tensor live as long as the graph."""
        self._write(Leaf(tensor))

    def concatenate(self, tensor: Tensor) -> None:
        """Use a copy of a tensor from here on, as `torch.cat` makes it."""
        self._write(Concatenate(tensor))

    def split(self, whole: Tensor, *parts: Size) -> tuple[Tensor, ...]:
        """Take views that cover the whole; their gradients are concatenated."""
        views = tuple(self._tensor(part, whole.num_bytes, whole.storage, whole.needs_grad) for part in parts)
        self._write(Split(whole, views, launch(traffic(self.group, whole.size * 2))))
        return views

    def checkpoint(self, function: Callable[[Tensor], Tensor], given: Tensor, keeps_output: bool) -> Tensor:
        """Run `function` without saving."""
        body = self._body(function, given)
        result = body.result
        output = self._tensor(result.elements, result.num_bytes, result.storage, True)
        self._write(Checkpoint(body, output, keeps_output))
        return output

    def repeat(
        self,
        function: Callable[[Tensor], Tensor],
        given: Tensor,
        count: int,
        gradient_bytes: int,
        layer: Hashable = None,
    ) -> Tensor:
        """Run `function` on its own output `count` times; a run on an input without gradient saves less.

        `gradient_bytes` are the parameter gradients that one run leaves behind. What is known for an equal `layer` is
        not written down again.
        """
        if not given.needs_grad and count > 1:
            given = self.repeat(function, given, 1, gradient_bytes, layer)
            count -= 1
        first = later = self._layer_body(function, given, layer)
        if count > 1 and first.result.num_bytes != given.num_bytes:
            later = self._layer_body(function, first.result, layer)
        self._write(Repeat(given, first, later, count, gradient_bytes))
        return later.result

    def _layer_body(self, function: Callable[[Tensor], Tensor], given: Tensor, layer: Hashable) -> Body:
        key = layer, given.num_bytes, given.needs_grad
        body = self._bodies.get(key) if layer is not None else None
        if body is None:
            body = self._bodies[key] = self._body(lambda tensor: self.replace(function(tensor), tensor), given)
        return body

    def accumulate(self, function: Callable[[], Tensor], target: Tensor, count: int) -> Tensor:
        """Add `count` results of `function` into `target` in place; return the alias that stands for it then."""
        body = self._body(lambda _: function(), target)
        addend = body.result
        needs_grad = target.needs_grad or addend.needs_grad
        output = self._tensor(target.elements, target.num_bytes, target.storage, needs_grad)
        forward = launch(traffic(self.group, addend.size * 3))
        backward = launch(traffic(self.group, addend.size * 2))
        self._write(Accumulate(body, target, output, count, forward, backward))
        return output

    @contextmanager
    def inside(self, group: Group) -> Iterator[None]:
        """Attribute the kernels inside the block to a group."""
        outer, self.group = self.group, group
        yield
        self.group = outer

    def enter_loss(self) -> None:
        """Begin the loss, to which everything after belongs."""
        self.is_loss = True
        self._write(Enter(Phase.LOSS))

    def linger(self, scope: Scope, *tensors: Tensor, sizes: tuple[Size, ...] = ()) -> None:
        """Have variables hold tensors, and others of these sizes, until their scope ends."""
        self._write(Linger(scope, tensors, sizes))

    def leave(self, scope: Scope) -> None:
        """End a scope and the variables in it."""
        self._write(Return(scope))

    def begin(self, part: Part, given: Tensor | None = None) -> None:
        """Say which part of the model comes next, and what goes into it."""
        self._write(Begin(part, given))

    def _write(self, instruction: Instruction) -> None:
        self._instructions.append(instruction)

    def _tensor(self, elements: Size, num_bytes: int, storage: Storage, needs_grad: bool) -> Tensor:
        self._num_tensors += 1
        return Tensor(self._num_tensors, elements, num_bytes, storage, needs_grad)

    def _body(self, function: Callable[[Tensor], Tensor], given: Tensor) -> Body:
        outer, self._instructions = self._instructions, []
        result = function(given)
        body = Body(tuple(self._instructions), given, result)
        self._instructions = outer
        return body

    def _group(self) -> Group:
        return Group.HEAD if self.is_loss and self.group is Group.ELEMENTWISE else self.group
