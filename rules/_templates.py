"""Chat templates as Kaito reads them, and what they are rendered with; `_template_trial` tries them."""

from __future__ import annotations

import re

from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class TemplateLanguage:
    """The filters and tests of the environment that a release renders chat templates in."""

    filters: frozenset[str]
    tests: frozenset[str]


def decoded_template(value: str) -> str | None:
    """Return the template that Kaito makes of `ModelConfig.chat_template`, None for a path or where it raises."""
    import codecs

    if not any(character in value for character in "{}\n"):
        return None
    try:
        return codecs.decode(value, "unicode_escape")
    except ValueError:
        return None


def has_generation_marks(template: str) -> bool:
    """Return whether a template marks what the assistant says, as TRL's `has_generation_markers` decides it."""
    return bool(re.search(r"\{%-?\s*generation\s*-?%\}", template))
