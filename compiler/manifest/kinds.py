"""Whether an object has an `apiVersion` and a `kind` that a cluster with Kaito serves.

An object is Kaito's by its API group, or by a shape that no other has: a Workspace that has `resource` beside `tuning`
or `inference`, an InferenceSet whose template has `inference`, a MultiRoleInference with roles, and a ConfigMap with a
training config.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.object_schemas import (
    CONFIG_MAP,
    CORE_VERSION,
    INFERENCE_SET,
    MULTI_ROLE,
    WORKSPACE,
    served_kinds,
)
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.recognition import KAITO_API_GROUP
from kaitoc.compiler.manifest.training_config import DATA_KEY, ROOT_KEY
from kaitoc.compiler.yaml.tree import Mapping, Scalar, Sequence


@dataclass(frozen=True, slots=True)
class KindFault:
    """Which of `apiVersion` and `kind` is wrong, what was meant (empty where that is open), and of which kind."""

    key: str
    kind: str
    expected: str
    is_of_kaito: bool


def kind_fault(manifest: Manifest) -> KindFault | None:
    """Return the fault in the kind of an object that is Kaito's, None for all others."""
    if manifest.is_workspace and manifest.is_served:
        return None
    if manifest.api_version.partition("/")[0] == KAITO_API_GROUP:
        return _kaito_fault(manifest)
    if manifest.is_config_map:
        return None
    for kind, has_fields in _SHAPES:
        if _is_like(manifest.ref.kind, kind) and has_fields(manifest):
            return KindFault("apiVersion", kind, _newest_version(kind), is_of_kaito=True)
    if _has_training_config(manifest):
        return _config_map_fault(manifest)
    return None


def _kaito_fault(manifest: Manifest) -> KindFault | None:
    """Return the fault in the kind or version of an object in Kaito's group."""
    kinds, kind = served_kinds(), manifest.ref.kind
    served = kinds.get(manifest.api_version)
    every = sorted({name for names in kinds.values() for name in names})
    if served is not None and kind in served:
        return None
    if kind in every:
        return KindFault("apiVersion", kind, _newest_version(kind), is_of_kaito=True)
    listed = kind.removesuffix("List")
    if listed != kind and listed in every:
        return KindFault("kind", listed, listed, is_of_kaito=True) if manifest.node.get("items") is None else None
    meant = next((name for name in every if _is_like(kind, name)), WORKSPACE if not kind else "")
    return KindFault("kind", meant, meant, is_of_kaito=True)


def _newest_version(kind: str) -> str:
    return [version for version, names in served_kinds().items() if kind in names][-1]


def _config_map_fault(manifest: Manifest) -> KindFault | None:
    kind = manifest.ref.kind
    if kind == CONFIG_MAP:
        return KindFault("apiVersion", CONFIG_MAP, CORE_VERSION, is_of_kaito=False)
    if manifest.api_version == CORE_VERSION:
        return KindFault("kind", CONFIG_MAP, CONFIG_MAP, is_of_kaito=False)
    return None


def _is_like(kind: str, name: str) -> bool:
    """Return whether a kind is a name in other letters or in the plural."""
    return kind.lower().rstrip("s") == name.lower().rstrip("s")


def _has_workspace_fields(manifest: Manifest) -> bool:
    resource, tuning, inference = (manifest.node.get(name) for name in ("resource", "tuning", "inference"))
    task = tuning or inference
    return resource is not None and task is not None and isinstance(task.value, Mapping)


def _has_served_template(manifest: Manifest) -> bool:
    template = manifest.entry("spec", "template")
    return template is not None and isinstance(template.value, Mapping) and template.value.get("inference") is not None


def _has_roles(manifest: Manifest) -> bool:
    roles = manifest.entry("spec", "roles")
    return roles is not None and isinstance(roles.value, Sequence)


_SHAPES = (
    (WORKSPACE, _has_workspace_fields),
    (INFERENCE_SET, _has_served_template),
    (MULTI_ROLE, _has_roles),
)


def _has_training_config(manifest: Manifest) -> bool:
    entry = manifest.entry("data", DATA_KEY)
    return entry is not None and isinstance(entry.value, Scalar) and f"{ROOT_KEY}:" in entry.value.value
