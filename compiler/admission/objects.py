"""Objects of the API server as text that the engine reads, and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.values import plain_value

_STRING_TAG = "tag:yaml.org,2002:str"


def path_of(kind: str, namespace: str, name: str) -> str:
    """Return the name under which findings speak of an object."""
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def source_of(path: str, content: dict[str, Any]) -> Source:
    """Return an object as a person would write it: texts of several lines in literal blocks, where fixes apply."""
    return Source(path, yaml.dump(content, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=4096))


def content_of(source: Source) -> object:
    """Return the object that a text holds, also after fixes; None when it holds none."""
    documents = parse_documents(source)
    if len(documents) != 1 or documents[0].root is None:
        return None
    return plain_value(documents[0].root)


@lru_cache(maxsize=1)
def _dumper() -> type[yaml.SafeDumper]:
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]  # libyaml's where there is one
        def ignore_aliases(self, _data: object) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar(_STRING_TAG, value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return Dumper
