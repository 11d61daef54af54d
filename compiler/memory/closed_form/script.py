"""A training step as a script of allocations, recorded once and replayed at any batch size and sequence length.

Layers of one kind do the same: the first two, one in the middle and the last are run, and the one in the middle is
written down for all between them. Where two layers in the middle differ, all are run.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import IntEnum
from itertools import takewhile

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import rounded
from kaitoc.compiler.memory.closed_form.autograd import Autograd
from kaitoc.compiler.memory.closed_form.graph import BackwardStep, Buffer, Value
from kaitoc.compiler.memory.closed_form.op import Keep, Op, Repeat
from kaitoc.compiler.memory.closed_form.scratch import LastChunk, Piece, most
from kaitoc.compiler.memory.closed_form.size import ZERO, Size

_NUM_RUN = 4
TOUCH = 1 << 20
"""From here on an operation is scratch memory; no step has as many sizes."""
STREAM_SHIFT = 21
"""Above these bits stands the stream of an allocation, as sharded steps alone have several."""


class CudaStream(IntEnum):
    """The streams that allocate; the allocator keeps the freed blocks of each to itself.

    LENT is a block of COMPUTE that another stream reads last, so that it cannot be used again at once.
    """

    COMPUTE = 0
    GATHER = 1
    REDUCE = 2
    LENT = 3


class EqualLayers(NamedTuple):
    """Equal layers in the middle, one way: `num_layers` times `num_operations` operations from `start` on.

    `lasting` are the places, among a layer's, of what allocates or frees what outlives it, each with the number of the
    block among the `num_blocks` that a layer allocates, None where it frees.
    """

    start: int
    num_operations: int
    num_layers: int
    num_blocks: int
    lasting: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What a step allocates, in order.

    An operation from 0 is the allocation of the size with that index, whose block gets the next number; from `TOUCH`
    scratch memory of that size, given back at once; with a stream above `STREAM_SHIFT` an allocation there; below 0
    the complement of the number of a block to free.
    `left` are the blocks that the step leaves behind: the batch, `gradients`, and `outputs` where the loop holds them.
    `num_forward` is the number of operations until the loss is there; `going_forward` are the layers before it, and
    `going_back` those after it, in order.
    """

    operations: array[int]
    sizes: tuple[Size | LastChunk, ...]
    left: tuple[int, ...]
    num_forward: int
    gradients: tuple[int, ...]
    outputs: tuple[int, ...]
    going_forward: tuple[EqualLayers, ...] = ()
    going_back: tuple[EqualLayers, ...] = ()

    def replay(self, allocator: CachingAllocator, batch_size: int, seq_len_tokens: int) -> list[Block]:
        """Run the script in an allocator; return the blocks that it leaves behind."""
        blocks: list[Block] = []
        self.run(allocator, self.num_bytes(batch_size, seq_len_tokens), blocks, 0, len(self.operations))
        return [blocks[number] for number in self.left]

    def num_bytes(self, batch_size: int, seq_len_tokens: int) -> list[int]:
        """Return the rounded sizes in bytes at one batch size and sequence length."""
        return [rounded(size.at(batch_size, seq_len_tokens)) for size in self.sizes]

    def run(
        self, allocator: CachingAllocator, num_bytes: Sequence[int], blocks: list[Block], start: int, stop: int
    ) -> None:
        """Run the operations from `start` up to `stop`; `blocks` are those allocated so far, and grow."""
        allocate, free, touch = allocator.allocate_rounded, allocator.free, allocator.touch_rounded
        for operation in self.operations[start:stop]:
            if operation < 0:
                free(blocks[~operation])
            elif operation < TOUCH:
                blocks.append(allocate(num_bytes[operation]))
            else:
                touch(num_bytes[operation - TOUCH])


class Allocated(NamedTuple):
    """The allocation of a recorded block."""

    number: int
    size: Size | LastChunk
    stream: CudaStream = CudaStream.COMPUTE


class Freed(NamedTuple):
    """The end of a recorded block."""

    number: int


class Touched(NamedTuple):
    """Scratch memory, taken and given back."""

    size: Size


Event = Allocated | Freed | Touched


@dataclass(slots=True, eq=False)
class LayerRun:
    """Equal layers of which four were run; where the events of each stand, forward and backward."""

    count: int
    forward: list[tuple[int, int]]
    backward: dict[int, int]


