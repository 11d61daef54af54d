"""How gradients that meet are added, tensor by tensor: in place where nothing else refers to one of them."""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.detail import NO_DETAIL, Detail
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.op import Op
from kaitoc.compiler.memory.closed_form.tensor import Kind


class AddedGradients(Autograd):
    """Reads a stream with gradients that are views, whose base refers to the same memory.

    Those of linear layers are, unless a cast comes between; so both a frozen layer and its adapter return views of
    their products where the adapter has the layer's type, and their sum is a third tensor.
    """

    def __init__(self, **options: bool) -> None:
        super().__init__(**options)
        self._views: set[Buffer] = set()
        self._detail_of_undone = NO_DETAIL

    def _go_back(self, step: BackwardStep, grad: Buffer) -> None:
        self._detail_of_undone = detail_of(step)
        super()._go_back(step, grad)
        self._detail_of_undone = NO_DETAIL

    def _has_run(self, step: BackwardStep) -> None:
        """Release what was saved (`evaluate_function` of `engine.cpp`)."""
        self._release_saved(step)

    def _accumulate(self, value: Value, grad: Buffer) -> None:
        """Add gradients in place to one that nothing else refers to, as a view's base does (`can_accumulate_inplace` of
        `input_buffer.cpp`).
        """
        if self._detail_of_undone.views_gradient:
            self._views.add(grad)
        old = value.grad
        if old is None or not self._is_shared(old):
            super()._accumulate(value, grad)
        elif not self._is_shared(grad):
            value.grad = grad
            self._release(old)
        else:
            value.grad = Buffer(grad.size, Kind.WORKSPACE)
            self._allocate(value.grad)
            self._mark()
            self._release(old)
            self._release(grad)

    def _is_shared(self, grad: Buffer) -> bool:
        return grad.holders > 1 or grad in self._views


def detail_of(step: BackwardStep) -> Detail:
    """Return the detail of the operation that goes back, `NO_DETAIL` for other steps."""
    return step.launched_by.detail if isinstance(step.launched_by, Op) else NO_DETAIL
