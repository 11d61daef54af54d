"""What a user may have meant by a key that Kaito's parser does not know."""

from __future__ import annotations

import difflib

from kaitoc.compiler.kaito.argument_table import ReleaseArguments, SectionArguments
from kaitoc.schemas import read_json

_SIMILARITY = 0.75


def key_suggestion(section: SectionArguments, written: str) -> str:
    """Return the key that an unknown one stands for: a known other name of it, else the most similar; or ""."""
    key = written.partition("=")[0].replace("-", "_").strip()
    renamed = renamed_key(section, key)
    if renamed:
        return renamed
    close = difflib.get_close_matches(key.lower(), list(section.arguments), n=1, cutoff=_SIMILARITY)
    return close[0] if close else ""


def home_section(release: ReleaseArguments, section: str, written: str) -> str:
    """Return the other section that has an unknown key, where exactly one has and none renames it here; or ""."""
    key = written.replace("-", "_")
    if renamed_key(release.sections[section], key):
        return ""
    homes = [name for name, other in release.sections.items() if name != section and key in other.arguments]
    return homes[0] if len(homes) == 1 else ""


def nested_suggestion(section: SectionArguments, written: str) -> str:
    """Return the key whose mapping was flattened to an unknown name, when it takes the mapping as JSON text; or ""."""
    owners = [name for name, argument in section.arguments.items() if argument.is_json and _holds(name, written)]
    return max(owners, key=len, default="")


def renamed_key(section: SectionArguments, key: str) -> str:
    """Return the key of this section and release that another library or release calls `key`; or ""."""
    names: list[str] = read_json("training_config/renames")["sections"].get(section.name, {}).get(key, [])
    return next((name for name in names if name in section.arguments), "")


def _holds(name: str, written: str) -> bool:
    return written.replace("-", "_").startswith(f"{name}_")
