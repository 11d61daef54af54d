"""What Liger Kernel's fused linear cross-entropy holds (`ops/fused_linear_cross_entropy.py` of 0.0.1 to 0.8.5).

It takes the gradients while it goes forward, chunk by chunk, and hands them on going back.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES


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

    def chunk_bytes(self, num_tokens: int) -> int:
        """Return the peak of a chunk of so many tokens, with what the one before left in Python's variables.

        The product and the gradient of the hidden states cast weights of another type, under autocast, anew for each
        chunk; of a trained one the second cast is cached until the forward pass has ended.
        """
        head, num_bytes = self.head, self._product_bytes
        logits, row = num_tokens * head.out_features, num_tokens * head.in_features * num_bytes
        cast = head.num_weights * num_bytes if head.weight_bytes != num_bytes else 0
        cached = cast if head.trainable else 0
        narrowed = row if self.hidden_bytes != num_bytes else 0
        before, moments = self._logit_bytes(num_bytes)
        product = cast + cached + narrowed + (num_bytes + before) * logits
        returned = 0 if self._shares_buffer else max(cast, cached) + row
        return max(
            product,
            *(cached + moment * logits for moment in moments),
            moments[-1] * logits + returned,
            moments[-1] * logits + cached + narrowed + self._weight_gradient_bytes,
        )

    def _logit_bytes(self, num_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Return the bytes per logit that a chunk finds there, and those of its moments after the product.

        Widened logits are there beside the narrow ones, and then beside those that they are narrowed to; the scaled
        copy of the chunk before is there until that of this one is.
        """
        if self._shares_buffer:
            return 0, (num_bytes,)
        if self._has(LibraryChange.LIGER_HALF_LOGITS):
            return num_bytes, (num_bytes,)
        widened = num_bytes + FLOAT32_BYTES if num_bytes != FLOAT32_BYTES else 0
        return 2 * num_bytes, (widened + num_bytes, 3 * num_bytes, 2 * num_bytes)

    @property
    def _weight_gradient_bytes(self) -> int:
        """Compute the temporary gradient of a chunk for a trained head, 0 where it is accumulated in place."""
        head, num_bytes = self.head, self._product_bytes
        if not head.trainable or not self._has_separate_gradient:
            return 0
        return head.num_weights * (num_bytes + (FLOAT32_BYTES if num_bytes != FLOAT32_BYTES else 0))

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