class ScriptReader(Autograd):
    """Reads a stream for its script: writes down what a step allocates instead of counting it.

    A checkpoint is computed again at once, and a loop takes the most of its scratch memory in one piece.
    """

    def __init__(self, *, runs_all_layers: bool = False) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.runs: list[LayerRun] = []
        self.num_forward = 0
        self.kept: set[int] = set()
        self._runs_all_layers = runs_all_layers
        self._numbers: dict[Buffer, int] = {}
        self._num_blocks = 0
        self._undone: BackwardStep | None = None
        self._taken: list[int] = []

    def seed(self, value: Value, size: Size) -> None:
        """Start backward, which ends the forward pass."""
        self.num_forward = len(self.events)
        super().seed(value, size)

    def _allocate(self, buffer: Buffer) -> None:
        if any(buffer.size):
            self._numbers[buffer] = self._num_blocks
            self.events.append(Allocated(self._num_blocks, buffer.size))
            self._num_blocks += 1

    def _free(self, buffer: Buffer) -> None:
        if buffer in self._numbers:
            self.events.append(Freed(self._numbers.pop(buffer)))

    def _keep(self, instruction: Keep) -> None:
        super()._keep(instruction)
        self.kept.add(self._numbers[self._values[instruction.tensor.number].buffer])

    def _mark(self, temporary: Size = ZERO) -> None:
        if self._undone is not None:
            self._give_back(self._taken)
            self._undone = None
        elif temporary is not ZERO and any(temporary):
            self.events.append(Touched(temporary))

    def _launch(self, op: Op) -> None:
        if not op.forward_pieces:
            super()._launch(op)
            return
        self._give_back(self._take(op.forward_pieces))

    def _go_back(self, step: BackwardStep, grad: Buffer) -> None:
        pieces = self._pieces_first(step)
        if pieces or self._has_later_pieces(step):
            self._undone, self._taken = step, self._take_first(step, pieces)
        super()._go_back(step, grad)

    def _pieces_first(self, step: BackwardStep) -> Sequence[Piece]:
        """Return the tensors of scratch memory that are there before an operation's gradients."""
        return step.pieces

    def _take_first(self, _step: BackwardStep, pieces: Sequence[Piece]) -> list[int]:
        """Take those tensors; return the numbers of the ones that are there when all have come."""
        return self._take(pieces)

    def _has_later_pieces(self, _step: BackwardStep) -> bool:
        """Whether more of them come once the gradients are there."""
        return False

    def _take(self, pieces: Sequence[Piece]) -> list[int]:
        """Write down the tensors of scratch memory; return the numbers of those that are there when all have come."""
        if any(piece.until is not None for piece in pieces):
            lasting = tuple(takewhile(lambda piece: piece.until is None, pieces))
            pieces = (*lasting, Piece(most(pieces) - sum((piece.largest for piece in lasting), ZERO)))
        return self._written(pieces)

    def _written(self, pieces: Sequence[Piece], ending: dict[int, list[int]] | None = None) -> list[int]:
        """Write tensors down one by one; return the numbers of those that are there when all have come.

        `ending` are tensors that were there before, by the place of the piece that they end before.
        """
        first, ending = self._num_blocks, {} if ending is None else ending
        self._num_blocks += len(pieces)
        for place, piece in enumerate(pieces):
            self._give_back(ending.pop(place, ()))
            self.events.append(Allocated(first + place, piece.size))
            if piece.until is not None:
                ending.setdefault(piece.until, []).append(first + place)
        self._give_back(ending.pop(len(pieces), ()))
        return [first + place for place, piece in enumerate(pieces) if piece.until is None]

    def _give_back(self, numbers: Sequence[int]) -> None:
        self.events += [Freed(number) for number in numbers]

    def _repeat(self, instruction: Repeat) -> None:
        """Run four of the layers, or all where four do not show the pattern."""
        count, given = instruction.count, instruction.given
        if count <= _NUM_RUN or self._runs_all_layers or not (given.needs_grad and self._recording):
            super()._repeat(instruction)
            return
        run = LayerRun(count, [], {})
        self.runs.append(run)
        value = self._values[given.number]
        for layer in range(_NUM_RUN):
            start = len(self.events)
            body = instruction.later if layer else instruction.first
            value = self._values[body.result.number] = self._bridged(self._layer(body, value), run, layer)
            run.forward.append((start, len(self.events)))

    def _bridged(self, value: Value, run: LayerRun, layer: int) -> Value:
        """Return an alias of a layer's output whose backward marks where the layer's begins."""

        def note(grad: Buffer) -> None:
            run.backward[layer] = len(self.events)
            self._accumulate(value, grad)

        bridge = Value(value.buffer)
        self._record(BackwardStep((value,), bridge, replay=note))
        return bridge
