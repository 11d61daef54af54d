from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kaitoc.schemas import load_schema

WORKSPACE: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "tune-phi"},
    "resource": {
        "instanceType": "Standard_NC24ads_A100_v4",
        "labelSelector": {"matchLabels": {"app": "tune-phi"}},
    },
    "tuning": {
        "preset": {"name": "phi-4-mini-instruct"},
        "method": "qlora",
        "config": "my-config",
        "input": {"urls": ["https://example.com/data.parquet"]},
        "output": {"image": "registry.example.com/adapter:1", "imagePushSecret": "push"},
    },
}


def is_valid(**changes: object) -> bool:
    """Judge the workspace with some fields replaced, named by their path with `__`; None removes a field."""
    workspace = copy.deepcopy(WORKSPACE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = workspace
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is None:
            del node[last]
        else:
            node[last] = value
    return bool(Draft202012Validator(load_schema("workspace/v1beta1")).is_valid(workspace))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tuning__method": "LoRA"},
        {"tuning__config": ""},
        {"tuning__input": {"volumeSource": {"persistentVolumeClaim": {"claimName": "data"}}}},
        {"tuning__output": {"volumeSource": {"emptyDir": {}}}},
        {"resource__count": 1},
        {"resource__partition": {"mode": "mig", "profile": "1g.10gb"}, "tuning": None, "inference": {}},
    ],
    ids=str,
)
def test_what_kaito_admits_is_valid(changes: dict[str, object]) -> None:
    assert is_valid(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata__name": "Tune_Phi"},
        {"metadata__name": "a" * 64},
        {"inference": {}},
        {"tuning": None},
        {"spec": {}},
        {"resource__labelSelector": None},
        {"resource__count": 2},
        {"resource__partition": {"mode": "mig"}},
        {"tuning__method": "full"},
        {"tuning__preset": None},
        {"tuning__input": {}},
        {"tuning__input__image": "data:1"},
        {"tuning__input__urls": []},
        {"tuning__input__urls": ["ftp://example.com/x"]},
        {"tuning__output__imagePushSecret": None},
        {"tuning__output__volumeSource": {"emptyDir": {}}},
        {"tuning__outputs": {}},
    ],
    ids=str,
)
def test_what_kaito_refuses_or_drops_is_not_valid(changes: dict[str, object]) -> None:
    assert not is_valid(**changes)
