"""What is known of each key of the inference config, by Kaito release: from its schema and its vLLM's options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.kaito.vllm_options import serving_table
from kaitoc.compiler.kaito.vllm_parser import expected_of
from kaitoc.compiler.kaito.vllm_words import hyphenated
from kaitoc.compiler.language_server.keys import KeyInfo
from kaitoc.compiler.manifest.config_edits import yaml_text
from kaitoc.compiler.manifest.recognition import SERVING_SECTION
from kaitoc.schemas import read_json


def serving_keys(release: str, path: tuple[str, ...]) -> Iterator[KeyInfo]:
    """Yield the keys that can stand under a path of keys of the inference config."""
    for name in _properties(release, path):
        key = serving_key(release, (*path, name))
        if key is not None:
            yield key


def serving_key(release: str, path: tuple[str, ...]) -> KeyInfo | None:
    """Return a key by the path to it; an option may be written with underscores for its hyphens."""
    *parents, name = path
    if parents:
        name = hyphenated(f"--{name}")[2:]
    schema = _properties(release, tuple(parents)).get(name)
    if schema is None:
        return None
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    default = schema.get("default")
    return KeyInfo(
        name,
        schema.get("description", ""),
        _takes(release, name) if parents else "",
        "" if default is None else yaml_text(default),
        tuple(yaml_text(choice) for choice in choices),
        holds_keys="properties" in schema,
        is_deprecated=schema.get("deprecated", False),
    )


def _takes(release: str, name: str) -> str:
    """Describe the values an option accepts, empty for a flag."""
    option = serving_table(release).option(name)
    return expected_of(option) if option is not None and option.takes_value else ""


def _properties(release: str, path: tuple[str, ...]) -> Mapping[str, Any]:
    top = _schema(release)["properties"]
    known: Mapping[str, Any] = {(): top, (SERVING_SECTION,): top[SERVING_SECTION]["properties"]}.get(path, {})
    return known


@lru_cache(maxsize=5)
def _schema(release: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = read_json(f"inference_config/{release}")
    return schema
