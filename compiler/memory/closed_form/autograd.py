"""What PyTorch's autograd keeps alive, by counting references while a stream of operations is read.

The rules are those of `torch/csrc/autograd` (PyTorch 2.2 to 2.13): a buffer lives while Python or a saved variable
refers to it; backward visits operations in reverse order of creation, releases an operation's saved variables after it
ran, adds gradients in place when nobody else holds them (`input_buffer.cpp`), and steals the first gradient of a
parameter (`accumulate_grad.h`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Graph, Value
from kaitoc.compiler.memory.closed_form.held import Concatenate, CopyGradient, Leaf, Linger, Return
from kaitoc.compiler.memory.closed_form.op import (
    PASSED_ON,
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
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor
from kaitoc.compiler.memory.result import Phase

if TYPE_CHECKING:
    from kaitoc.compiler.memory.closed_form.offload import Offload

NUM_EMPTY_INPUTS = 1
"""A checkpoint that is not reentrant saves an empty tensor beside its input (`_NoopSaveInputs`)."""


class Autograd(Graph):
    """Reads a stream forward, then back; what a reader is after it gets from the methods that it overrides.

    `holds_graph`: the loop holds the model's outputs, and the graph with their loss, until those of the next step are
    there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[int, Value] = {}
        self._keeps_contexts = False
        self._recording = True
        self._cached: list[Buffer] = []
        self.offload: Offload | None = None
        self.holds_graph = False
        self._readers: dict[type, Callable[[Any], None]] = {
            Op: self._apply,
            New: self._make,
            Hold: self._hold,
            Keep: self._keep,
            Cache: self._cache,
            DropCache: self._drop_cache,
            Drop: self._drop,
            Relabel: self._relabel,
            Scratch: self._scratch,
            View: self._view,
            Split: self._split,
            Repeat: self._repeat,
            Checkpoint: self._checkpoint,
            Accumulate: self._accumulate_in_place,
            Enter: self._enter,
            Begin: self._begin,
            **dict.fromkeys((Concatenate, CopyGradient, Leaf, Linger, Return), self._pass_over),
        }

    def offload_activations(self, *, skips_head: bool) -> None:
        """Send what is saved from here on to the host."""
        from kaitoc.compiler.memory.closed_form.offload import Offload  # for few runs

        self.host = self.offload = Offload(self._allocate, self._release, skips_head=skips_head)

    def forward(self, stream: Stream) -> Value:
        """Read a forward pass; return its loss."""
        self._read(stream.instructions)
        return self._values[stream.loss.number]

    def step(self, stream: Stream, reference: Stream | None = None) -> None:
        """Read a step forward and backward, and a reference's forward pass between the two."""
        loss = self.forward(stream)
        if reference is not None:
            self.pass_through(reference)
        self.seed(loss, fixed(FLOAT32_BYTES))
        self.backward()
        for buffer in self.offload.finish() if self.offload is not None else ():
            self._release(buffer)

    def pass_through(self, stream: Stream) -> None:
        """Read a forward pass without gradients, of which nothing is left; the one that was read before goes back."""
        outer, self._values = self._values, {}
        recording, self._recording = self._recording, False
        self._read(stream.instructions)
        for buffer in {id(value.buffer): value.buffer for value in self._values.values()}.values():
            while buffer.holders > 0:
                self._release(buffer)
        self._values, self._recording = outer, recording

    def _launch(self, op: Op) -> None:
        """Take notice of an operation, whose output was just allocated."""
        self._mark_scratch(op.forward_temporary, op.forward_pieces)

    def _enter(self, instruction: Enter) -> None:
        """Take notice of a phase."""
        if self.offload is not None and instruction.phase is Phase.LOSS:
            self.offload.is_active = not self.offload.skips_head

    def _begin(self, instruction: Begin) -> None:
        """Take notice of a part of the model."""
        if self.offload is not None and instruction.part is Part.LOGITS:
            self.offload.is_active = True

    def _pass_over(self, instruction: Concatenate | CopyGradient | Leaf | Linger | Return) -> None:
        """Take notice of what is held or copied between operations."""

    def _relabel(self, instruction: Relabel) -> None:
        """Take notice of another kind of a buffer."""

    def _scratch(self, instruction: Scratch) -> None:
        if instruction.temporary != ZERO:
            self._mark(instruction.temporary)

    def _repeat(self, instruction: Repeat) -> None:
        value = self._layer(instruction.first, self._values[instruction.given.number])
        for _ in range(instruction.count - 1):
            value = self._layer(instruction.later, value)

    def _layer(self, body: Body, given: Value) -> Value:
        """Read one of several equal layers on a value; return its result."""
        return self._run(body, given)

    def _read(self, instructions: Sequence[Instruction]) -> None:
        readers = self._readers
        for instruction in instructions:
            readers[type(instruction)](instruction)

    def _run(self, body: Body, given: Value) -> Value:
        """Read a body on a value; return its result."""
        self._values[body.given.number] = given
        self._read(body.instructions)
        return self._values[body.result.number]

    def _apply(self, op: Op) -> None:
        values = self._values
        made_first = [self._made(size) for size in self._sizes_made_first(op)]
        computed = [self._made(size) for size in op.computes]
        output = values[op.output.number] = self._new_output(op)
        self._launch(op)
        if not op.has_backward or not (self._recording or self._keeps_contexts):
            for buffer in (*computed, *made_first):
                self._release(buffer)
            return
        for tensor in op.retained:
            self._retained.append(self._held(tensor))
        if not self._recording:
            for buffer in (*computed, *made_first):
                self._release(buffer)
            return
        step = BackwardStep([values[tensor.number] for tensor in op.inputs], output, op.gradients, op)
        step.temporary, step.parameter_gradients = op.backward_temporary, op.parameter_gradients
        step.computed, step.is_tied, step.pieces = computed, op.is_tied, op.backward_pieces
        step.later_pieces, step.scratch_first = op.later_pieces, op.scratch_first
        step.saved = [self._held(tensor) for tensor in op.saved]
        step.saved += made_first
        step.saved += [self._made(size) for size in self._saved_sizes(op)]
        if self.offload is not None:
            self.offload.skip(op.num_saved_parameters)
            self.offload.pack(step)
        self._record(step)

    def _new_output(self, op: Op) -> Value:
        return self._new_value(op.output)

    def _sizes_made_first(self, _op: Op) -> tuple[Size, ...]:
        """Return the sizes of what an operation saves that is there before its output."""
        return ()

    def _saved_sizes(self, op: Op) -> tuple[Size, ...]:
        """Return the sizes of what an operation saves beside its inputs and output."""
        return (op.saved_size,) if op.saved_size != ZERO else ()

    def _make(self, instruction: New) -> None:
        self._values[instruction.tensor.number] = self._new_value(instruction.tensor)

    def _hold(self, instruction: Hold) -> None:
        self._held(instruction.tensor)

    def _keep(self, instruction: Keep) -> None:
        self._held(instruction.tensor)

    def _cache(self, instruction: Cache) -> None:
        """Hold a tensor; what a checkpoint puts there when it runs again goes with the checkpoint."""
        if not self._recording:
            self._cached.append(self._held(instruction.tensor))

    def _drop_cache(self, _instruction: DropCache) -> None:
        for buffer in self._cached:
            self._release(buffer)
        self._cached = []

    def _drop(self, instruction: Drop) -> None:
        for tensor in instruction.tensors:
            self._release(self._values[tensor.number].buffer)

    def _view(self, instruction: View) -> None:
        whole = self._values[instruction.whole.number]
        part = self._values[instruction.part.number] = Value(self._held(instruction.whole))
        if instruction.whole.needs_grad and self._recording:
            self._record(BackwardStep((whole,), part, (instruction.whole.size,), instruction))

    def _split(self, instruction: Split) -> None:
        whole = self._values[instruction.whole.number]
        parts = [Value(self._held(instruction.whole)) for _ in instruction.parts]
        for tensor, part in zip(instruction.parts, parts, strict=True):
            self._values[tensor.number] = part
        if not instruction.whole.needs_grad or not self._recording:
            return
        first, *others = parts

        def gather(grad: Buffer) -> None:
            gathered = Buffer(instruction.whole.size, Kind.WORKSPACE)
            self._allocate(gathered)
            self._mark()
            self._release(grad)
            for other in others:
                if other.grad is not None:
                    self._release(other.grad)
                    other.grad = None
            self._accumulate(whole, gathered)

        self._record(BackwardStep((whole,), first, launched_by=instruction, replay=gather))

    def _checkpoint(self, instruction: Checkpoint) -> None:
        body, keeps_output = instruction.body, instruction.keeps_output
        given = self._values[body.given.number]
        recording, self._recording = self._recording, False
        self._keeps_contexts = not keeps_output
        output = self._values[instruction.output.number] = self._run(body, given)
        self._recording, self._keeps_contexts = recording, False

        def replay(grad: Buffer) -> None:
            outer, self._steps = self._steps, []
            outer_retained, self._retained = self._retained, []
            again = Value(given.buffer)
            result = self._without_offload(lambda: self._run_again(instruction, again))
            self._give_up()
            if not keeps_output:
                self._release(result.buffer)
            result.grad = grad
            if keeps_output:
                grad.holders += 1
            self.backward()
            if keeps_output:
                self._release(result.buffer)
                self._release(grad)
            self._steps = outer
            self._retained = outer_retained
            if again.grad is not None:
                self._recomputed(given, again.grad)
                self._accumulate(given, again.grad)

        step = BackwardStep((given,), output, replay=replay)
        step.saved = [self._held(body.given)]
        if self.offload is not None:
            self.offload.skip(NUM_EMPTY_INPUTS)
            self.offload.pack(step)
        self._record(step)

    def _without_offload(self, run: Callable[[], Value]) -> Value:
        """Read operations whose saved tensors stay, as the hooks of a checkpoint that is not reentrant have it."""
        offload, self.offload = self.offload, None
        result = run()
        self.offload = offload
        return result

    def _recomputed(self, given: Value, grad: Buffer) -> None:
        """Take notice of a checkpointed body that went back, its input and the input's gradient."""

    def _run_again(self, instruction: Checkpoint, given: Value) -> Value:
        """Read a checkpointed body in the backward pass."""
        return self._run(instruction.body, given)

    def _accumulate_in_place(self, instruction: Accumulate) -> None:
        target = self._values[instruction.target.number]
        passes_on = instruction.target.needs_grad
        for _ in range(instruction.count):
            target = self._add_in_place(instruction, target, passes_on)
            passes_on = instruction.output.needs_grad
        self._values[instruction.output.number] = target

    def _add_in_place(self, instruction: Accumulate, target: Value, passes_on: bool) -> Value:
        """Read the body; return an alias of `target` with its result. `passes_on`: the target hands its gradient on."""
        addend = self._run(instruction.body, target)
        result = Value(target.buffer)
        self._mark()
        if instruction.output.needs_grad and self._recording:
            tensor = instruction.body.result
            gradients = (tensor.size if tensor.needs_grad else None, PASSED_ON if passes_on else None)
            self._record(BackwardStep((addend, target), result, gradients, instruction))
        self._release(addend.buffer)
        return result

    def _new_value(self, tensor: Tensor) -> Value:
        buffer = Buffer(tensor.storage.size, tensor.storage.kind)
        self._allocate(buffer)
        return Value(buffer)

    def _made(self, size: Size) -> Buffer:
        buffer = Buffer(size, Kind.ACTIVATION)
        self._allocate(buffer)
        return buffer

    def _held(self, tensor: Tensor) -> Buffer:
        """Return a tensor's buffer with one more who holds it."""
        buffer = self._values[tensor.number].buffer
        buffer.holders += 1
        return buffer
