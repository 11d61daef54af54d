"""What a tape works on: buffers, the tensors in them, recorded operations, and moments."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.size import Size


class Kind(IntEnum):
    """What a buffer is for; the index into a moment's sizes."""

    ACTIVATION = 0
    LOGITS = 1
    GRADIENT = 2
    WORKSPACE = 3


class Buffer:
    """One allocation and how many hold it."""

    __slots__ = ("holders", "kind", "size")

    def __init__(self, size: Size, kind: Kind) -> None:
        self.size = size
        self.kind = kind
        self.holders = 1


class Value:
    """A tensor: elements (a linear form), bytes per element, its buffer, and the gradient that flows back to it."""

    __slots__ = ("buffer", "elements", "grad", "needs_grad", "num_bytes")

    def __init__(self, elements: Size, num_bytes: int, buffer: Buffer, needs_grad: bool) -> None:
        self.elements = elements
        self.num_bytes = num_bytes
        self.buffer = buffer
        self.needs_grad = needs_grad
        self.grad: Buffer | None = None

    @property
    def size(self) -> Size:
        """Return the bytes of the tensor, which may be a view of a larger or smaller buffer."""
        return self.elements.times(self.num_bytes)


@dataclass(slots=True)
class Step:
    """One recorded operation. `grad_sizes` are per input (None: no gradient, ZERO: the output's gradient itself)."""

    inputs: tuple[Value, ...]
    output: Value
    saved: list[Buffer]
    grad_sizes: tuple[Size | None, ...]
    temporary: Size
    parameter_gradients: int
    replay: Callable[[Buffer], None] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Sizes live at one moment by `Kind`, and their sum."""

    total: Size
    by_kind: tuple[Size, ...]
