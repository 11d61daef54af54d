"""Re-tabulates CustomResourceDefinitions without descriptions, subtrees that occur often written once.

    python tests/engines/crds/record.py FOLDER   FOLDER/trainer-v2.0.1/trainjobs.yaml, as a release ships them

Sources: kubeflow/trainer manifests/base/crds, kubernetes-sigs/jobset config/components/crd/bases,
kubeflow/training-operator manifests/base/crds, at the tags in the folders' names.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("crds.json")
KINDS = ("TrainJob", "TrainingRuntime", "JobSet", "PyTorchJob")
_KEPT = ("type", "properties", "items", "additionalProperties", "required", "enum", "pattern", "minLength", "maxLength",
         "minimum", "maximum", "minItems", "maxItems", "x-kubernetes-preserve-unknown-fields",
         "x-kubernetes-int-or-string", "x-kubernetes-validations")  # fmt: skip
_LEAST_CHARACTERS = 120


def main(folder: str) -> None:
    schemas = {}
    for path in sorted(Path(folder).glob("*/*.yaml")):
        crd = yaml.safe_load(path.read_text())
        kind = crd["spec"]["names"]["kind"]
        if kind in KINDS:
            schemas[f"{path.parent.name}/{kind}"] = _slim(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    counts: Counter[str] = Counter()
    for schema in schemas.values():
        _count(schema, counts)
    names: dict[str, str] = {}
    definitions: dict[str, Any] = {}
    folded = {key: _fold(schema, counts, names, definitions) for key, schema in schemas.items()}
    lines = [f"{json.dumps(key)}: {_text(value)}" for key, value in definitions.items()]
    heads = [f"{json.dumps(key)}: {_text(value)}" for key, value in folded.items()]
    TABLE.write_text('{"definitions": {\n' + ",\n".join(lines) + '\n},\n"schemas": {\n' + ",\n".join(heads) + "\n}}\n")


def _slim(node: Any) -> Any:
    """Return a schema without descriptions, and with rules that need no earlier object."""
    slim = {key: node[key] for key in _KEPT if key in node}
    for key in ("properties",):
        if key in slim:
            slim[key] = {name: _slim(value) for name, value in slim[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(slim.get(key), dict):
            slim[key] = _slim(slim[key])
    rules = [rule["rule"] for rule in slim.pop("x-kubernetes-validations", ()) if "oldSelf" not in rule["rule"]]
    return {**slim, "rules": rules} if rules else slim


def _text(node: Any) -> str:
    return json.dumps(node, separators=(",", ":"))


def _count(node: Any, counts: Counter[str]) -> None:
    counts[_text(node)] += 1
    if counts[_text(node)] == 1:
        for child in _children(node):
            _count(child, counts)


def _children(node: Any) -> list[Any]:
    inner = [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    return [*node.get("properties", {}).values(), *inner]


def _fold(node: Any, counts: Counter[str], names: dict[str, str], definitions: dict[str, Any]) -> Any:
    text = _text(node)
    if text in names:
        return {"$ref": f"#/definitions/{names[text]}"}
    folded = dict(node)
    if "properties" in node:
        folded["properties"] = {
            key: _fold(value, counts, names, definitions) for key, value in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            folded[key] = _fold(node[key], counts, names, definitions)
    if counts[text] < 2 or len(text) < _LEAST_CHARACTERS:
        return folded
    names[text] = str(len(names))
    definitions[names[text]] = folded
    return {"$ref": f"#/definitions/{names[text]}"}


if __name__ == "__main__":
    main(sys.argv[1])
