"""What vLLM refuses in `hf-overrides`, and the context that follows from them.

Sources: `_get_and_verify_max_len` of vllm/config/model.py, and for the types of keys the recorded verdicts of each
release (`tests/oracle/serving/record_overrides.py`): transformers checks them strictly since v0.11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.kaito.vllm_engine_problem import EngineFacts
from kaitoc.compiler.kaito.vllm_options import ServingTable

_LENGTH = "max_position_embeddings"
_OTHER_LENGTHS = ("n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
                  "max_sequence_length", "max_seq_length", "seq_len")  # fmt: skip
_OUTRANKING = "model_max_length"
_UNSCALED = ("su", "longrope", "llama3")
"""Kinds of scaled positions whose factor `max_position_embeddings` already has in it."""
_LAYER_TYPES = {"full_attention", "sliding_attention", "chunked_attention", "linear_attention"}
_NOUNS = {"null": "null", "boolean": "true or false", "text": "text", "digits": "text", "mapping": "a mapping"}


@dataclass(frozen=True, slots=True)
class Positions:
    """The context of a model with overrides; `length` is None where it is not known, `fault` says what is refused."""

    length: float | None = None
    fault: str = ""


def overrides_fault(overrides: Mapping[str, object], table: ServingTable, facts: EngineFacts) -> str:
    """Say what vLLM refuses of the overrides of a text model, empty where it refuses nothing."""
    if not facts.is_text:
        return ""
    refused = table.content["refused_overrides"]
    for key, value in overrides.items():
        kind = _kind_of(value)
        if kind in refused.get(key, ()):
            return f"sets `{key}` to {_NOUNS.get(kind, f'`{value}`')}, which this vLLM refuses"
    return _architecture_fault(overrides) or positions_of(overrides, table, facts).fault


def _architecture_fault(overrides: Mapping[str, object]) -> str:
    """Refuse names that no class of vLLM or transformers has: all of theirs say what the model is for."""
    names = overrides.get("architectures")
    if not isinstance(names, list) or any("For" in str(name) or "Model" in str(name) for name in names):
        return ""
    return f"sets `architectures` to {', '.join(map(str, names))}, which vLLM does not have"


def _kind_of(value: object) -> str:
    """Return the recorded sample that a value is like."""
    if value is None or isinstance(value, (bool, dict)):
        return "null" if value is None else "boolean" if isinstance(value, bool) else "mapping"
    if isinstance(value, int):
        return "zero" if value == 0 else "negative" if value < 0 else "whole"
    if isinstance(value, float):
        return "whole fraction" if value.is_integer() else "fraction"
    if isinstance(value, str):
        return "digits" if value.strip().isdigit() else "text"
    elements = value if isinstance(value, list) else []
    if not elements:
        return "empty list"
    return "list of texts" if any(isinstance(one, str) for one in elements) else "list of numbers"


def positions_of(overrides: Mapping[str, object], table: ServingTable, facts: EngineFacts) -> Positions:
    """Derive the context of a text model from its own and the overrides, as vLLM does."""
    if overrides.get(_LENGTH, 0) is None:
        return Positions()  # a model without a context of its own takes whatever is asked for
    length = _unscaled_length(overrides, facts)
    keys = [key for key in table.content["rope_overrides"] if key in overrides]
    if len(keys) != 1:
        own = facts.max_length if facts.is_self_scaled else length
        return Positions(own if not keys else None)
    rope = overrides[keys[0]]
    if not rope or not isinstance(rope, dict) or rope.keys() <= _LAYER_TYPES:
        return Positions(length if not rope else None)
    fault = next(_scaling_faults(keys[0], rope, table), "")
    if fault:
        return Positions(fault=fault)
    if rope["rope_type"] in _UNSCALED or length is None:
        return Positions(length)
    base = rope["original_max_position_embeddings"] if rope["rope_type"] == "yarn" else length
    factor = rope.get("factor", 1.0)
    return Positions(base * (1.0 if factor is None else factor))


def _unscaled_length(overrides: Mapping[str, object], facts: EngineFacts) -> float | None:
    own = facts.max_length if not facts.is_self_scaled else None
    values = [overrides.get(_LENGTH, own), *(overrides.get(key) for key in _OTHER_LENGTHS)]
    lengths = [value for value in values if isinstance(value, (int, float))]
    outranking = overrides.get(_OUTRANKING)
    if isinstance(outranking, (int, float)) and outranking:
        return outranking
    return min(lengths) if values[0] is not None and lengths else None


def _scaling_faults(key: str, rope: Mapping[str, object], table: ServingTable) -> Iterator[str]:
    """Yield what vLLM trips over in a scaling of positions."""
    kind = rope.get("rope_type")
    if "rope_type" not in rope:
        yield f"sets `{key}` without its `rope_type`"
    if kind in _UNSCALED:
        return
    factor, original = rope.get("factor", 1.0), rope.get("original_max_position_embeddings")
    may_be_null = factor is None and table.content["takes_null_factor"]
    if not isinstance(factor, (int, float)) and not may_be_null:
        yield f"sets `{key}` with a `factor` that is not a number"
    if kind == "yarn" and not isinstance(original, (int, float)):
        yield f"sets `{key}` to yarn without a number for its `original_max_position_embeddings`"
