"""Mutated objects that serve are judged as their definition judges them, release by release."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import jsonschema
import pytest

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.object_faults import object_errors
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.serving_objects import config_names, config_names_in, serving_views
from kaitoc.schemas import read_json

_Json = dict[str, Any]
_INFERENCE = {"preset": {"name": "phi-4-mini-instruct"}, "config": "serving", "adapters": [{"source": {"name": "a"}}]}
OBJECTS: dict[str, _Json] = {
    "inferenceset": {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "InferenceSet",
        "metadata": {"name": "set"},
        "spec": {
            "replicas": 2,
            "labelSelector": {"matchLabels": {"app": "phi"}},
            "template": {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}, "inference": _INFERENCE},
        },
    },
    "multiroleinference": {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "MultiRoleInference",
        "metadata": {"name": "roles"},
        "spec": {
            "labelSelector": {"matchLabels": {"app": "phi"}},
            "model": {"name": "phi-4-mini-instruct"},
            "roles": [
                {"type": "prefill", "replicas": 1, "instanceType": "a", "runtimeConfig": "one"},
                {"type": "decode", "replicas": 2, "instanceType": "b", "runtimeConfig": "two"},
            ],
        },
    },
}
VALUES: tuple[Any, ...] = ("text", 3, -1, 2.5, True, [], {}, ["a"], {"a": 1}, "")
CASES = [
    (kind, release)
    for kind in OBJECTS
    for one in read_json(f"kubernetes/{kind}")["schemas"]
    for release in one["releases"]
]  # each release has its own definition
NUM_MUTANTS = 60


def mutant(content: _Json, choose: random.Random) -> _Json:
    """Return an object with one value changed, taken out, or added under a key of nobody's."""
    changed = copy.deepcopy(content)
    holder: Any = changed["spec"]
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return changed
        key = choose.choice(keys)
        inner = holder[key]
        if isinstance(inner, (dict, list)) and inner and choose.random() < 0.75:
            holder = inner
            continue
        what = choose.random()
        if what < 0.25 and isinstance(holder, dict):
            del holder[key]
        elif what < 0.4 and isinstance(holder, dict):
            holder["unknown"] = choose.choice(VALUES)
        else:
            holder[key] = choose.choice(VALUES)
        return changed


def is_valid(content: _Json, kind: str, release: str) -> bool:
    """Return what the definition says by JSON Schema alone, with its two rules in CEL written out here."""
    known = read_json(f"kubernetes/{kind}")["schemas"]
    schema = next(one for one in known if release in one["releases"])["versions"][content["apiVersion"]]
    plain = {"properties": {"spec": schema["properties"]["spec"]}}
    if not jsonschema.Draft202012Validator(plain).is_valid(content):
        return False
    if kind == "inferenceset":
        return True
    spec = content["spec"]
    selector, roles = spec["labelSelector"], [role["type"] for role in spec["roles"]]
    return bool(selector.get("matchLabels") or selector.get("matchExpressions")) and sorted(roles) == [
        "decode",
        "prefill",
    ]


@pytest.mark.parametrize(("kind", "release"), CASES)
def test_a_mutant_is_refused_where_the_definition_refuses_it(kind: str, release: str) -> None:
    choose = random.Random(f"{kind} {release}")
    verdicts = set()
    for _ in range(NUM_MUTANTS):
        content = mutant(OBJECTS[kind], choose)
        (manifest,) = read_manifests(Source("object.yaml", json.dumps(content))).manifests
        found = object_errors(manifest, release)
        assert bool(found) is not is_valid(content, kind, release), (content["spec"], found)
        verdicts.add(bool(found))
    assert verdicts == {True, False}


def test_there_are_three_hundred_mutants() -> None:
    assert len(CASES) * NUM_MUTANTS >= 300


@pytest.mark.parametrize("kind", OBJECTS)
def test_the_names_of_configs_are_the_same_in_yaml_and_in_json(kind: str) -> None:
    (manifest,) = read_manifests(Source("object.yaml", json.dumps(OBJECTS[kind]))).manifests

    assert config_names(manifest) == config_names_in(OBJECTS[kind])
    assert [view.role for view in serving_views(manifest)] == (
        ["prefill", "decode"] if kind == "multiroleinference" else [""]
    )
