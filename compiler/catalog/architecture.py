"""The shape of a causal language model, as its `config.json` states it."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.frozen import FrozenMapping
from kaitoc.compiler.core.records import dataclass, field


class ArchitectureError(KaitocError, ValueError):
    """A `config.json` that no model can have or that is not understood; `str(error)` is for the user."""


class UnknownModelTypeError(ArchitectureError):
    """A `config.json` of a model type that has no closed form; the trace may know it."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the memory engine and the rules need to know of a model.

    `config` is the model's `config.json` (only keys that shape the computation); the trace hands it to
    transformers unchanged. `name` is the catalog name, `hf_id` the hub id, `aliases` further accepted names.
    Architectures are values: caches take them as keys, and two of one name that differ anywhere share no answer.
    """

    name: str
    hf_id: str
    model_type: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tied_embeddings: bool
    num_parameters: int
    num_experts: int = 0
    aliases: tuple[str, ...] = ()
    config: FrozenMapping = field(default_factory=FrozenMapping, repr=False)

    def __hash__(self) -> int:
        return hash((self.name, self.model_type, self.num_parameters, self.config))


def text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the part of a `config.json` that describes the language model, which is all of it without other parts."""
    text_config = config.get("text_config")
    return text_config if isinstance(text_config, Mapping) else config
