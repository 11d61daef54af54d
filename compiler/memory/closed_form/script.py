"""A training step as a script of allocations, recorded once and replayed at any batch size and sequence length.

Layers of one kind do the same: the first two, one in the middle and the last are run, and the one in the middle is
written down for all between them. Where two layers in the middle differ, all are run.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.reserve import Block, Segments
from kaitoc.compiler.memory.closed_form.size import ZERO, Size
from kaitoc.compiler.memory.closed_form.tape import Tape
from kaitoc.compiler.memory.closed_form.value import Buffer, Kind, Step, Value

_NUM_RUN = 4
TOUCH = 1 << 20
"""From here on an operation is scratch memory; no step has as many sizes."""


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What a step allocates, in order.

    An operation from 0 is the allocation of the size with that index, whose block gets the next number; from `TOUCH`
    scratch memory of that size, given back at once; below 0 the complement of the number of a block to free.
    `left` are the blocks that the step leaves behind, the gradients.
    """

    operations: array[int]
    sizes: tuple[Size, ...]
    left: tuple[int, ...]

    def replay(self, segments: Segments, batch_size: int, seq_len_tokens: int) -> list[Block]:
        """Run the script in segments; return the blocks that it leaves behind."""
        num_bytes = [segments.rounded(size.at(batch_size, seq_len_tokens)) for size in self.sizes]
        allocate, free, touch = segments.allocate_rounded, segments.free, segments.touch
        blocks: list[Block] = []
        for operation in self.operations:
            if operation < 0:
                free(blocks[~operation])
            elif operation < TOUCH:
                blocks.append(allocate(num_bytes[operation]))
            else:
                touch(num_bytes[operation - TOUCH])
        return [blocks[number] for number in self.left]


class Allocated(NamedTuple):
    """The allocation of a recorded block."""

    number: int
    size: Size


class Freed(NamedTuple):
    """The end of a recorded block."""

    number: int


class Touched(NamedTuple):
    """Scratch memory, taken and given back."""

    size: Size


Event = Allocated | Freed | Touched


@dataclass(slots=True, eq=False)
class Group:
    """Equal layers of which four were run; where the events of each stand, forward and backward."""

    count: int
    forward: list[tuple[int, int]]
    backward: dict[int, int]


class RecordingTape(Tape):
    """A tape that writes down what a step allocates instead of counting it."""

    def __init__(self, *, runs_all_layers: bool = False) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.groups: list[Group] = []
        self._runs_all_layers = runs_all_layers
        self._numbers: dict[Buffer, int] = {}
        self._num_blocks = 0

    def mark(self, temporary: Size = ZERO) -> None:
        """Write down a kernel's scratch memory."""
        if temporary is not ZERO and any(temporary):
            self.events.append(Touched(temporary))

    def relabel(self, value: Value, kind: Kind) -> None:
        """Do nothing: kinds are not counted here."""

    def repeat(self, function: Callable[[Value], Value], given: Value, count: int, _gradient_bytes: int) -> Value:
        """Run four of the layers, or all where four do not show the pattern."""
        if not given.needs_grad and count > 1:
            given = self._chain(function, given)
            count -= 1
        if count <= _NUM_RUN or self._runs_all_layers or not (given.needs_grad and self._recording):
            for _ in range(count):
                given = self._chain(function, given)
            return given
        group = Group(count, [], {})
        self.groups.append(group)
        for layer in range(_NUM_RUN):
            start = len(self.events)
            given = self._bridged(self._chain(function, given), group, layer)
            group.forward.append((start, len(self.events)))
        return given

    def accumulate(self, function: Callable[[], Value], target: Value, count: int) -> Value:
        """Run every expert."""
        for _ in range(count):
            target = self._add_in_place(function(), target)
        return target

    def _bridged(self, value: Value, group: Group, layer: int) -> Value:
        """Return an alias of a layer's output whose way back tells where the layer's begins."""

        def note(grad: Buffer) -> None:
            group.backward[layer] = len(self.events)
            self._accumulate(value, grad)

        bridge = Value(value.elements, value.num_bytes, value.buffer, value.needs_grad)
        self._steps.append(Step((value,), bridge, [], (None,), ZERO, 0, note))
        return bridge

    def _allocate(self, buffer: Buffer) -> None:
        if any(buffer.size):
            self._numbers[buffer] = self._num_blocks
            self.events.append(Allocated(self._num_blocks, buffer.size))
            self._num_blocks += 1

    def _release(self, buffer: Buffer) -> None:
        buffer.holders -= 1
        if buffer.holders == 0 and buffer in self._numbers:
            self.events.append(Freed(self._numbers.pop(buffer)))
