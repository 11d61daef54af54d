"""Read-only views of what serves a model: a Workspace, an InferenceSet, or a role of a MultiRoleInference."""

from __future__ import annotations

from collections.abc import Mapping as PlainMapping

from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.object_schemas import INFERENCE_SET, MULTI_ROLE
from kaitoc.compiler.manifest.objects import Field, Manifest
from kaitoc.compiler.yaml.tree import Mapping, Node

SERVING_VERSIONS = {INFERENCE_SET: ("v1alpha1", "v1beta1"), MULTI_ROLE: ("v1alpha1",)}
"""The versions of each kind, the newest last."""


@dataclass(frozen=True, slots=True, eq=False)
class ServingView:
    """One server that an object asks for.

    `inference` has `preset`, `adapters` and `config`; `resource` has `instanceType`; `holder` has the annotations. The
    role of a MultiRoleInference has its model in `spec.model` and its config in `runtimeConfig`.
    """

    owner: Manifest
    inference: Manifest
    resource: Manifest | None
    holder: Manifest
    role: str = ""

    @property
    def adapters(self) -> tuple[Manifest, ...]:
        """Return the adapters, those that are mappings."""
        return mappings_in(self.inference, "adapters")

    @property
    def selector(self) -> Manifest | None:
        """Return the label selector of its nodes."""
        holder = self.resource if self.owner.is_workspace else _below(self.owner, "spec")
        return _below(holder, "labelSelector") if holder is not None else None

    @property
    def config(self) -> Field | None:
        """Return the field that names the ConfigMap."""
        return self.inference.given("runtimeConfig" if self.owner.ref.kind == MULTI_ROLE else "config")

    @property
    def config_name(self) -> str:
        """Return the name of the ConfigMap as it is written, placeholders too."""
        return self.inference.written_text("runtimeConfig" if self.owner.ref.kind == MULTI_ROLE else "config")

    @property
    def preset(self) -> Field | None:
        """Return the field that names the model."""
        if self.owner.ref.kind == MULTI_ROLE:
            return self.owner.given("spec", "model", "name")
        return self.inference.given("preset", "name")

    @property
    def secret(self) -> Field | None:
        """Return the field that names the secret with the token for the hub."""
        if self.owner.ref.kind == MULTI_ROLE:
            return self.owner.given("spec", "model", "modelAccessSecret")
        return self.inference.given("preset", "presetOptions", "modelAccessSecret")


def mappings_in(holder: Manifest, name: str) -> tuple[Manifest, ...]:
    """Return the mappings in a list, each with an object's way of reading fields."""
    fields = holder.fields(name) if holder.node.get(name) is not None else []
    return tuple(_as_manifest(holder, one.node, one.pointer) for one in fields if isinstance(one.node, Mapping))


def serving_views(manifest: Manifest) -> tuple[ServingView, ...]:
    """Return the servers that an object describes; none for other objects."""
    return manifest.memo.get("serving views", lambda: _views(manifest)) if manifest.is_kaitos else ()


def config_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that an object of Kaito's uses, each once."""
    if manifest.is_tuning_workspace:
        name = manifest.written_text("tuning", "config")
        return (name,) if name else ()
    return tuple(dict.fromkeys(view.config_name for view in serving_views(manifest) if view.config_name))


def config_names_in(content: PlainMapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that an object of the API server uses, each once."""
    spec = content.get("spec")
    holders: list[object] = [content.get("tuning"), content.get("inference")]
    if isinstance(spec, dict):
        template, roles = spec.get("template"), spec.get("roles")
        holders.append(template.get("inference") if isinstance(template, dict) else None)
        holders += roles if isinstance(roles, list) else []
    found = [holder.get(key) for holder in holders if isinstance(holder, dict) for key in ("config", "runtimeConfig")]
    return tuple(dict.fromkeys(name for name in found if isinstance(name, str) and name))


def _views(manifest: Manifest) -> tuple[ServingView, ...]:
    if manifest.is_workspace:
        return _view(manifest, manifest, "") if manifest.is_served and not manifest.is_tuning_workspace else ()
    kind = manifest.ref.kind
    if manifest.api_version.partition("/")[2] not in SERVING_VERSIONS.get(kind, ()):
        return ()
    spec = _below(manifest, "spec")
    if spec is None:
        return ()
    if kind == INFERENCE_SET:
        template = _below(spec, "template")
        return _view(manifest, template, "") if template is not None else ()
    roles = [(field, field.node) for field in spec.fields("roles")]
    return tuple(
        ServingView(manifest, role, role, manifest, role.written_text("type"))
        for field, node in roles
        if isinstance(node, Mapping)
        for role in (_as_manifest(manifest, node, field.pointer),)
    )


def _view(owner: Manifest, holder: Manifest, role: str) -> tuple[ServingView, ...]:
    inference = _below(holder, "inference")
    if inference is None:
        return ()
    return (ServingView(owner, inference, _below(holder, "resource"), holder, role),)


def _below(manifest: Manifest, name: str) -> Manifest | None:
    entry = manifest.node.get(name)
    node: Node | None = entry.value if entry is not None else None
    return _as_manifest(manifest, node, f"{manifest.pointer}/{name}") if isinstance(node, Mapping) else None


def _as_manifest(owner: Manifest, node: Mapping, pointer: str) -> Manifest:
    """Return a part of an object with an object's way of reading fields."""
    return Manifest(owner.source, node, owner.api_version, owner.ref, pointer)
