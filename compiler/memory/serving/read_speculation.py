"""Reads vLLM's `speculative-config`: which drafter it names, and how large that is."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.shape import ServedModel
from kaitoc.compiler.memory.serving.speculation import Drafter, Speculation

_LOOKUPS = ("ngram", "[ngram]", "ngram_gpu", "suffix")
_MTP_SUFFIX = "mtp"
_HEADS = ("eagle", "medusa", "mlp_speculator", "mlp-speculator", "dflash", "speculator", "assistant")
"""In the names of checkpoints that hold no model of their own."""


def read_speculation(config: Mapping[str, object], target: ServedModel) -> Speculation | None:
    """Read a `speculative-config`, None where it states no number of tokens, which vLLM needs."""
    num_tokens = config.get("num_speculative_tokens")
    if not isinstance(num_tokens, int) or isinstance(num_tokens, bool) or num_tokens < 1:
        return None
    method, name = str(config.get("method") or ""), str(config.get("model") or "")
    if (method or name) in _LOOKUPS:
        return Speculation(Drafter.LOOKUP, num_tokens, method or name)
    drafts = served_model(name) if name else None
    if target.num_draft_layers and (method.endswith(_MTP_SUFFIX) or not method) and (drafts or target) is target:
        return Speculation(Drafter.OWN_LAYERS, num_tokens, "multi-token prediction")
    is_head = any(word in f"{method} {name}".lower() for word in _HEADS)
    if method in ("", "draft_model") and drafts is not None and not is_head:
        return Speculation(Drafter.MODEL, num_tokens, drafts.name, drafts)
    return Speculation(Drafter.UNKNOWN, num_tokens, name or method)
