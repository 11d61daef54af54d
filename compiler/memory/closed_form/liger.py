"""What Liger Kernel's fused linear cross-entropy holds (`ops/fused_linear_cross_entropy.py` of 0.0.1 to 0.8.5).

It takes the gradients while it goes forward, chunk by chunk, and hands them on going back.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.scratch import NOTHING, LastChunk, Piece, Scratch
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed, per_token


class _Left(NamedTuple):
    """The logits and their gradient, by number, that Python's variables hold after a chunk."""

    logits: int = NOTHING
    gradient: int = NOTHING


@dataclass(frozen=True, slots=True)
class LigerLoss:
    """The loss of one version over an output layer, whose input has elements of `hidden_bytes`.

    The rules of a version are in `schemas/catalog/library_changes.json`.
    """

    version: str
    head: Linear
    hidden_bytes: int
    autocast_bytes: int | None

    @property
    def copies_hidden(self) -> bool:
        """Whether the hidden states of several rows are copied without their last position."""
        return not self._has(LibraryChange.LIGER_WHOLE_HIDDEN)

    @property
    def saved_bytes(self) -> int:
        """Return the head's gradient, which is there from the first chunk on; of old versions in any case."""
        head = self.head
        has_gradient = head.trainable or not self._has(LibraryChange.LIGER_FROZEN_HEAD)
        return head.num_weights * head.weight_bytes if has_gradient else 0

    def pieces(self, *chunks: Size | LastChunk) -> tuple[Piece, ...]:
        """List the tensors of chunks of so many tokens, one after the other, beside the loss of every token.

        The product and the gradient of the hidden states cast weights of another type, under autocast, anew for each
        chunk; of a trained one the second cast is cached until the forward pass has ended.
        """
        scratch = Scratch()
        scratch.take(per_token(FLOAT32_BYTES))
        if self._shares_buffer:
            scratch.take(chunks[0] * (self.head.out_features * self._product_bytes))
            self._add_to_weight_gradient(scratch, chunks[0])
            return scratch.pieces()
        cached, left = NOTHING, _Left()
        for num_tokens in chunks:
            cached, left = self._score(scratch, num_tokens, cached, left)
        return scratch.pieces()

    def _score(self, scratch: Scratch, num_tokens: Size | LastChunk, cached: int, left: _Left) -> tuple[int, _Left]:
        """Go over a chunk; return the cached weight and what variables hold then, as before it what another `left`.

        Old versions widen the logits to float32, narrow them again and scale them into a copy.
        """
        head, num_bytes = self.head, self._product_bytes
        logits_size = num_tokens * (head.out_features * num_bytes)
        cast = scratch.take(self._cast_weight)
        narrowed = scratch.take(self._row(num_tokens) if self.hidden_bytes != num_bytes else ZERO)
        logits = scratch.take(logits_size)
        scratch.give_up(cast, narrowed, left.logits)
        if self._has(LibraryChange.LIGER_HALF_LOGITS):
            gradient = logits
            scratch.give_up(left.gradient)
        else:
            if num_bytes != FLOAT32_BYTES:
                widened = scratch.take(num_tokens * (head.out_features * FLOAT32_BYTES))
                scratch.give_up(logits)
                logits = scratch.take(logits_size)
                scratch.give_up(widened)
            gradient = scratch.take(logits_size)
            scratch.give_up(left.gradient)
        if cached == NOTHING:
            cached = scratch.take(self._cast_weight)
        row = scratch.take(self._row(num_tokens))
        scratch.give_up(row)
        if not head.trainable:
            scratch.give_up(cached)
            cached = NOTHING
        self._add_to_weight_gradient(scratch, num_tokens)
        if self._has(LibraryChange.LIGER_ONE_BUFFER):
            scratch.give_up(logits, gradient)
        return cached, _Left(logits, gradient)

    def _row(self, num_tokens: Size | LastChunk) -> Size | LastChunk:
        """Return the size of a chunk's hidden states in the type of the product."""
        return num_tokens * (self.head.in_features * self._product_bytes)

    @property
    def _cast_weight(self) -> Size:
        head, num_bytes = self.head, self._product_bytes
        return fixed(head.num_weights * num_bytes) if head.weight_bytes != num_bytes else ZERO

    def _add_to_weight_gradient(self, scratch: Scratch, num_tokens: Size | LastChunk) -> None:
        """Add a chunk's part to the gradient of a trained head.

        Where it is added up in place, its factors are brought to one type: the hidden states to that of the logits'
        gradient, up to 0.6.1 the other way round.
        """
        head, num_bytes = self.head, self._product_bytes
        if not head.trainable:
            return
        is_narrowed = self.hidden_bytes != num_bytes
        if self._has_separate_gradient:
            narrowed = scratch.take(self._row(num_tokens) if is_narrowed else ZERO)
            product = scratch.take(fixed(head.num_weights * num_bytes))
            scratch.give_up(narrowed)
            widened = scratch.take(fixed(head.num_weights * FLOAT32_BYTES) if num_bytes != FLOAT32_BYTES else ZERO)
            scratch.give_up(product, widened)
        elif is_narrowed and self._aligns_hidden:
            scratch.give_up(scratch.take(self._row(num_tokens)))
        elif is_narrowed:
            scratch.give_up(scratch.take(num_tokens * (head.out_features * self.hidden_bytes)))

    @property
    def _aligns_hidden(self) -> bool:
        return self._has(LibraryChange.LIGER_ALIGNED_HIDDEN)

    @property
    def _has_separate_gradient(self) -> bool:
        is_half = self._product_bytes != FLOAT32_BYTES
        if is_half and self.head.weight_bytes == FLOAT32_BYTES and self._has(LibraryChange.LIGER_FLOAT32_SUM):
            return False
        widens = self._has(LibraryChange.LIGER_WIDENED_GRADIENT)
        return widens or (not is_half and self._has(LibraryChange.LIGER_ONE_BUFFER))

    @property
    def _shares_buffer(self) -> bool:
        """Whether logits and the gradient of the hidden states are products into what is there."""
        is_plain = self.hidden_bytes == self.head.weight_bytes == self._product_bytes
        return is_plain and self._has(LibraryChange.LIGER_ONE_BUFFER)

    @property
    def _product_bytes(self) -> int:
        return self.autocast_bytes or self.hidden_bytes

    def _has(self, change: LibraryChange) -> bool:
        return changes()[change].includes(self.version)
