"""What is held or copied between operations, which peaks are counted without and replays tensor by tensor have."""

from __future__ import annotations

from enum import IntEnum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.closed_form.tensor import Tensor


class Scope(IntEnum):
    """What ends with the variables in it: the `forward` of a module, or a statement."""

    DECODER = 0
    LAYER = 1
    ATTENTION = 2
    MLP = 3
    STATEMENT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Linger:
    """Variables of a scope, which hold tensors, and others of these `sizes`, until it ends.

    Peaks are counted without them; a replay that goes tensor by tensor has them.
    """

    scope: Scope
    tensors: tuple[Tensor, ...]
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Return:
    """The end of a scope."""

    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class CopyGradient:
    """A tensor is used in another form from here on, by head or times a constant, and its gradient is made anew.

    Peaks are counted without that; a replay that goes tensor by tensor has it.
    """

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A tensor before which nothing is trained: with its gradient it lives as long as the graph.

    Peaks are counted without it, as for `CopyGradient`.
    """

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Concatenate:
    """A tensor is from here on a copy, whose gradient is that of the tensor or a view of it.

    Peaks are counted without it, as for `CopyGradient`.
    """

    tensor: Tensor
