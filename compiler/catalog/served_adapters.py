"""What the vLLM of Kaito's images does with a LoRA adapter (`schemas/catalog/vllm_adapters.json`, with its source)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.core.annotations import Any
from kaitoc.schemas import read_json

_NEUTRAL: tuple[object, ...] = (None, False, "none", [], ())


def vllm_refusals(config: Mapping[str, Any]) -> dict[str, str]:
    """Return why vLLM refuses an adapter, by the keys of its `adapter_config.json`; empty when it loads.

    A rank that only needs an option is no refusal: see `needed_lora_rank`.
    """
    data = _data()
    reasons = {key: reason for key, reason in data["refused"].items() if config.get(key) not in _NEUTRAL}
    largest = data["max_lora_rank"]["choices"][-1]
    return reasons | ({"r": f"it takes no rank above {largest}"} if config["r"] > largest else {})


def needed_lora_rank(config: Mapping[str, Any]) -> int | None:
    """Return the least `max-lora-rank` that an adapter needs, None where vLLM's default suffices or nothing does."""
    ranks = _data()["max_lora_rank"]
    if config["r"] <= ranks["default"]:
        return None
    return next((rank for rank in ranks["choices"] if rank >= config["r"]), None)


def default_lora_rank() -> int:
    """Return the largest rank that vLLM takes where no option says otherwise."""
    return int(_data()["max_lora_rank"]["default"])


def takes_adapters(model_type: str) -> bool:
    """Return whether vLLM has adapters for a type of model."""
    return model_type not in _data()["without_adapters"]


def takes_embeddings(model_type: str, vllm: str) -> bool:
    """Return whether a version of vLLM takes adapters on the embeddings of a type of model, the output's too."""
    return model_type in _data()["with_embeddings"][vllm]


def is_scaled_alike(config: Mapping[str, Any]) -> bool:
    """Return whether all modules have one ratio of alpha to rank, as vLLM takes it from `lora_alpha` and `r`."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank, alpha = config["r"], config["lora_alpha"]
    return all(alphas.get(name, alpha) * rank == alpha * ranks.get(name, rank) for name in {*ranks, *alphas})


@lru_cache(maxsize=1)
def _data() -> Any:
    return read_json("catalog/vllm_adapters")
