"""What a replay that goes tensor by tensor reads of an operation, for which peaks have sums."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.scratch import Piece
from kaitoc.compiler.memory.closed_form.size import Size


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """The tensors that make up an operation's sums, and in which order its gradients come.

    `before` and `forward` stand for the temporaries that are there before the output and after, all until the operation
    ends unless they say when; `output` is the output's size where only `Concatenate` makes it whole; `backward` for
    those before the gradients, where pieces that end no sooner than the last of them end among the later pieces, on
    which the numbers run on; `saved` for what is saved beside inputs and output, of which all but the last are there
    before the output. `weight_first`: gradients of parameters come before those of inputs. `gradients_first`: scratch
    memory finds all gradients there. `views_gradient`, `views_weight`: the input's or the weight's gradient is a view,
    to which nothing can be added in place.
    """

    before: tuple[Piece, ...] = ()
    forward: tuple[Piece, ...] = ()
    backward: tuple[Piece, ...] = ()
    saved: tuple[Size, ...] = ()
    weight_first: bool = False
    gradients_first: bool = False
    views_gradient: bool = False
    views_weight: bool = False
    output: Size | None = None


NO_DETAIL = Detail()
