"""The table of the Workspace is written from Kaito's definitions as a whole, or not at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.manifest.object_schemas import SchemaError, object_schema, served_kinds
from kaitoc.schemas import read_json
from kaitoc.schemas.generate.workspace_crd import DefinitionError, rendered, tabulated

ROOT = {
    "type": "object",
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "description": "What is wanted.",
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": "A name."},
                "mode": {"type": "string", "allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
                "any": {"x-kubernetes-preserve-unknown-fields": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "status": {"type": "object", "properties": {"state": {"type": "string"}}},
    },
}


def definition(root: dict[str, Any], *versions: str) -> dict[str, Any]:
    served = [{"name": name, "served": True, "schema": {"openAPIV3Schema": root}} for name in versions or ("v1",)]
    return {"spec": {"group": "example.com", "versions": served}}


def with_field(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = copy.deepcopy(ROOT)
    root["properties"]["spec"]["properties"][name] = schema
    return root


def spec_of(*definitions: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = tabulated(list(definitions))["versions"]["example.com/v1"]["properties"]["spec"]
    return spec


def test_unknown_keys_are_refused_and_descriptions_left_out() -> None:
    assert spec_of(("v0.1", definition(ROOT))) == {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "mode": {"type": "string", "enum": ["b"]},
            "any": {"x-kubernetes-preserve-unknown-fields": True},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "additionalProperties": False,
    }


def test_a_field_that_a_later_release_adds_says_since_when() -> None:
    later = definition(with_field("size", {"type": "integer"}))

    spec = spec_of(("v0.1", definition(ROOT)), ("v0.2", later), ("v0.3", later))
    assert spec["properties"]["size"] == {"x-since": "v0.2", "type": "integer"}


@pytest.mark.parametrize(
    ("root", "complaint"),
    [
        (with_field("size", {"type": "string", "x-kubernetes-validations": []}), "does not know `x-kubernetes-valid"),
        (with_field("size", {"type": "array", "x-kubernetes-list-type": "set", "items": {}}), "list-type: set`"),
        (with_field("name", {"type": "integer"}), "changes `type` from string to integer"),
        ({**ROOT, "properties": {"metadata": {}, "status": ROOT["properties"]["status"]}}, "has no spec any more"),
    ],
    ids=str,
)
def test_what_the_judge_cannot_represent_stops_the_generator(root: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        tabulated([("v0.1", definition(ROOT)), ("v0.2", definition(root))])


def test_a_release_with_other_versions_stops_the_generator() -> None:
    with pytest.raises(DefinitionError, match=r"serves example\.com/v2 instead of example\.com/v1"):
        tabulated([("v0.1", definition(ROOT)), ("v0.2", definition(ROOT, "v2"))])


def test_the_table_is_as_the_generator_writes_it_and_knows_every_release() -> None:
    table = read_json("kubernetes/workspace")

    assert rendered(table) == (Path(__file__).parents[2] / "schemas/kubernetes/workspace.json").read_text()
    assert table["releases"] == [release.name for release in all_releases()]
    assert all("Workspace" in served_kinds()[version] for version in table["versions"])


def test_a_release_that_is_newer_than_the_definitions_is_refused_in_one_line() -> None:
    known = [release.name for release in all_releases()]
    words = f"has the Workspace of Kaito {known[0]} to {known[-1]}, not of v9.9: write it anew with"
    with pytest.raises(SchemaError, match=words):
        object_schema("kaito.sh/v1beta1", "Workspace", "v9.9")
