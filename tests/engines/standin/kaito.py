"""What Kaito does in the stand-in: its webhook, and its controller step by step."""

from __future__ import annotations

from typing import Any

from standin.kinds import Kind
from standin.server import StandIn
from standin.store import Object, Store

NAMESPACE = "team"


def webhook(store: Store, kind: Kind, item: Object) -> str:
    """Deny a tuning Workspace whose ConfigMap is not stored (`tuning_config_validation.go`, `validateConfigMap`)."""
    config = (item.get("tuning") or {}).get("config") if kind.name == "Workspace" else None
    namespace = item["metadata"].get("namespace", "")
    if not config or ("configmaps", namespace, config) in store.objects:
        return ""
    missing = f"ConfigMap '{config}' specified in 'config' not found in namespace '{namespace}': config"
    problem = f"validation failed: Failed to evaluate validateConfigMap: {missing}: spec.tuning.Config"
    return f'admission webhook "validation.workspace.kaito.sh" denied the request: {problem}'


def job(name: str, uid: str, *, ending: str = "", message: str = "") -> Object:
    conditions = [{"type": ending, "status": "True", "message": message}] if ending else []
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
        "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}},
        "status": {"conditions": conditions},
    }  # fmt: skip


def pod(name: str, job_uid: str, **status: Any) -> Object:
    labels = {"batch.kubernetes.io/controller-uid": job_uid, "job-name": name.rpartition("-")[0]}
    metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}", "labels": labels}
    containers = [{"name": item["name"]} for item in status.get("containerStatuses", ())]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}, "status": status
    }  # fmt: skip


def container(name: str, **state: Any) -> Object:
    return {"name": name, "state": state}


def event(kind: str, name: str, uid: str, reason: str, message: str) -> Object:
    about = {"kind": kind, "name": name, "uid": uid, "namespace": NAMESPACE}
    metadata = {"name": f"{name}.{reason.lower()}", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "reason": reason,
        "message": message, "type": "Warning",
    }  # fmt: skip


class Script:
    """Plays a controller: one step each time that the run looks at its main object, once that is stored."""

    def __init__(self, server: StandIn, watched: str, *steps: Any) -> None:
        self._server, self._watched, self._steps = server, watched, list(steps)
        server.before_read = self._step

    def _step(self, plural: str) -> None:
        stored = any(key[0] == self._watched for key in self._server.store.objects)
        if plural == self._watched and stored and self._is_followed and self._steps:
            self._steps.pop(0)()

    @property
    def _is_followed(self) -> bool:
        """Whether the object was written for good: before that the run only looks at what is there."""
        return any(f"/{self._watched}/" in line for line in self._server.writes())
