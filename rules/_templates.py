"""Faults of a Jinja template that any parser of Jinja refuses, found without one."""

from __future__ import annotations

import re

_TAG = re.compile(r"\{%[-+]?\s*(?P<word>\w*)(?P<rest>.*?)[-+]?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
_BLOCKS = ("if", "for", "macro", "block", "filter", "call", "generation")


def template_problem(template: str) -> str:
    """Return why a template cannot be parsed: an open tag, or blocks that do not match; empty where none is found."""
    plain = _TAG.sub("", template)
    for opening in ("{{", "{%", "{#"):
        if opening in plain:
            return f"a `{opening}` is never closed"
    open_blocks: list[str] = []
    for tag in _TAG.finditer(template):
        problem = _tag_problem(tag["word"] or "", (tag["rest"] or "").strip(), open_blocks)
        if problem:
            return problem
    return f"`{{% {open_blocks[-1]} %}}` has no end" if open_blocks else ""


def _tag_problem(word: str, rest: str, open_blocks: list[str]) -> str:
    """Return what is wrong with one tag, and enter or leave its block."""
    if word in ("if", "elif", "for") and not rest:
        return f"`{{% {word} %}}` has no expression"
    if word in _BLOCKS:
        open_blocks.append(word)
        return ""
    ended = word.removeprefix("end")
    if ended != word and ended in _BLOCKS and (not open_blocks or open_blocks.pop() != ended):
        return f"`{{% {word} %}}` ends no block"
    return ""
