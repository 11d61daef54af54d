"""Writes `schemas/kubernetes/workspace.json` from the custom resource definitions of Kaito's releases.

    python -m kaitoc.schemas.generate.workspace_crd v0.11=OLD.yaml v0.12=NEW.yaml
    python -m kaitoc.schemas.generate.workspace_crd --unchanged v0.13

The files are each release's `config/crd/bases/kaito.sh_workspaces.yaml`, oldest first. Descriptions are left
out, and a key that a later release adds says since when. What the judge does not know stops the generator: a definition
is tabulated as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import yaml

from kaitoc.schemas import ROOT

TARGET = os.path.join(ROOT, "kubernetes", "workspace.json")
SOURCE = (
    "kaito-project/kaito, config/crd/bases/kaito.sh_workspaces.yaml of each release, descriptions left out. "
    "Written by python -m kaitoc.schemas.generate.workspace_crd."
)
SINCE = "x-since"
PRESERVES = "x-kubernetes-preserve-unknown-fields"
_IGNORED = frozenset(("description", "x-kubernetes-map-type"))
_KEPT = frozenset(("type", "required", "enum", "default", "minimum", "maximum", "minLength", "maxLength", "pattern",
                   "minItems", "maxItems", "x-one-of", "x-roles", PRESERVES))  # fmt: skip


class DefinitionError(ValueError):
    """A definition that the judge cannot represent; `str(error)` says what and where."""


def tabulated(definitions: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the content of the table for the definitions of some releases, oldest first."""
    versions: dict[str, Any] = {}
    for release, definition in definitions:
        found = _versions(definition)
        if versions and found.keys() != versions.keys():
            raise DefinitionError(f"{release}: serves {', '.join(found)} instead of {', '.join(versions)}")
        versions = {name: _merged(versions.get(name), schema, release, name) for name, schema in found.items()}
    return {"source": SOURCE, "releases": [release for release, _ in definitions], "versions": versions}


def _versions(definition: dict[str, Any]) -> dict[str, Any]:
    group = definition["spec"]["group"]
    return {
        f"{group}/{version['name']}": _root(version["schema"]["openAPIV3Schema"])
        for version in definition["spec"]["versions"]
        if version["served"]
    }


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    found = _reduced(schema, "")
    found["properties"]["metadata"] = {"$ref": "ObjectMeta"}
    if "status" in schema["properties"]:
        found["properties"]["status"] = _keys_only(schema["properties"]["status"])
    return found


def _reduced(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a schema in JSON Schema's terms, in which a key that is not listed is refused."""
    found: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _IGNORED or (keyword == "x-kubernetes-list-type" and value == "atomic"):
            continue
        if keyword in _KEPT:
            found[keyword] = value
        elif keyword == "allOf" and all(set(one) == {"enum"} for one in value):
            found["enum"] = [one for one in value[0]["enum"] if all(one in other["enum"] for other in value)]
        elif keyword == "format" and value in ("int32", "int64", "date-time"):
            found[keyword] = value
        elif keyword == "properties":
            found[keyword] = {name: _reduced(inner, f"{path}.{name}") for name, inner in value.items()}
        elif keyword in ("items", "additionalProperties") and isinstance(value, dict):
            found[keyword] = _reduced(value, f"{path}[]")
        else:
            raise DefinitionError(f"{path or 'the root'}: the judge does not know `{keyword}: {value}`")
    if schema.get("type") == "object" and PRESERVES not in schema and "additionalProperties" not in schema:
        found["additionalProperties"] = False
    return found


def _keys_only(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of the keys alone: a status is dropped before its values are looked at."""
    if schema.get(PRESERVES):
        return {}
    found: dict[str, Any] = {"items": _keys_only(schema["items"]) if "items" in schema else {"maxProperties": 0}}
    if schema.get("type") != "object":
        return {"maxProperties": 0, **found}
    if "additionalProperties" in schema:
        return {"additionalProperties": _keys_only(schema["additionalProperties"]), **found}
    properties = {name: _keys_only(inner) for name, inner in schema.get("properties", {}).items()}
    return {"properties": properties, "additionalProperties": False, **found}


def _merged(before: dict[str, Any] | None, now: dict[str, Any], release: str, path: str) -> dict[str, Any]:
    """Return a schema with its new keys dated; raises where a release takes something back."""
    if before is None:
        return now
    found: dict[str, Any] = {}
    for keyword in {**before, **now}:
        old, new = before.get(keyword), now.get(keyword)
        if keyword == SINCE:
            found[keyword] = old
        elif keyword == "properties" and isinstance(old, dict) and isinstance(new, dict):
            found[keyword] = _merged_properties(old, new, release, path)
        elif isinstance(old, dict) and isinstance(new, dict):
            found[keyword] = _merged(old, new, release, f"{path}.{keyword}")
        elif old == new:
            found[keyword] = new
        else:
            raise DefinitionError(f"{path}: {release} changes `{keyword}` from {old} to {new}")
    return found


def _merged_properties(old: dict[str, Any], new: dict[str, Any], release: str, path: str) -> dict[str, Any]:
    gone = old.keys() - new.keys()
    if gone:
        raise DefinitionError(f"{path}: {release} has no {', '.join(sorted(gone))} any more")
    return {
        name: _merged(old[name], schema, release, f"{path}.{name}") if name in old else {SINCE: release, **schema}
        for name, schema in new.items()
    }


def rendered(content: dict[str, Any]) -> str:
    """Return the text of the table."""
    return json.dumps(content, indent=1, sort_keys=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the table from `RELEASE=FILE` arguments, or note with `--unchanged` that releases change nothing of it."""
    if arguments[:1] == ["--unchanged"]:
        _note_unchanged(arguments[1:])
        return
    definitions = []
    for argument in arguments:
        release, _, path = argument.partition("=")
        with open(path, encoding="utf-8") as file:
            definitions.append((release, yaml.safe_load(file)))
    text = rendered(tabulated(definitions))
    with open(TARGET, "w", encoding="utf-8") as file:
        file.write(text)


def _note_unchanged(releases: list[str]) -> None:
    """Add releases whose definition is that of the last one known."""
    with open(TARGET, encoding="utf-8") as file:
        table = json.load(file)
    table["releases"] = list(dict.fromkeys([*table["releases"], *releases]))
    text = rendered(table)
    with open(TARGET, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
