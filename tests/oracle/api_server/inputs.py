"""Writes the objects to be judged, one JSON row each: every field with every kind of value, and names of every form.

    python tests/oracle/api_server/inputs.py > inputs.jsonl

`record/main.go` judges them; README.md says how.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

WORKSPACE: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {
        "name": "w",
        "namespace": "n",
        "labels": {"team": "a"},
        "annotations": {"note": "b c"},
        "finalizers": ["example.com/f"],
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u", "controller": True}
        ],
        "creationTimestamp": "2026-01-31T12:00:00Z",
        "generation": 1,
    },
    "resource": {
        "count": 1,
        "instanceType": "s",
        "labelSelector": {
            "matchLabels": {"app": "a"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}],
        },
        "preferredNodes": ["n"],
        "partition": {"mode": "mig", "profile": "p", "count": 1},
    },
    "tuning": {
        "preset": {
            "name": "p",
            "accessMode": "public",
            "presetOptions": {"image": "i", "imagePullSecrets": ["s"], "modelAccessSecret": "m"},
        },
        "method": "lora",
        "config": "c",
        "input": {"name": "n", "urls": ["u"], "image": "i", "imagePullSecrets": ["s"], "volumeSource": {"v": None}},
        "output": {"image": "i", "imagePushSecret": "s", "volumeSource": {}},
    },
    "inference": {
        "preset": {"name": "p"},
        "adapters": [{"source": {"name": "n", "image": "i"}, "strength": "1"}],
        "config": "c",
        "template": {"any": [1]},
    },
    "status": {"state": "s", "conditions": [{"type": "t"}], "performance": {"metrics": {"m": {"value": "v"}}}},
}
CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "labels": {"team": "a"}, "annotations": {"note": "b"}, "finalizers": ["example.com/f"]},
    "data": {"training_config.yaml": "training_config: {}", "other": "x"},
    "binaryData": {"bin": "aGVsbG8="},
    "immutable": False,
}
VALUES: dict[str, Any] = {
    "null": None, "empty": "", "text": "zz", "number": 7, "float": 1.5, "boolean": True, "list": [], "mapping": {},
    "list-of-null": [None], "list-of-number": [1], "mapping-of-null": {"a": None}, "mapping-of-number": {"a": 1},
}  # fmt: skip
NAMES = ("a.b", "a..b", "-a", "a-", "A", "a_b", "a b", "é", ".", "..", "..a", "a/b", "a/b/c", "/b", "a/", "A.b/c",
         "a.b/C_d", "x" * 63, "x" * 64, "x" * 253, "x" * 254, "1", "w-", "w.-", "kubernetes", "orphan")  # fmt: skip
KINDS = (("kaito.sh/v1", "Workspace"), ("kaito.sh/v1beta2", "Workspace"), ("kaito.sh", "Workspace"),
         ("kaito.sh/v1alpha1", "Workspace"), ("kaito.sh/v1beta1", "workspace"), ("kaito.sh/v1beta1", "Workspaces"),
         ("kaito.io/v1beta1", "Workspace"), ("", "Workspace"), ("kaito.sh/v1beta1", ""))  # fmt: skip
CONFIG_MAP_KINDS = (("v2", "ConfigMap"), ("", "ConfigMap"), ("v1", "configmap"), ("v1", ""), ("core/v1", "ConfigMap"))
SCALARS = ("y", "N", "on", "no", "yes", "~", "null", "08", "010", "0o17", "0x1f", "0b1", "1e3", "1_0", "1:30", ".5",
           "1.0", "-1", ".inf", ".nan", "2026-01-31", "!!str 5", "!!int x", "!x 5", "'y'", "9223372036854775808",
           "1e20", "true", "True", "tRUE", "")  # fmt: skip
TIMES = ("2026-02-30T12:00:00Z", "2026-01-31", "2026-01-31T12:00:00.5+01:00", "2026-01-31T24:00:00Z", "now")


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(inner, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def changed(base: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(base)
    at(made, path[:-1])[path[-1]] = value
    return made


def without(base: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    made = copy.deepcopy(base)
    del at(made, path[:-1])[path[-1]]
    return made


def of_fields(base: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field with every value, without it, and with a key beside it that nobody knows."""
    for path in paths(base):
        name = ".".join(map(str, path))
        if isinstance(at(base, path), dict):
            yield f"{name}.unknown", changed(base, (*path, "unknwon"), "x")
        if path and path[0] not in ("apiVersion", "kind"):
            yield f"{name}-missing", without(base, path)
            for kind, value in VALUES.items():
                yield f"{name}-{kind}", changed(base, path, value)


