"""Write the schemas of kaitoc's own files from the models that read and write them.

Run as `python -m kaitoc.schemas.generate.models` after a change of a model; a test holds the files to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kaitoc.compiler.job.settings_model import SettingsModel
from kaitoc.compiler.plan.plan import Plan
from kaitoc.compiler.report.compile.json_model import JsonCompileReport
from kaitoc.compiler.report.json_model import JsonReport
from kaitoc.schemas import ROOT

DIALECT = "https://json-schema.org/draft/2020-12/schema"
URL_BASE = "https://kaitoc.readthedocs.io/schemas/"

_Json = dict[str, Any]


def settings_schema() -> _Json:
    """Return the schema of `kaitoc.toml` and of the `[tool.kaitoc]` table."""
    schema = SettingsModel.model_json_schema(by_alias=True)
    return _finished("settings", "kaitoc settings", schema)


def report_schema() -> _Json:
    """Return the schema of `kaitoc check --format json`."""
    schema = TypeAdapter(JsonReport).json_schema(mode="serialization")
    return _finished("report", "kaitoc report, version 1", schema)


def compile_report_schema() -> _Json:
    """Return the schema of `kaitoc compile --report FILE.json`."""
    schema = TypeAdapter(JsonCompileReport).json_schema(mode="serialization")
    return _finished("compile_report", "kaitoc compile report, version 1", schema)


def plan_schema() -> _Json:
    """Return the schema of a plan, what `kaitoc run --dry-run` prints."""
    return _finished("plan", "kaitoc plan, version 1", Plan.model_json_schema())


MODELS = {
    "plan": plan_schema,
    "settings": settings_schema,
    "report": report_schema,
    "compile_report": compile_report_schema,
}


def rendered(name: str) -> str:
    """Return the text that `schemas/NAME.json` must have."""
    return json.dumps(MODELS[name](), indent=2) + "\n"


def _finished(name: str, title: str, schema: _Json) -> _Json:
    for definition in (schema, *schema.get("$defs", {}).values()):
        if definition.get("type") == "object":
            definition.setdefault("additionalProperties", False)
    return {"$schema": DIALECT, "$id": f"{URL_BASE}{name}.json", **_without_titles(schema), "title": title}


def _without_titles(node: Any) -> Any:
    """Drop the titles that pydantic derives from field names; they say nothing that the names do not."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_titles(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))
    }


if __name__ == "__main__":
    for model_name in MODELS:
        Path(ROOT, f"{model_name}.json").write_text(rendered(model_name), encoding="utf-8")
