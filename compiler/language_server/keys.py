"""What is known of each key: of the training config by Kaito release, and of the Workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.kaito.argument_table import ArgType, Argument, release_arguments
from kaitoc.compiler.kaito.argument_values import expectation
from kaitoc.compiler.manifest.config_edits import yaml_text
from kaitoc.compiler.manifest.workspace_schema import workspace_properties
from kaitoc.schemas import read_json


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key: what it does, what it takes in words, its default as YAML (empty for none), and the values it offers."""

    name: str
    description: str
    takes: str = ""
    default: str = ""
    values: tuple[str, ...] = ()
    holds_keys: bool = False
    is_deprecated: bool = False

    @property
    def facts(self) -> list[str]:
        """Return the paragraphs that document the key."""
        takes = f"Takes {self.takes}." if self.takes else ""
        default = f"Default: `{self.default}`." if self.default else ""
        return [fact for fact in (self.description, f"{takes} {default}".strip()) if fact]


def config_key(release: str, section: str, name: str) -> KeyInfo | None:
    """Return a key of the training config; `release` is a table of arguments, such as `v0.12` or `bundled`."""
    arguments = release_arguments(release).sections.get(section)
    argument = arguments.arguments.get(name) if arguments is not None else None
    if argument is None:
        return None
    schema = _definitions(release)[section]["properties"].get(name, {})
    return KeyInfo(
        name,
        schema.get("description", ""),
        expectation(argument),
        "" if argument.default is None else yaml_text(argument.default),
        _values(release, argument),
        is_deprecated=argument.is_deprecated,
    )


def section_key(release: str, section: str) -> KeyInfo | None:
    """Return a section's key with its documentation."""
    schema = _definitions(release).get(section)
    return KeyInfo(section, schema.get("description", ""), holds_keys=True) if schema is not None else None


def config_names(release: str, section: str) -> tuple[str, ...]:
    """Return the keys that a section takes and for which YAML can hold a value."""
    known = release_arguments(release).sections.get(section)
    arguments = known.arguments.values() if known is not None else ()
    useless = (ArgType.NEVER, ArgType.MAPPING, ArgType.TUPLE)
    return tuple(argument.name for argument in arguments if argument.type not in useless)


def workspace_keys(path: Sequence[str]) -> tuple[KeyInfo, ...]:
    """Return the keys of a Workspace below a path of keys; list items do not count as a step."""
    properties: Mapping[str, Any] = workspace_properties()
    for name in path:
        schema = properties.get(name, {})
        properties = schema.get("items", schema).get("properties", {})
    return tuple(_workspace_key(name, schema) for name, schema in properties.items())


def _workspace_key(name: str, schema: Mapping[str, Any]) -> KeyInfo:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    default = schema.get("default")
    return KeyInfo(
        name,
        schema.get("description", ""),
        f"one of {', '.join(map(str, choices))}" if choices else "",
        "" if default is None else yaml_text(default),
        tuple(map(str, choices)),
        holds_keys=schema.get("type") == "object",
        is_deprecated=schema.get("deprecated", False),
    )


def _values(release: str, argument: Argument) -> tuple[str, ...]:
    if argument.type is ArgType.BOOL:
        return ("true", "false")
    if argument.name == "torch_dtype" and not argument.choices:
        return tuple(name for name in _USUAL_DTYPES if name in release_arguments(release).dtypes)
    return argument.choices


_USUAL_DTYPES = ("bfloat16", "float16", "float32")


@lru_cache(maxsize=8)
def _definitions(release: str) -> Mapping[str, Any]:
    definitions: Mapping[str, Any] = read_json(f"training_config/{release}")["$defs"]
    return definitions
