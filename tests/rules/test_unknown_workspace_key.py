"""A Workspace's keys are judged as they count once YAML's merge keys and duplicates are resolved."""

from __future__ import annotations

from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.rules import unknown_workspace_key

WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: w}}
resource: {resource}
tuning: {{preset: {{name: phi-4}}, method: qlora}}
"""


def found(resource: str) -> list[tuple[str, str]]:
    """Return the text under each finding and the pointer of its place."""
    source = Source("w.yaml", WORKSPACE.format(resource=resource))
    (manifest,) = read_manifests(source).manifests
    places = [fault.place for fault in unknown_workspace_key.check(manifest, newest_release())]
    return [(source.slice(place.span), place.pointer) for place in places]


def test_a_key_at_any_depth_is_told_with_its_pointer() -> None:
    assert found("{instanceTyp: x, labelSelector: {}}") == [("instanceTyp", "/resource/instanceTyp")]


def test_a_key_in_a_list_is_told_with_its_pointer() -> None:
    selector = "{labelSelector: {matchExpressions: [{key: a, operator: In, value: b}]}}"
    assert found(selector) == [("value", "/resource/labelSelector/matchExpressions/0/value")]


def test_a_key_with_a_slash_is_escaped_in_its_pointer() -> None:
    assert found("{a/b: x}") == [("a/b", "/resource/a~1b")]


def test_a_merge_key_is_none_of_the_workspace_s_keys() -> None:
    assert found("{<<: {instanceType: x}, labelSelector: {}}") == []


def test_of_a_key_that_is_written_twice_the_last_is_told() -> None:
    assert found('{nonsense: 1, "nonsense": 2}') == [('"nonsense"', "/resource/nonsense")]
