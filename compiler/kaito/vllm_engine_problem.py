"""What vLLM's configuration is judged by beside its options, and what is told of a value that it refuses."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.core.records import dataclass


class EngineProblemKind(str, Enum):
    """What a refusal is about."""

    BOUND = "bound"
    CONDITION = "condition"
    LENGTH = "length"
    BATCH = "batch"
    LAYOUT = "layout"
    QUANTIZATION = "quantization"
    PARSER = "parser"
    TEMPLATE = "template"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known of the model and the machine; None for what is not.

    `is_dense` says that a model has no experts, `is_text` that it takes nothing but text, `is_self_scaled` that its
    context follows from a scaling of its own, `quantization` is the method of its checkpoint, empty for none;
    `lacks_think_tokens` says that its tokenizer does. `config_keys` are the keys of the ConfigMap, which are files in
    /mnt/config. `offloads` says whether Kaito's launcher turns on the offloading of the KV cache, `has_draft_layers`
    whether the checkpoint has layers for multi-token prediction.
    """

    num_gpus: int | None = None
    num_nodes: int = 1
    max_length: int | None = None
    is_dense: bool = False
    is_text: bool = False
    is_self_scaled: bool = False
    quantization: str | None = None
    lacks_think_tokens: bool = False
    config_keys: frozenset[str] = frozenset()
    offloads: bool = True
    has_draft_layers: bool | None = None


@dataclass(frozen=True, slots=True)
class EngineProblem:
    """A value that ends the server after its parser took it: the pair that sets it, and in `known` what it takes."""

    kind: EngineProblemKind
    index: int
    option: str
    message: str
    known: tuple[str, ...] = ()
