"""When a checkpoint is computed again: once the backward pass asks for the first tensor that it saved.

`torch/utils/checkpoint.py` (`_checkpoint_hook`) runs the function again when a saved tensor is unpacked, so that the
operations that saved none have gone back before, and stops at the last tensor that is saved
(`_StopRecomputationError`).
"""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.memory.closed_form.added_gradients import AddedGradients
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Value
from kaitoc.compiler.memory.closed_form.op import Checkpoint, Op
from kaitoc.compiler.memory.closed_form.size import ZERO, Size
from kaitoc.compiler.memory.closed_form.tensor import Kind


class LateRecompute(AddedGradients):
    """Counts what is live by `Kind`, and the moments of a second forward pass as they are when it is asked for.

    A checkpoint is read again before its operations go back. Moments of that wait until one of them needs what it
    saved; until then the others find nothing of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Size] = [ZERO] * len(Kind)
        self._is_repeating = False
        self._waiting: list[Sequence[Size]] = []
        self._num_before_last_saved = 0
        self._before: Sequence[Size] | None = None
        self._after: Sequence[Size] | None = None

    def _note(self, live: Sequence[Size]) -> None:
        """Take notice of what is live at one moment."""

    def _mark(self, temporary: Size = ZERO) -> None:
        live: Sequence[Size] = self.live
        if temporary != ZERO:
            live = [*live]
            live[Kind.WORKSPACE] += temporary
        if self._is_repeating:
            self._waiting.append(tuple(live))
            return
        if self._before is not None and self._after is not None:
            live = _moved(live, self._after, self._before)
        self._note(live)

    def _run_again(self, instruction: Checkpoint, given: Value) -> Value:
        if instruction.keeps_output:
            return super()._run_again(instruction, given)
        self._before, self._after, self._waiting = tuple(self.live), None, []
        self._is_repeating, self._num_before_last_saved = True, 0
        result = super()._run_again(instruction, given)
        self._is_repeating = False
        del self._waiting[self._num_before_last_saved :]
        return result

    def _apply(self, op: Op) -> None:
        saves = self._is_repeating and op.has_backward
        if saves and op.saves_tensors:
            self._num_before_last_saved = len(self._waiting)
        super()._apply(op)
        if saves and op.saves_results:
            self._num_before_last_saved = len(self._waiting)

    def _undo(self, step: BackwardStep) -> None:
        if self._before is not None:
            self._after = self._after or tuple(self.live)
            if step.asks_for_saved:
                self._catch_up(self._after)
        super()._undo(step)

    def _catch_up(self, after: Sequence[Size]) -> None:
        """Take notice of the second forward pass, beside what the operations before this one have changed."""
        self._before, self._after = None, None
        for live in self._waiting:
            self._note(_moved(live, after, self.live))
        self._waiting = []


def _moved(live: Sequence[Size], origin: Sequence[Size], to: Sequence[Size]) -> list[Size]:
    return [size + there - here for size, here, there in zip(live, origin, to, strict=True)]
