"""Speculative decoding: what drafts the tokens that the model then verifies (vllm/config/speculative.py)."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.serving.shape import ServedLayer, ServedModel


class Drafter(str, Enum):
    """What drafts tokens."""

    LOOKUP = "lookup"
    """A search in the request's own text or in earlier answers, on the host: `ngram` and `suffix`."""
    OWN_LAYERS = "own layers"
    """Layers of the model's checkpoint for multi-token prediction: `mtp`."""
    MODEL = "model"
    """A smaller model of the catalog: `draft_model`."""
    UNKNOWN = "unknown"
    """Anything whose size no catalog has: heads such as EAGLE's, a model that is not in the catalog."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding of `num_tokens` at a time; `model` is the draft model where `drafter` is one.

    `name` is what to call the drafter.
    """

    drafter: Drafter
    num_tokens: int
    name: str
    model: ServedModel | None = None

    @property
    def has_forward_pass(self) -> bool:
        """Return whether drafting runs layers on the GPU."""
        return self.drafter is not Drafter.LOOKUP

    def layers(self, target: ServedModel) -> tuple[ServedLayer, ...]:
        """Return the layers that draft, as far as they are known; each has a KV cache beside the model's."""
        if self.drafter is Drafter.OWN_LAYERS:
            return (target.layers[-1],) * target.num_draft_layers
        return self.model.layers if self.drafter is Drafter.MODEL and self.model is not None else ()
