"""The kinds that the stand-in serves, and the documents by which clients find them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class Kind:
    """One kind of object; `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    name: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"


CORE = (
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "events", "Event"),
    Kind("", "v1", "nodes", "Node", is_namespaced=False),
    Kind("", "v1", "namespaces", "Namespace", is_namespaced=False),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("", "v1", "pods", "Pod"),
    Kind("batch", "v1", "jobs", "Job"),
)
KAITO = (
    Kind("kaito.sh", "v1beta1", "workspaces", "Workspace"),
    Kind("karpenter.sh", "v1", "nodeclaims", "NodeClaim", is_namespaced=False),
)
KUBEFLOW = (
    Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"),
    Kind("trainer.kubeflow.org", "v1alpha1", "trainingruntimes", "TrainingRuntime"),
    Kind("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet"),
    Kind("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue"),
    Kind("kueue.x-k8s.io", "v1beta1", "clusterqueues", "ClusterQueue", is_namespaced=False),
    Kind("kueue.x-k8s.io", "v1beta1", "workloadpriorityclasses", "WorkloadPriorityClass", is_namespaced=False),
)


def discovery(kinds: Sequence[Kind], path: str) -> dict[str, Any] | None:
    """Return the discovery document of a path, None when it is none."""
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(_groups(kinds))}
    if path == "/openapi/v3":
        roots = sorted({kind.root[1:] for kind in kinds})
        return {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in roots}}
    root = path.removeprefix("/openapi/v3")
    served = [kind for kind in kinds if kind.root == root]
    if not served:
        return None
    return _resources(served) if root == path else _openapi_v3(served)


def _groups(kinds: Iterable[Kind]) -> Iterator[dict[str, Any]]:
    for group, version in sorted({(kind.group, kind.version) for kind in kinds if kind.group}):
        served = {"groupVersion": f"{group}/{version}", "version": version}
        yield {"name": group, "versions": [served], "preferredVersion": served}


def _resources(kinds: Sequence[Kind]) -> dict[str, Any]:
    listed = [
        {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.is_namespaced, "kind": kind.name,
         "verbs": VERBS}
        for kind in kinds
    ]  # fmt: skip
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": listed}


def _openapi_v3(kinds: Sequence[Kind]) -> dict[str, Any]:
    """Return what kubectl looks up: which query parameters a PATCH of a kind takes."""
    parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldValidation")]
    paths = {
        f"{kind.root}/{kind.plural}/{{name}}": {
            "patch": {
                "parameters": parameters,
                "responses": {},
                "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.name},
            }
        }
        for kind in kinds
    }
    return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}


def openapi_v2(kinds: Sequence[Kind]) -> bytes:
    """Return the same as an OpenAPI v2 document in protobuf (gnostic's `OpenAPIv2.proto`), for kubectl before 1.27."""
    parameters = b"".join(
        _field(8, _field(1, _field(2, _field(3, _field(2, b"query") + _field(4, name.encode())))))
        for name in ("dryRun", "fieldValidation")
    )
    paths = b""
    for kind in kinds:
        which = f"group: {kind.group!r}\nversion: {kind.version}\nkind: {kind.name}\n"
        extension = _field(1, b"x-kubernetes-group-version-kind") + _field(2, _field(2, which.encode()))
        item = _field(8, parameters + _field(13, extension))
        paths += _field(2, _field(1, f"{kind.root}/{kind.plural}/{{name}}".encode()) + _field(2, item))
    return _field(1, b"2.0") + _field(8, paths)


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protobuf message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    pieces = []
    while number > 0x7F:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*pieces, number])
