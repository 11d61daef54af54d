"""What an operation launches on the GPU: kernels with their arithmetic and their traffic."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.size import ZERO, Size


class Group(str, Enum):
    """The parts of the model that time is attributed to; HOST is Python's work on data, for which the GPU waits."""

    ATTENTION = "attention"
    MLP = "mlp"
    HEAD = "head and loss"
    ADAPTERS = "adapters"
    DEQUANTIZATION = "dequantization"
    ELEMENTWISE = "norms and elementwise"
    OPTIMIZER = "optimizer"
    COMMUNICATION = "communication"
    WAITING = "waiting for the slowest GPU"
    LAUNCH = "launch overhead"
    HOST = "lists on the host"


class Unit(str, Enum):
    """The part of a GPU that limits a kernel's arithmetic."""

    HALF = "half"
    FLOAT32 = "float32"
    INT8 = "int8"
    FUSED_ATTENTION = "fused attention"
    NONE = "none"


class Direction(str, Enum):
    """Who launches a kernel: Python in the forward pass (and its repetition), or autograd's engine going back."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kind of kernel: `flops` of arithmetic, `padded_flops` with the idle lanes of narrow tiles, `moved` bytes.

    The result of a matrix product has `columns` and as many rows as there are `row_length` in `row_elements`.
    """

    group: Group
    unit: Unit
    flops: Size
    padded_flops: Size
    moved: Size
    row_elements: Size = ZERO
    row_length: int = 1
    columns: int = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """The kernels of an operation in one direction, and how many launches the host pays for them.

    `moves_gradient`: the only kernel also reads the gradient that comes in, whose size the operations after this one
    decide.
    """

    kernels: tuple[Kernel, ...] = ()
    num_launches: int = 0
    moves_gradient: bool = False


NO_LAUNCH = Launch()


def traffic(group: Group, moved: Size) -> Kernel:
    """Return a kernel that only moves bytes."""
    return Kernel(group, Unit.NONE, ZERO, ZERO, moved)


def launch(*kernels: Kernel, num_launches: int | None = None) -> Launch:
    """Return the launch of kernels, each launched once where nothing else is said."""
    return Launch(kernels, len(kernels) if num_launches is None else num_launches)
