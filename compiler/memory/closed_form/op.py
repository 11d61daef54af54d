"""The records that a training step is derived into, once: operations on tensors, and what surrounds them.

Nothing here changes once it is made. Who reads the stream (`closed_form/autograd.py` and what builds on it) keeps what
happens to tensors apart from it, so that one stream serves every reader and a layer may be read as often as it runs.
"""

from __future__ import annotations

from enum import IntEnum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.detail import Detail
from kaitoc.compiler.memory.closed_form.held import Concatenate, CopyGradient, Leaf, Linger, Return
from kaitoc.compiler.memory.closed_form.kernel import NO_LAUNCH, Group, Launch, launch, traffic
from kaitoc.compiler.memory.closed_form.scratch import Piece
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.result import Phase

PASSED_ON = Size(fixed=-1)
"""Stands among the sizes of gradients for the output's gradient itself, which goes on as it is."""


HANDED_ON = Size(fixed=-2)
"""Stands among them for a gradient that the forward pass took and saved."""


class Part(IntEnum):
    """The parts of a model that shards are gathered by, around the layers, in the order in which they run."""

    EMBEDDING = 0
    LAYERS = 1
    TAIL = 2
    LOGITS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation: what it reads and writes, allocates, saves, costs going back, and launches.

    `saved` are the tensors that the backward needs, the output among them where it does. `gradients` are per input
    (None: no gradient) or `PASSED_ON`. `forward_temporary` holds what the operation allocates
    beside its output while it runs, saved data included. An operation without a `has_backward` is not recorded. `group`
    is what its traffic counts for where no kernels are stated.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    saved: tuple[Tensor, ...]
    saved_size: Size
    computes: tuple[Size, ...]
    forward_pieces: tuple[Piece, ...]
    backward_pieces: tuple[Piece, ...]
    later_pieces: tuple[Piece, ...]
    scratch_first: bool
    detail: Detail
    num_saved_parameters: int
    retained: tuple[Tensor, ...]
    gradients: tuple[Size | None, ...]
    forward_temporary: Size
    backward_temporary: Size
    parameter_gradients: int
    is_tied: bool
    has_backward: bool
    group: Group
    reads_again: Size
    stated_forward: Launch | None
    stated_backward: Launch | None

    @property
    def forward(self) -> Launch:
        """Return the kernels of the operation: as stated, else one that reads its inputs and writes its output."""
        if self.stated_forward is not None:
            return self.stated_forward
        moved = self.output.size + self.forward_temporary * 2 - self.saved_size + self.reads_again
        for tensor in self.inputs:
            moved += tensor.size
        return launch(traffic(self.group, moved))

    @property
    def backward(self) -> Launch:
        """Return the kernels of its backward pass: as stated, else one that reads the gradient and what was saved, and
        writes the gradients of the inputs.
        """
        if self.stated_backward is not None:
            return self.stated_backward
        written = [size for size in self.gradients if size is not None and size != PASSED_ON]
        if not written and not self.parameter_gradients:
            return NO_LAUNCH
        moved = self.backward_temporary * 2 + fixed(self.parameter_gradients) + self.saved_size + self.reads_again
        for size in (*written, *(tensor.storage.size for tensor in self.saved)):
            moved += size
        return Launch((traffic(self.group, moved),), max(1, len(written)), moves_gradient=True)

    @property
    def saves_inputs(self) -> bool:
        """Whether the backward needs a tensor that is there before the operation runs."""
        return any(tensor is not self.output for tensor in self.saved)

    @property
    def saves_tensors(self) -> bool:
        """Whether it saves tensors by name: its inputs or output, parameters, or what it makes first."""
        return bool(self.saved or self.detail.saved or self.num_saved_parameters)

    @property
    def saves_results(self) -> bool:
        """Whether the backward needs what the operation computes."""
        return self.saved_size != ZERO or any(tensor is self.output for tensor in self.saved)


@dataclass(frozen=True, slots=True, eq=False)
class New:
    """A tensor that Python makes and holds until it drops it, or several that are there as long: `detail`."""

    tensor: Tensor
    detail: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """One more Python reference to a tensor."""

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Keep:
    """A reference that outlives the step: the tensor is one of the model's outputs, which the loop holds."""

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Drop:
    """The end of a Python reference to each tensor."""

    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Relabel:
    """A tensor's storage counts under another kind from here on, that of `tensor.storage`."""

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Scratch:
    """Kernels that leave no tensor behind, and the memory that they take while they run.

    `backward` are kernels of the backward pass that are counted as often as these.
    """

    temporary: Size
    forward: Launch
    backward: Launch = NO_LAUNCH


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A slice that shares the storage; its gradient goes into one of the whole's size.

    Slices of one tensor gather their gradients with zero-padded sums, so the first gradient allocates the whole and
    the others are added to it.
    """

    whole: Tensor
    part: Tensor
    backward: Launch


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """The key-value cache of the model's outputs holds a tensor that was computed without gradients."""

    tensor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DropCache:
    """The model's outputs are dropped, and with them all that is in their cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Views that cover the whole; their gradients are gathered into one of its size (`split_backward`)."""

    whole: Tensor
    parts: tuple[Tensor, ...]
    backward: Launch


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """Instructions that run more than once, on another `given` each time; `result` is what they hand back."""

    instructions: tuple[Instruction, ...]
    given: Tensor
    result: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """A body run on `given` and then on its own result, `count` times.

    Each run leaves `gradient_bytes` of parameter gradients. `later` is all runs but the first, which may get its input
    in another type. The last result stands under its.
    """

    given: Tensor
    first: Body
    later: Body
    count: int
    gradient_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A body run without saving; backward runs it again (`torch.utils.checkpoint`).

    `keeps_output` is the reentrant variant, whose recomputed output lives while the block goes back. The other one
    builds a graph without saved tensors, whose operations keep what they hold on their contexts.
    """

    body: Body
    output: Tensor
    keeps_output: bool


@dataclass(frozen=True, slots=True, eq=False)
class Accumulate:
    """A body's result added `count` times into `target` in place (`index_add_`); `output` is its last alias.

    The gradient of each result is a new gather, that of the target passes through.
    """

    body: Body
    target: Tensor
    output: Tensor
    count: int
    forward: Launch
    backward: Launch


@dataclass(frozen=True, slots=True, eq=False)
class Enter:
    """The phase that what follows belongs to."""

    phase: Phase


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """The part of the model that what follows belongs to; `given` goes into it, None where it is no activation.

    LOGITS begin behind the head, which only a loss of full logits runs as a module.
    """

    part: Part
    given: Tensor | None


_Notice = Enter | Begin | Linger | Return | CopyGradient | Leaf | Concatenate
Instruction = (
    Op
    | New
    | Hold
    | Keep
    | Drop
    | Relabel
    | Scratch
    | Cache
    | DropCache
    | View
    | Split
    | Repeat
    | Checkpoint
    | Accumulate
    | _Notice
)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A forward pass down to its loss, from which every reader goes back by itself."""

    instructions: tuple[Instruction, ...]
    loss: Tensor
