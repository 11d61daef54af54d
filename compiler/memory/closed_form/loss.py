"""What one chunk of TRL's chunked cross-entropy holds (`_chunk` of `trl/trainer/sft_trainer.py`, 1.7 to 1.14)."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES

CHUNK_TOKENS = 256


@dataclass(frozen=True, slots=True)
class LossChunk:
    """Peaks of one chunk in bytes, on top of the hidden states: the first time through, and going back."""

    forward_bytes: int
    backward_bytes: int

    @classmethod
    def narrow(cls, head: Linear, hidden_bytes: int, autocast_bytes: int | None, *, softcap: bool) -> LossChunk:
        """Return the peaks since TRL 1.13, where `(h @ w.to(h.dtype).t()).float()` widens the logits alone."""
        inputs, logits = CHUNK_TOKENS * head.in_features, CHUNK_TOKENS * head.out_features
        cast = hidden_bytes * head.num_weights if head.weight_bytes != hidden_bytes else 0
        num_bytes = autocast_bytes or hidden_bytes
        narrowed = num_bytes * (head.num_weights + inputs) if num_bytes != hidden_bytes else 0
        product = cast + narrowed + num_bytes * logits
        widening = (num_bytes + FLOAT32_BYTES) * logits if num_bytes != FLOAT32_BYTES else 0
        capped = FLOAT32_BYTES * logits if softcap else 0
        entropy = 4 * FLOAT32_BYTES * logits
        saved = narrowed or cast
        if not head.trainable and narrowed:
            saved -= num_bytes * inputs
        again = max(product, saved + widening, saved + 3 * capped, saved + capped + entropy)
        formed = saved + num_bytes * (logits + head.num_weights) if head.trainable else 0
        recast = (num_bytes + head.weight_bytes) * head.num_weights if num_bytes != head.weight_bytes else 0
        backward = max(again, formed, recast if head.trainable else 0)
        return cls(max(product, widening, 3 * capped, entropy), backward)

    @classmethod
    def of(cls, head: Linear, hidden_bytes: int, autocast_bytes: int | None, *, softcap: bool) -> LossChunk:
        """Return the peaks for an output layer; `hidden_bytes` are those of one element of the hidden states.

        The product `h.float() @ w.float().t()` widens what is not float32 yet, and autocast narrows both again. The
        log-probabilities and the two steps of the entropy are float32 and live beside the logits. Going back computes
        the chunk again, with the product's factors saved; the gradient of a trained head is narrowed and added up.
        """
        inputs, logits = CHUNK_TOKENS * head.in_features, CHUNK_TOKENS * head.out_features
        widened = FLOAT32_BYTES * (
            (head.num_weights if head.weight_bytes != FLOAT32_BYTES else 0)
            + (inputs if hidden_bytes != FLOAT32_BYTES else 0)
        )
        num_bytes = autocast_bytes or FLOAT32_BYTES
        narrowed = num_bytes * (head.num_weights + inputs) if autocast_bytes else 0
        product = widened + narrowed + num_bytes * logits
        capped = num_bytes * logits if softcap else 0
        capping = 3 * num_bytes * logits if softcap else 0
        entropy = (num_bytes + 3 * FLOAT32_BYTES) * logits
        saved = narrowed or widened
        if not head.trainable:
            saved -= min(saved, inputs * (num_bytes if autocast_bytes or hidden_bytes != FLOAT32_BYTES else 0))
        again = max(product, saved + capping, saved + capped + entropy)
        return cls(max(product, capping, entropy), max(again, *_head_gradient(head, saved, logits, num_bytes)))


def _head_gradient(head: Linear, saved: int, logits: int, num_bytes: int) -> tuple[int, ...]:
    """Return the moments in which a trained head's gradient forms, is widened, and is brought to the weight's type."""
    if not head.trainable:
        return (0,)
    formed = saved + num_bytes * (logits + head.num_weights)
    widened = (num_bytes + FLOAT32_BYTES) * head.num_weights if num_bytes != FLOAT32_BYTES else 0
    narrowed = (FLOAT32_BYTES + head.weight_bytes) * head.num_weights if head.weight_bytes != FLOAT32_BYTES else 0
    return formed, widened, narrowed
