"""Writes `schemas/kubernetes/inferenceset.json` and `multiroleinference.json` from Kaito's resource definitions.

    python -m kaitoc.schemas.generate.serving_crds inferencesets v0.11=OLD.yaml v0.12=NEW.yaml

The files are each release's `config/crd/bases/kaito.sh_<kind>.yaml`. Unlike the Workspace's, these definitions change
from release to release, so that each has its own. Rules in CEL are written down as the keywords that mean the same, and
so is what the API server asks of replicas that can be scaled.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import yaml

from kaitoc.schemas import ROOT
from kaitoc.schemas.generate.workspace_crd import SOURCE, DefinitionError, tabulated

_RULES: dict[str, dict[str, Any]] = {
    "labelSelector must have at least one matchLabels or matchExpressions entry": {
        "x-one-of": ["matchLabels", "matchExpressions"]
    },
    "exactly one prefill and one decode role required": {"x-roles": ["prefill", "decode"]},
}
_MOST_REPLICAS = 2**31 - 1
_FILES = {"inferencesets": "inferenceset", "multiroleinferences": "multiroleinference"}


def expressed(schema: Any) -> Any:
    """Return a definition with its CEL rules as keywords; raises `DefinitionError` for a rule that is not known."""
    if isinstance(schema, list):
        return [expressed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: expressed(inner) for name, inner in schema.items() if name != "x-kubernetes-validations"}
    for rule in schema.get("x-kubernetes-validations", ()):
        if rule["message"] not in _RULES:
            raise DefinitionError(f"the judge does not know the rule `{rule['message']}`")
        found.update(_RULES[rule["message"]])
    return found


def bounded(definition: Any) -> Any:
    """Return a definition with the bounds that the API server holds scaled replicas to (`ValidateScaleSpec`)."""
    for version in definition["spec"]["versions"]:
        scale = version.get("subresources", {}).get("scale")
        if scale is not None:
            field = version["schema"]["openAPIV3Schema"]
            for name in scale["specReplicasPath"].removeprefix(".").split("."):
                field = field["properties"][name]
            field.setdefault("minimum", 0)
            field["maximum"] = _MOST_REPLICAS
    return definition


def main(arguments: list[str]) -> None:
    """Write the table of a kind from `RELEASE=FILE` arguments."""
    kind, *files = arguments
    schemas: list[dict[str, Any]] = []
    for argument in files:
        release, _, path = argument.partition("=")
        with open(path, encoding="utf-8") as file:
            definition = expressed(bounded(yaml.safe_load(file)))
        versions = tabulated([(release, definition)])["versions"]
        if schemas and schemas[-1]["versions"] == versions:
            schemas[-1]["releases"].append(release)
        else:
            schemas.append({"releases": [release], "versions": versions})
    source = SOURCE.replace("workspaces", kind).replace("workspace_crd", "serving_crds")
    content = {"source": source, "schemas": schemas}
    with open(os.path.join(ROOT, "kubernetes", f"{_FILES[kind]}.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
