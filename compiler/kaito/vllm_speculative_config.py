"""What vLLM's `SpeculativeConfig` refuses (vllm/config/speculative.py of the releases' wheels)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.kaito.vllm_engine_problem import EngineFacts
from kaitoc.compiler.kaito.vllm_options import ServingTable
from kaitoc.compiler.kaito.vllm_value_shapes import fault_of

_OPTION = "speculative-config"
_SHORT = {"spec-method": "method", "spec-model": "model", "spec-tokens": "num_speculative_tokens"}
"""Options that each set one key."""
_INTERNAL = ("target_model_config", "target_parallel_config", "draft_model_config", "draft_parallel_config",
             "draft_load_config")  # fmt: skip
"""Fields that vLLM fills in by itself, which may be null."""
_LOOKUPS = ("ngram", "[ngram]", "ngram_gpu")
_WITH_MODEL = ("eagle", "eagle3", "medusa", "mlp_speculator", "draft_model", "dflash")
_MTP_SUFFIX = "mtp"


@dataclass(frozen=True, slots=True)
class SpeculationFault:
    """The option to change, what is wrong with it, and the methods that there are where it names none of them."""

    option: str
    message: str
    known: tuple[str, ...] = ()


def speculation_fault(
    value_of: Callable[[str], object], table: ServingTable, facts: EngineFacts
) -> SpeculationFault | None:
    """Return the first thing that vLLM refuses; `value_of` returns the value of an option that is set."""
    whole = value_of(_OPTION)
    shorts = {option: value_of(option) for option in _SHORT if value_of(option) is not None}
    if not isinstance(whole, dict) and (whole is not None or not shorts):
        return None
    given = whole if isinstance(whole, dict) else {}
    twice = next((option for option in shorts if _SHORT[option] in given), None)
    if twice is not None:
        return SpeculationFault(twice, f"sets `{_SHORT[twice]}`, which `{_OPTION}` sets too")
    config = {**given, **{_SHORT[option]: value for option, value in shorts.items()}}
    option = _OPTION if given or whole is not None else next(iter(shorts))
    shape = table.shape(_OPTION)
    judged = {key: value for key, value in given.items() if value is not None or key not in _INTERNAL}
    fault = fault_of(judged, shape) if shape is not None else None
    if fault is not None:
        return SpeculationFault(_OPTION, f"takes {fault.message}")
    listed = table.option("spec-method")
    methods = tuple(one for one in listed.choices if one != "None") if listed is not None else ()
    return next((SpeculationFault(option, *found) for found in _faults(config, methods, table, facts)), None)


def _faults(
    config: Mapping[str, object], methods: tuple[str, ...], table: ServingTable, facts: EngineFacts
) -> Iterator[tuple[str, tuple[str, ...]]]:
    num_tokens, method, draft = (config.get(key) for key in ("num_speculative_tokens", "method", "model"))
    if num_tokens is None and method != "suffix":
        yield "needs `num_speculative_tokens`", methods
    if method is None and draft is None:
        yield "needs `method` or `model`", methods
    if methods and method is not None and method not in (*methods, "[ngram]"):
        yield f"has no `method` {method}", methods
    if method in _WITH_MODEL and draft is None:
        yield f"needs `model`, the drafter of `method` {method}", ()
    if method == "suffix":
        yield "needs Arctic Inference for `method` suffix, which Kaito's image does not have", ()
    if draft is None and str(method).endswith(_MTP_SUFFIX) and facts.has_draft_layers is False:
        yield "needs layers for multi-token prediction, which this model does not have", ()
    if method == "draft_model" and not changes()[LibraryChange.DRAFT_MODELS].includes(table.vllm):
        yield "has a draft model, which this vLLM does not support", ()
    least, most = (config.get(f"prompt_lookup_{end}") for end in ("min", "max"))
    is_lookup = (method or draft) in _LOOKUPS
    if is_lookup and isinstance(least, int) and isinstance(most, int) and least > most:
        yield f"needs a `prompt_lookup_min` of at most `prompt_lookup_max`, which is {most}", ()
