"""A step's script tensor by tensor, in the order in which PyTorch takes and gives back.

Batches that differ in length find the gaps that earlier ones left, so that every tensor's place counts. Scripts of a
single step, and all figures that are published of one, are read by `ScriptReader`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.memory.closed_form.added_gradients import AddedGradients, detail_of
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.held import Concatenate, CopyGradient, Leaf, Linger, Return, Scope
from kaitoc.compiler.memory.closed_form.op import Checkpoint, New, Op, Stream
from kaitoc.compiler.memory.closed_form.scratch import Piece
from kaitoc.compiler.memory.closed_form.script import Allocated, Event, Freed, ScriptReader
from kaitoc.compiler.memory.closed_form.size import ZERO, Size
from kaitoc.compiler.memory.closed_form.tensor import Kind


class DetailedScriptReader(AddedGradients, ScriptReader):
    """Reads every tensor of an operation where it has a `Detail`.

    A checkpoint that is not reentrant is computed again once the first backward operation asks for a saved tensor,
    after those that saved none, and no further than the last tensor that is saved.
    """

    def __init__(self, *, runs_all_layers: bool = False) -> None:
        super().__init__(runs_all_layers=runs_all_layers)
        self._readers |= {
            Concatenate: self._concatenate,
            CopyGradient: self._copy_gradient,
            Leaf: self._leaf,
            Linger: self._linger,
            Return: self._return,
        }
        self._recomputed_events: tuple[int, int] | None = None
        self._last_saved = 0
        self._unmade: set[int] = set()
        self._lingering: dict[Scope, list[Buffer]] = {}
        self._leaves: list[Value] = []
        self._ending_later: dict[int, list[int]] = {}
        self._before_output: list[int] = []

    def _free(self, buffer: Buffer) -> None:
        if self._numbers.get(buffer) in self._unmade:
            del self._numbers[buffer]
        super()._free(buffer)

    def _take(self, pieces: Sequence[Piece]) -> list[int]:
        return self._written(pieces)

    def _mark(self, temporary: Size = ZERO) -> None:
        if self._undone is not None:
            self._keep_latest(self._undone)
            self._taken += self._written(_later_pieces(self._undone), self._ending_later)
            self._ending_later = {}
        super()._mark(temporary)

    def _keep_latest(self, step: BackwardStep) -> None:
        """Keep the embedding's gradient of a tied weight, to which the head's is added, where that one is a view."""
        head = self._incomplete
        if step.is_tied and head is not None and head in self._views:
            self._numbers[head], self._taken[0] = self._taken[0], self._numbers[head]

    def _launch(self, op: Op) -> None:
        if op.detail.forward or op.detail.before:
            self._give_back([*self._take(op.detail.forward), *self._before_output])
        elif op.forward_pieces:
            super()._launch(op)
        else:
            self._mark(op.forward_temporary - op.saved_size)

    def _new_output(self, op: Op) -> Value:
        size = op.detail.output
        return super()._new_output(op) if size is None else Value(self._made(size))

    def _sizes_made_first(self, op: Op) -> tuple[Size, ...]:
        return op.detail.saved[:-1]

    def _saved_sizes(self, op: Op) -> tuple[Size, ...]:
        return op.detail.saved[-1:] or super()._saved_sizes(op)

    def _linger(self, instruction: Linger) -> None:
        held = [self._held(tensor) for tensor in instruction.tensors]
        held += [self._made(size) for size in instruction.sizes]
        self._lingering.setdefault(instruction.scope, []).extend(held)

    def _return(self, instruction: Return) -> None:
        for buffer in self._lingering.pop(instruction.scope, ()):
            self._release(buffer)

    def step(self, stream: Stream, reference: Stream | None = None) -> None:
        """Read a step; with a graph that the loop holds its leaves stay, and their gradients."""
        super().step(stream, reference)
        if self.holds_graph:
            stay = [buffer for leaf in self._leaves for buffer in (leaf.buffer, leaf.grad) if buffer is not None]
            self.kept |= {self._numbers[buffer] for buffer in stay}

    def seed(self, value: Value, size: Size) -> None:
        """Start backward, at the end of which contexts of a graph that the loop holds keep what they refer to."""
        super().seed(value, size)
        if self.holds_graph:
            self.kept |= {self._numbers[buffer] for buffer in self._retained}
            self._retained = []

    def _leaf(self, instruction: Leaf) -> None:
        """Hold a leaf to the end of the graph (`AccumulateGrad` refers to its variable)."""
        self._held(instruction.tensor)
        self._leaves.append(self._values[instruction.tensor.number])

    def _concatenate(self, instruction: Concatenate) -> None:
        value = self._values[instruction.tensor.number]
        copied = self._values[instruction.tensor.number] = Value(self._made(instruction.tensor.size))
        if instruction.tensor.needs_grad and self._recording:
            self._record(BackwardStep((value,), copied, replay=lambda grad: self._accumulate(value, grad)))
        self._release(value.buffer)

    def _copy_gradient(self, instruction: CopyGradient) -> None:
        """Copy a gradient that comes back by head (`ViewBackward`, whose `reshape` copies what is not laid out so), or
        scale it (`MulBackward0`).
        """
        value = self._values[instruction.tensor.number]
        if not (instruction.tensor.needs_grad and self._recording):
            return

        def copy(grad: Buffer) -> None:
            copied = Buffer(grad.size, Kind.WORKSPACE)
            self._allocate(copied)
            self._release(grad)
            self._accumulate(value, copied)

        alias = self._values[instruction.tensor.number] = Value(value.buffer)
        self._record(BackwardStep((value,), alias, replay=copy))

    def _make(self, instruction: New) -> None:
        if not instruction.detail:
            super()._make(instruction)
            return
        first, *_ = [self._made(size) for size in instruction.detail]
        self._values[instruction.tensor.number] = Value(first)

    def _apply(self, op: Op) -> None:
        if op.saves_tensors:
            self._last_saved = len(self.events)
        self._before_output = self._take(op.detail.before)
        super()._apply(op)
        if op.saves_results:
            self._last_saved = len(self.events)

    def _run_again(self, instruction: Checkpoint, given: Value) -> Value:
        start = self._last_saved = len(self.events)
        result = super()._run_again(instruction, given)
        if not instruction.keeps_output:
            self._recomputed_events = start, 0
            self._stop_early()
        return result

    def _stop_early(self) -> None:
        """Leave out all after the last saved tensor (`_StopRecomputationError` of `torch/utils/checkpoint.py`)."""
        rest: list[Event] = self.events[self._last_saved :]
        unmade = {event.number for event in rest if isinstance(event, Allocated)}
        self._unmade |= unmade
        kept = [event for event in rest if isinstance(event, Freed) and event.number not in unmade]
        self.events[self._last_saved :] = kept

    def _undo(self, step: BackwardStep) -> None:
        if self._recomputed_events is not None:
            start, end = self._recomputed_events
            end = end or len(self.events)
            self._recomputed_events = start, end
            if step.asks_for_saved:
                self.events += self.events[start:end]
                del self.events[start:end]
                self._recomputed_events = None
        super()._undo(step)

    def _go_back(self, step: BackwardStep, grad: Buffer) -> None:
        super()._go_back(step, grad)
        if step.is_tied and detail_of(step).views_weight and self._incomplete is not None:
            self._views.add(self._incomplete)

    def _pieces_first(self, step: BackwardStep) -> Sequence[Piece]:
        return () if detail_of(step).gradients_first else detail_of(step).backward or step.pieces

    def _take_first(self, step: BackwardStep, pieces: Sequence[Piece]) -> list[int]:
        """Take tensors that are there before gradients; those of a `Detail` may end among the later pieces."""
        num_first, first = len(pieces), self._num_blocks
        if not (detail_of(step).backward and step.later_pieces):
            return self._written(pieces)
        lasting = [Piece(size, None if until is not None and until >= num_first else until) for size, until in pieces]
        taken = self._written(lasting)
        for number, piece in enumerate(pieces, first):
            if piece.until is not None and piece.until >= num_first:
                taken.remove(number)
                self._ending_later.setdefault(piece.until - num_first, []).append(number)
        return taken

    def _has_later_pieces(self, step: BackwardStep) -> bool:
        return bool(_later_pieces(step))

    def _takes_weight_first(self, step: BackwardStep) -> bool:
        return detail_of(step).weight_first


def _later_pieces(step: BackwardStep) -> Sequence[Piece]:
    return step.pieces if detail_of(step).gradients_first else step.later_pieces
