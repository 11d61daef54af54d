"""The schemas of Kubernetes objects, by version, kind and Kaito release: `schemas/kubernetes/`.

They are JSON Schemas with a few keywords of their own (`x-...`), which the judge knows.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.manifest.recognition import KAITO_API_GROUP
from kaitoc.schemas import read_json

Schema = dict[str, Any]
WORKSPACE, INFERENCE_SET, CONFIG_MAP = "Workspace", "InferenceSet", "ConfigMap"
MULTI_ROLE = "MultiRoleInference"
CORE_VERSION = "v1"
SERVING_KINDS = (INFERENCE_SET, MULTI_ROLE)
_CORE, _WORKSPACES = "kubernetes/core", "kubernetes/workspace"
REINSTALL = "reinstall kaitoc"
_GENERATOR = "python -m kaitoc.schemas.generate.workspace_crd"


class SchemaError(KaitocError):
    """A schema that is missing or broken; `str(error)` says which, and what to update."""


@lru_cache(maxsize=16)
def object_schema(api_version: str, kind: str, release: str) -> Schema | None:
    """Return the schema of a kind in a Kaito release such as `v0.12`, None for a kind that is not judged.

    Raises `SchemaError` where the schemas are broken or older than the release.
    """
    try:
        core = _file(_CORE)["schemas"]
        if (api_version, kind) == (CORE_VERSION, CONFIG_MAP):
            return _whole(core[CONFIG_MAP], core)
        if api_version.partition("/")[0] != KAITO_API_GROUP:
            return None
        if kind in SERVING_KINDS:
            known = _file(f"kubernetes/{kind.lower()}")["schemas"]
            served = next((one["versions"].get(api_version) for one in known if release in one["releases"]), None)
            return _whole(served, core) if served is not None else None
        if kind != WORKSPACE:
            return None
        workspaces = _file(_WORKSPACES)
        schema = workspaces["versions"].get(api_version)
        _refuse_newer(workspaces["releases"], release)
        if schema is None:
            return None
        found: Schema = _whole(schema, core)
        if release != workspaces["releases"][-1]:
            found = _in_release(found, release)
        return found
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise SchemaError(f"the schemas under schemas/kubernetes are broken ({error!r}): {REINSTALL}") from error


@lru_cache(maxsize=1)
def served_kinds() -> dict[str, tuple[str, ...]]:
    """Return the kinds that Kaito's API group has, by version; raises `SchemaError`."""
    kinds = _file(_CORE).get("kinds", {})
    return {version: tuple(names) for version, names in kinds.items() if version != "source"}


@lru_cache(maxsize=4)
def default_instance_type(api_version: str) -> str:
    """Return the instance type that the API server sets where a Workspace has none, empty where it sets none."""
    schema = _file(_WORKSPACES).get("versions", {}).get(api_version, {})
    resource = schema.get("properties", {}).get("resource", {})
    return str(resource.get("properties", {}).get("instanceType", {}).get("default", ""))


@lru_cache(maxsize=4)
def _file(name: str) -> Schema:
    try:
        content = read_json(name)
    except (OSError, ValueError) as error:
        raise SchemaError(f"schemas/{name}.json cannot be read ({error}): {REINSTALL}") from error
    if not isinstance(content, dict):
        raise SchemaError(f"schemas/{name}.json is not a mapping: {REINSTALL}")
    return content


def _refuse_newer(releases: list[str], release: str) -> None:
    if release not in releases:
        raise SchemaError(
            f"schemas/{_WORKSPACES}.json has the Workspace of Kaito {releases[0]} to {releases[-1]}, not of {release}: "
            f"write it anew with `{_GENERATOR}`"
        )


def _whole(schema: Schema, core: Schema) -> Schema:
    """Return a schema with the core schemas that its fields refer to."""
    fields = schema["properties"]
    return {**schema, "properties": {name: core[field["$ref"]] if "$ref" in field else field
                                     for name, field in fields.items()}}  # fmt: skip


def _in_release(schema: Any, release: str) -> Any:
    """Return a schema without what later releases add."""
    if isinstance(schema, list):
        return [_in_release(item, release) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _in_release(inner, release) for name, inner in schema.items() if not _is_later(inner, release)}


def _is_later(schema: Any, release: str) -> bool:
    since = schema.get("x-since") if isinstance(schema, dict) else None
    return since is not None and version_number(since) > version_number(release)
