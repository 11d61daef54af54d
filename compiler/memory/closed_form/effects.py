"""What the derivation of a layer says of an operation besides its inputs and its output."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.detail import NO_DETAIL, Detail
from kaitoc.compiler.memory.closed_form.kernel import Launch
from kaitoc.compiler.memory.closed_form.scratch import Piece
from kaitoc.compiler.memory.closed_form.size import ZERO, Size
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What an operation does beyond reading its inputs and writing its output.

    `saves` are inputs the backward needs, `saves_size` other data it keeps (masks, statistics). `retains` are inputs
    that the operation holds outside autograd's saved variables, until its whole graph is gone. `gradients` are the
    sizes of the inputs' gradients, by default those of the inputs, or `PASSED_ON`.
    `parameter_gradients` are the bytes of gradients of trainable parameters, which stay until the optimizer has run.
    `is_tied`: the gradient is not complete before that of the embedding, which has the same weight.
    `num_saved_parameters` are those that it saves as they are, which takes no memory.
    `computes` are gradients that going forward takes: the input's first, `HANDED_ON` in `gradients`, then parameters'.
    `forward_pieces` and `backward_pieces` are the tensors that make up a temporary, in the order in which they come;
    the backward ones are there before the gradients. `later_pieces`, such as those of a loop's next turns back,
    find the gradients there. `scratch_first`: what the backward takes is given up before any gradient is there.
    `detail` is for replays that go tensor by tensor.
    `reads_again` is what its kernels pass over a second time, both ways.
    Without `forward` and `backward` the operation launches what moves its data once, as eager PyTorch does.
    """

    saves: tuple[Tensor, ...] = ()
    saves_output: bool = False
    saves_size: Size = ZERO
    computes: tuple[Size, ...] = ()
    forward_pieces: tuple[Piece, ...] = ()
    backward_pieces: tuple[Piece, ...] = ()
    later_pieces: tuple[Piece, ...] = ()
    scratch_first: bool = False
    detail: Detail = NO_DETAIL
    num_saved_parameters: int = 0
    retains: tuple[Tensor, ...] = ()
    gradients: tuple[Size | None, ...] | None = None
    forward_temporary: Size = ZERO
    backward_temporary: Size = ZERO
    parameter_gradients: int = 0
    is_tied: bool = False
    kind: Kind = Kind.ACTIVATION
    reads_again: Size = ZERO
    forward: Launch | None = None
    backward: Launch | None = None


PLAIN = Effects()
