"""Objects are judged as kubectl and the API server judge them: held to the recording in `tests/oracle/api_server`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc import check
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.kinds import kind_fault
from kaitoc.compiler.manifest.object_faults import content_of, object_errors
from kaitoc.compiler.manifest.object_judge import shape_errors
from kaitoc.compiler.manifest.object_schemas import object_schema
from kaitoc.compiler.manifest.object_shape import Shape, normalized
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.reading import read_manifests

ORACLE = Path(__file__).resolve().parents[1] / "oracle" / "api_server"
sys.path.insert(0, str(ORACLE))
import inputs  # noqa: E402

TEXTS = {row["name"]: row["text"] for row in inputs.rows()}
SAYS = {row["name"]: row["says"] for row in map(json.loads, (ORACLE / "verdicts.jsonl").read_text().splitlines())}
SCHEMAS = {kind: object_schema(version, kind, "v0.12") or {} for version, kind in
           (("kaito.sh/v1beta1", "Workspace"), ("v1", "ConfigMap"))}  # fmt: skip


def manifests_of(text: str) -> tuple[Manifest, ...]:
    return read_manifests(Source("object.yaml", text)).manifests


def refusals(text: str) -> list[str]:
    """Return what kaitoc says that the API server refuses in a text."""
    found = []
    for manifest in manifests_of(text):
        problem = content_of(manifest).problem
        is_unserved = (
            kind_fault(manifest) is not None or object_schema(manifest.api_version, manifest.ref.kind, "v0.12") is None
        )
        found += [problem.message] if problem is not None else []
        found += ["kind"] if is_unserved else [error.message for error in object_errors(manifest, "v0.12")]
    return found


def test_every_object_has_a_recorded_verdict() -> None:
    assert TEXTS.keys() == SAYS.keys()
    assert sum(bool(says) for says in SAYS.values()) > 800


def test_what_is_refused_is_found_and_nothing_else() -> None:
    wrong = {name: (says, refusals(TEXTS[name])) for name, says in SAYS.items()
             if bool(says) != bool(refusals(TEXTS[name]))}  # fmt: skip

    assert wrong == {}


def judged(value: Any, kind: str) -> tuple[bool, list[str]]:
    """Return the quick answer, and what jsonschema says."""
    value = {"metadata": {}, **normalized(value, SCHEMAS[kind])}
    return Shape(SCHEMAS[kind]).fits(value), [error.message for error in shape_errors(value, SCHEMAS[kind])]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_quick_answer_is_never_valid_where_the_schema_refuses(kind: str) -> None:
    for text in TEXTS.values():
        for manifest in manifests_of(text):
            content = content_of(manifest).value
            if manifest.ref.kind == kind and isinstance(content, dict):
                is_sure, said = judged(content, kind)
                assert not (is_sure and said), (text, said)


def test_usual_objects_are_valid_without_asking() -> None:
    config_map = {key: value for key, value in inputs.CONFIG_MAP.items() if key != "binaryData"}
    config_map["metadata"] = {"name": "c", "creationTimestamp": None}

    assert judged(inputs.WORKSPACE, "Workspace") == (True, [])
    assert judged(config_map, "ConfigMap") == (True, [])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(inputs.NAMES),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(inputs.NAMES), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(base=st.sampled_from([inputs.WORKSPACE, inputs.CONFIG_MAP]), value=values, data=st.data())
def test_the_quick_answer_agrees_on_any_value_anywhere(
    base: dict[str, Any], value: object, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from([path for path in inputs.paths(base) if path]))

    is_sure, said = judged(inputs.changed(base, path, value), base["kind"])

    assert not (is_sure and said), said


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("tuning", "config"), ["c"], "`tuning.config` is a list; it must be text"),
        (("tuning", "input"), None, "`tuning.input` is missing"),
        (("tuning", "input", "urls", 0), 5, "`tuning.input.urls[0]` is the number 5; it must be text"),
        (("resource", "count"), True, "`resource.count` is the boolean true; it must be a whole number"),
        (("resource", "partition", "count"), 0, "`resource.partition.count` is 0; it must be at least 1"),
        (("tuning", "preset", "accessMode"), "x", "`tuning.preset.accessMode` is `x`; it must be public or private"),
        (("metadata", "labels", "team"), "a b", "`metadata.labels.team` is `a b`, which is not a label value"),
        (("metadata", "annotations"), {"a b": "c"}, "`a b` is not an annotation key"),
        (("metadata", "name"), "", "`metadata.name` is missing"),
        (("tuning", "unknwon"), 1, "there is no field `tuning.unknwon`"),
    ],
    ids=str,
)
def test_a_fault_is_told_with_its_path(path: tuple[Any, ...], value: object, message: str) -> None:
    base = {**inputs.WORKSPACE, "metadata": {"name": "w", "labels": {}}}

    assert judged(inputs.changed(base, path, value), "Workspace")[1] == [message]


def workspace(**fields: object) -> dict[str, Any]:
    return {**inputs.WORKSPACE, **fields}


SERVED = {"metadata": {"name": "s"}, "spec": {"template": {"inference": {"preset": {"name": "phi-4"}}}}}


def served(**fields: object) -> dict[str, Any]:
    spec = {"labelSelector": {}, **SERVED["spec"], **fields}
    return {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", **SERVED, "spec": spec}


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [
        (workspace(metadata={"generateName": "tune-"}), False),
        (workspace(metadata={"generateName": "A-"}), True),
        (workspace(metadata={"generateName": "a.-"}), True),
        (workspace(metadata={"generateName": "A-", "name": "w"}), False),
        (workspace(kind="WorkspaceList"), True),
        ({"apiVersion": "kaito.sh/v1beta1", "kind": "WorkspaceList", "items": []}, False),
        ({"apiVersion": "/v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, False),
        ({"apiVersion": "a/v1", "kind": "ConfigMap", "data": {"training_config.yaml": "training_config: {}"}}, True),
        ({"apiVersion": 2147483648, "kind": "InferenceSet", **SERVED}, True),
        ({"kind": "MultiRoleInference", "metadata": {"name": "m"}, "spec": {"roles": [{"type": "decode"}]}}, True),
        (served(replicas=2147483647), False),
        (served(replicas=2147483648), True),
        (served(replicas=-1), True),
    ],
    ids=range(13),
)
def test_a_whole_object_is_judged_as_the_api_server_did(content: dict[str, Any], is_refused: bool) -> None:
    """The verdicts are those of kubectl 1.35 with a kube-apiserver 1.20.2 that has Kaito's definitions of v0.12."""
    manifests = manifests_of(json.dumps(content))
    faults = [kind_fault(manifest) or object_errors(manifest, "v0.12") for manifest in manifests]

    assert any(faults) is is_refused


