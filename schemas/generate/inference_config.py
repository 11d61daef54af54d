"""Writes the JSON Schema of `inference_config.yaml` of each Kaito release from its table of options.

    python -m kaitoc.schemas.generate.inference_config

The tables under `inference_config/options` are what `tests/oracle/serving/record.py --introspect` prints of a
release; one with the vLLM of another release has its table. A schema is for editors: it has the options as they should
be written, not every form that the parser takes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.schemas import ROOT, read_json

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SITE = "https://kaitoc.readthedocs.io/schemas"
_TYPES: dict[str, Any] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "size": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?[kKmMgGtT]$"}]},
    "size-or-auto": {
        "anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^(auto|[0-9]+(\\.[0-9]+)?[kKmMgGtT])$"}]
    },
}
_BOUNDS = {"min": "minimum", "above": "exclusiveMinimum", "max": "maximum", "below": "exclusiveMaximum"}


def schema_of(release: str) -> dict[str, Any]:
    """Return the JSON Schema of a release's config."""
    table = read_json(f"inference_config/options/{release}")
    options: dict[str, Any] = {}
    for name, option in table["options"].items():
        options[name] = _option(option)
        if option["kind"] == "switch":
            options[f"no-{name}"] = {"description": f"Turns `{name}` off, whatever the value is.", "const": True}
    vllm = {
        "description": "Options of vLLM's server; each value becomes one word on its command line.",
        "type": "object",
        "properties": options,
        "patternProperties": {"^[a-z0-9_-]+\\.": {}},
        "additionalProperties": False,
    }
    share = "Share of the free host memory that the offloaded KV cache may use; 0 turns offloading off."
    return {
        "$schema": _DIALECT,
        "$id": f"{_SITE}/inference_config/{release}.json",
        "title": f"Kaito inference config, {release}",
        "type": "object",
        "properties": {
            "vllm": vllm,
            "kv_cache_cpu_memory_utilization": {"description": share, "type": "number", "default": 0.5},
            "max_probe_steps": {"description": "Without effect since v0.8.", "type": "integer", "deprecated": True},
        },
        "additionalProperties": False,
    }


def _option(option: dict[str, Any]) -> dict[str, Any]:
    kind = option["kind"]
    if kind == "switch":
        return {"description": "Turns it on, whatever the value is.", "const": True}
    if kind == "flag":
        return {"description": "Turns it on, whatever the value is; nothing turns it off.", "const": True}
    found = dict(_TYPES.get(kind, {"type": ["string", "number"]}))
    if option.get("choices"):
        found = {"enum": [int(one) if kind == "int" else one for one in option["choices"] if one != "None"]}
    if "default" in option:
        found["default"] = option["default"]
    if kind in ("int", "float"):
        found.update({theirs: option[ours] for ours, theirs in _BOUNDS.items() if ours in option})
    return found


def rendered(release: str) -> str:
    """Return the text of a release's schema."""
    return json.dumps(schema_of(release), indent=1) + "\n"


def releases() -> list[str]:
    """Return the releases that have a table."""
    names = os.listdir(os.path.join(ROOT, "inference_config", "options"))
    return sorted(name.removesuffix(".json") for name in names)


def add_tables() -> None:
    """Give each release without a table that of a release with its vLLM; raises `CatalogError` where there is none."""
    vllm = {release.name: release.vllm for release in all_releases()}
    tabulated = releases()
    for release in vllm.keys() - set(tabulated):
        alike = next((other for other in tabulated if vllm.get(other) == vllm[release]), None)
        if alike is None:
            raise CatalogError(
                f"schemas/inference_config/options/{release}.json is missing, and no release has its vLLM "
                f"{vllm[release]}: tests/oracle/serving/record.py --introspect prints it"
            )
        shutil.copy(_path("options", alike), _path("options", release))


def _path(*names: str) -> str:
    return f"{os.path.join(ROOT, 'inference_config', *names)}.json"


def main() -> None:
    """Write the tables that are missing, and every release's schema."""
    try:
        add_tables()
    except CatalogError as error:
        sys.exit(f"kaitoc: {error}")
    for release in releases():
        with open(_path(release), "w", encoding="utf-8") as file:
            file.write(rendered(release))


if __name__ == "__main__":
    main()