def of_forms(base: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names, keys and values of labels and the like in every form."""
    for number, text in enumerate(NAMES):
        for key in ("name", "namespace", "generateName"):
            yield f"{key}-form-{number}", changed(base, ("metadata", key), text)
        yield f"label-value-form-{number}", changed(base, ("metadata", "labels", "team"), text)
        for key in ("labels", "annotations"):
            yield f"{key}-form-{number}", changed(base, ("metadata", key), {text: "v"})
        yield f"finalizer-form-{number}", changed(base, ("metadata", "finalizers"), [text])
        if base["kind"] == "ConfigMap":
            yield f"data-form-{number}", changed(base, ("data",), {text: "v"})
            yield f"binary-form-{number}", changed(base, ("binaryData", "bin"), text)
    for number, text in enumerate(TIMES):
        yield f"time-{number}", changed(base, ("metadata", "creationTimestamp"), text)


def of_whole_objects() -> Iterator[tuple[str, dict[str, Any]]]:
    owner = WORKSPACE["metadata"]["ownerReferences"][0]
    yield "two-controllers", changed(WORKSPACE, ("metadata", "ownerReferences"), [owner, owner])
    yield (
        "event-owner",
        changed(WORKSPACE, ("metadata", "ownerReferences"), [{**owner, "apiVersion": "v1", "kind": "Event"}]),
    )
    yield "slashes-owner", changed(WORKSPACE, ("metadata", "ownerReferences"), [{**owner, "apiVersion": "a/b/c"}])
    yield "both-finalizers", changed(CONFIG_MAP, ("metadata", "finalizers"), ["orphan", "foregroundDeletion"])
    yield "same-key-twice", changed(CONFIG_MAP, ("binaryData",), {"other": "eA=="})
    for api_version, kind in KINDS:
        yield f"{api_version}-{kind}", {**WORKSPACE, "apiVersion": api_version, "kind": kind}
    for api_version, kind in CONFIG_MAP_KINDS:
        yield f"{api_version}-{kind}", {**CONFIG_MAP, "apiVersion": api_version, "kind": kind}
    yield "list", {"apiVersion": "v1", "kind": "List", "items": [WORKSPACE, CONFIG_MAP]}
    bad = changed(WORKSPACE, ("tuning", "method"), 1)
    yield "list-with-a-bad-one", {"apiVersion": "v1", "kind": "List", "items": [CONFIG_MAP, bad]}
    bare = {key: value for key, value in WORKSPACE.items() if key not in ("apiVersion", "kind")}
    yield "typed-list", {"apiVersion": "kaito.sh/v1beta1", "kind": "WorkspaceList", "items": [bare]}


def of_scalars() -> Iterator[tuple[str, str]]:
    """Yield texts in which a plain scalar stands where text, a number, a boolean or a key is asked for."""
    head = "apiVersion: kaito.sh/v1beta1\nkind: Workspace\nmetadata: {name: w}\nresource:\n"
    for number, scalar in enumerate(SCALARS):
        yield f"scalar-{number}", f"{head}  labelSelector:\n    matchLabels:\n      app: {scalar}\n"
        yield f"scalar-count-{number}", f"{head}  labelSelector: {{}}\n  count: {scalar}\n"
        yield f"scalar-key-{number}", f"{head}  labelSelector:\n    matchLabels:\n      ? {scalar}\n      : x\n"
    yield "same-key", f"{head}  labelSelector: {{}}\n  count: x\n  count: 1\n"
    yield "merge-before", f"{head}  labelSelector: {{}}\n  <<: {{count: x}}\n  count: 1\n"
    yield "merge-after", f"{head}  labelSelector: {{}}\n  count: 1\n  <<: {{count: x}}\n"


def rows() -> Iterator[dict[str, str]]:
    for base in (WORKSPACE, CONFIG_MAP):
        kind = base["kind"]
        for name, made in (*of_fields(base), *of_forms(base)):
            yield {"name": f"{kind} {name}", "text": json.dumps(made)}
    for name, made in of_whole_objects():
        yield {"name": name, "text": json.dumps(made)}
    for name, text in of_scalars():
        yield {"name": name, "text": text}


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