def config_map(**fields: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **fields}


MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [
        (config_map(data={"a": "x" * MEBIBYTE}), False),
        (config_map(data={"a": "x" * MEBIBYTE, "b": "x"}), True),
        (config_map(data={"a": "é" * (MEBIBYTE // 2)}), False),
        (config_map(data={"a": "é" * (MEBIBYTE // 2) + "x"}), True),
        (config_map(data={"a": "x" * (MEBIBYTE - 3)}, binaryData={"b": "AAAA"}), False),
        (config_map(data={"a": "x" * (MEBIBYTE - 2)}, binaryData={"b": "AAAA"}), True),
        (config_map(metadata={"name": "c", "annotations": {"a": "x" * (256 * 1024 - 1)}}), False),
        (config_map(metadata={"name": "c", "annotations": {"a": "x" * 256 * 1024}}), True),
    ],
    ids=range(8),
)
def test_sizes_are_counted_in_bytes(content: dict[str, Any], is_refused: bool) -> None:
    is_sure, said = judged(content, "ConfigMap")

    assert bool(said) is is_refused
    assert not (is_sure and said)


def test_each_release_is_judged_by_its_own_definition() -> None:
    (manifest,) = manifests_of(json.dumps({**inputs.WORKSPACE, "status": {}}))

    assert object_errors(manifest, "v0.12") == ()
    assert [error.message for error in object_errors(manifest, "v0.11")] == ["there is no field `resource.partition`"]


YAML_TEXTS = [json.loads(line) for line in (ORACLE / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
USER = """---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: user}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {app: user}}}
tuning:
  preset: {name: phi-3-mini-128k-instruct}
  method: qlora
  config: c
  input: {urls: ["https://example.com/a.parquet"]}
  output: {image: "example.azurecr.io/a:1"}
"""


def test_texts_of_a_config_map_are_judged_as_kubectl_and_the_api_server_judged_them() -> None:
    """A Workspace names the ConfigMap, which alone would not be Kaito's."""
    wrong = {}
    for row in YAML_TEXTS:
        errors = [
            finding
            for finding in check(f"{row['text']}\n{USER}", isolated=True).findings
            if finding.severity is Severity.ERROR and finding.span.start <= len(row["text"])
        ]
        claims = [finding.message for finding in errors if re.search("API server|kubectl", finding.message)]
        if (not errors) if row["says"] else claims:
            wrong[row["name"]] = (row["says"], claims)

    assert wrong == {}
