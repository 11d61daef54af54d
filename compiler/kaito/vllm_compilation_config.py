"""What vLLM's `CompilationConfig` refuses beside the types of its keys (vllm/config/compilation.py)."""

from __future__ import annotations

from collections.abc import Mapping

_LAST_MODE = 3
"""`CompilationMode` counts from 0 (none) to 3 (vLLM's own)."""


def compilation_fault(config: Mapping[str, object]) -> str:
    """Say what the class takes in place of a value that it refuses, empty where it takes all of them."""
    mode = config.get("mode")
    if isinstance(mode, int) and not isinstance(mode, bool) and not 0 <= mode <= _LAST_MODE:
        return "0, 1, 2 or 3 for `mode`"
    names = config.get("custom_ops")
    listed = [str(name) for name in names] if isinstance(names, list) else []
    if {"all", "none"} <= set(listed):
        return "only one of `all` and `none` in `custom_ops`"
    if any(name not in ("all", "none") and not name.startswith(("+", "-")) for name in listed):
        return "`all` or `none`, +NAME and -NAME in `custom_ops`"
    return ""
