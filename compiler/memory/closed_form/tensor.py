"""Tensors of a training step, and the allocations that they lie in."""

from __future__ import annotations

from enum import IntEnum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.size import Size


class Kind(IntEnum):
    """What a buffer is for; the index into a moment's sizes. GATHERED are weights put together from their shards."""

    ACTIVATION = 0
    LOGITS = 1
    GRADIENT = 2
    WORKSPACE = 3
    GATHERED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """The allocation that a tensor lies in, alone or beside others."""

    size: Size
    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor: elements (a linear form) of `num_bytes` each. `number` names it within its stream."""

    number: int
    elements: Size
    num_bytes: int
    storage: Storage
    needs_grad: bool

    @property
    def size(self) -> Size:
        """Return the bytes of the tensor, which may be a view of a larger or smaller storage."""
        return self.elements * self.num_bytes
