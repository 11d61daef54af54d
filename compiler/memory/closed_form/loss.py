"""What one chunk of TRL's chunked cross-entropy takes (`_chunk` of `trl/trainer/sft_trainer.py`, 1.7 to 1.14)."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.scratch import NOTHING, LastChunk, Piece, Scratch
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, Size, fixed
from kaitoc.compiler.memory.workload_key import CHUNK_TOKENS


class Scored(NamedTuple):
    """What a chunk that was computed again has saved, by number: the product's factors, the softcap's tangent."""

    part: int
    weight: int
    tangent: int
    log_probabilities: int


@dataclass(frozen=True, slots=True)
class ChunkedLoss:
    """The loss of a chunk over an output layer, tensor by tensor; `hidden_bytes` are those of an element of its input.

    `num_tokens` are those of a chunk, as a size of a byte for each.

    Up to 1.12 the product is `h.float() @ w.float().t()`, which widens what is not float32 yet, and autocast narrows
    both again; later `(h @ w.to(h.dtype).t()).float()` widens the logits alone. The last chunk has fewer tokens.
    """

    head: Linear
    hidden_bytes: int
    autocast_bytes: int | None
    widens_head: bool
    has_softcap: bool
    num_tokens: Size | LastChunk = fixed(CHUNK_TOKENS)

    def forward(self) -> tuple[Piece, ...]:
        """List the tensors of a chunk the first time through."""
        scratch = Scratch()
        scratch.give_up(*self._score(scratch, goes_back=False))
        return scratch.pieces()

    def backward(self, *, is_added: bool = False) -> tuple[Piece, ...]:
        """List the tensors of a chunk going back, where it is computed again.

        The gradient of a trained head is brought to the weight's type, and added to that of the chunks before: where
        `is_added` says that it meets the first of them, in a third tensor if both are views of what was transposed.
        """
        scratch, head, num_bytes = Scratch(), self.head, self._product_bytes
        scored = self._score(scratch, goes_back=True)
        grad = self._gradient_of_logits(scratch, scored)
        of_weight = scratch.take(fixed(num_bytes * head.num_weights) if head.trainable else ZERO)
        of_part = scratch.take(self._inputs(num_bytes))
        scratch.give_up(scored.part, scored.weight, grad)
        for other in (FLOAT32_BYTES, head.weight_bytes) if self.widens_head else (head.weight_bytes,):
            if head.trainable and other != num_bytes:
                of_weight, before = scratch.take(fixed(other * head.num_weights)), of_weight
                scratch.give_up(before)
            num_bytes = other
        meets_view = is_added and head.trainable and head.weight_bytes == self._factor_bytes
        total = scratch.take(fixed(head.weight_bytes * head.num_weights) if meets_view else ZERO)
        scratch.give_up(of_weight, of_part, total)
        return scratch.pieces()

    def _inputs(self, num_bytes: int) -> Size | LastChunk:
        """Return the size of the chunk's part of the hidden states in elements of so many bytes."""
        return self.num_tokens * (self.head.in_features * num_bytes)

    def _logits(self, num_bytes: int) -> Size | LastChunk:
        """Return the size of the chunk's logits in elements of so many bytes."""
        return self.num_tokens * (self.head.out_features * num_bytes)

    @property
    def _factor_bytes(self) -> int:
        return FLOAT32_BYTES if self.widens_head else self.hidden_bytes

    @property
    def _product_bytes(self) -> int:
        return self.autocast_bytes or self._factor_bytes

    @property
    def _logit_bytes(self) -> int:
        """Return the bytes of a logit once it is capped."""
        return self._product_bytes if self.widens_head else FLOAT32_BYTES

    def _score(self, scratch: Scratch, *, goes_back: bool) -> Scored:
        """Compute the loss and the entropy, whose log-probabilities and two steps are float32 beside the logits."""
        part, weight, logits = self._product(scratch, goes_back=goes_back)
        if self._logit_bytes != self._product_bytes:
            logits = self._replaced(scratch, logits, self._logit_bytes)
        tangent = NOTHING
        if self.has_softcap:  # softcap * tanh(logits / softcap)
            quotient = scratch.take(self._logits(self._logit_bytes))
            tangent = self._replaced(scratch, quotient, self._logit_bytes)
            logits = self._replaced(scratch, logits, self._logit_bytes)
            if not goes_back:
                scratch.give_up(tangent)
        size = self._logits(FLOAT32_BYTES)
        widened = scratch.take(size if self._logit_bytes != FLOAT32_BYTES else ZERO)
        log_probabilities = scratch.take(size)
        scratch.give_up(widened)
        steps = scratch.take(size), scratch.take(size)
        scratch.give_up(*steps, logits)
        return Scored(part, weight, tangent, log_probabilities)

    def _product(self, scratch: Scratch, *, goes_back: bool) -> tuple[int, int, int]:
        """Multiply the chunk by the weight; return the factors, as far as going back needs them, and the logits."""
        head, factor_bytes, num_bytes = self.head, self._factor_bytes, self._product_bytes
        part = scratch.take(self._inputs(factor_bytes) if factor_bytes != self.hidden_bytes else ZERO)
        weight = scratch.take(fixed(factor_bytes * head.num_weights) if factor_bytes != head.weight_bytes else ZERO)
        cast = part, weight
        if num_bytes != factor_bytes:
            part, weight = scratch.take(self._inputs(num_bytes)), scratch.take(fixed(num_bytes * head.num_weights))
        logits = scratch.take(self._logits(num_bytes))
        if not goes_back or num_bytes != factor_bytes:
            scratch.give_up(*cast)
        if not goes_back:
            scratch.give_up(part, weight)
            return NOTHING, NOTHING, logits
        if not head.trainable:
            scratch.give_up(part)
        return part, weight, logits

    def _gradient_of_logits(self, scratch: Scratch, scored: Scored) -> int:
        """Go back from the loss to the product; return the gradient that the product gets."""
        size = self._logits(FLOAT32_BYTES)
        of_log_probabilities, grad = scratch.take(size), scratch.take(size)
        scratch.give_up(of_log_probabilities, scored.log_probabilities)
        if self._logit_bytes != FLOAT32_BYTES:
            grad = self._replaced(scratch, grad, self._logit_bytes)
        if self.has_softcap:
            grad = self._replaced(scratch, grad, self._logit_bytes)
            grad = self._replaced(scratch, grad, self._logit_bytes)
            scratch.give_up(scored.tangent)
            grad = self._replaced(scratch, grad, self._logit_bytes)
        return grad if self._product_bytes == self._logit_bytes else self._replaced(scratch, grad, self._product_bytes)

    def _replaced(self, scratch: Scratch, old: int, num_bytes: int) -> int:
        """Compute a tensor of the logits' size, for which the one before is given up."""
        new = scratch.take(self._logits(num_bytes))
        scratch.give_up(old)
        return new
