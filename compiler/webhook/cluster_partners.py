"""Partners from the Kubernetes API: ConfigMaps with a training config and Workspaces, listed and then watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from kaitoc.compiler.admission.objects import path_of, source_of
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.recognition import DATA_KEY, KAITO_API_GROUP, PLAN_KEY, SERVING_DATA_KEY
from kaitoc.compiler.manifest.serving_objects import config_names_in
from kaitoc.compiler.webhook.log import LOGGER

_WATCH_SECONDS = 300
_LIST_SECONDS = 60
_RETRY_SECONDS = 5.0
_RELIST_SECONDS = 1.0
_VERSION = "v1beta1"
_KEPT_METADATA = ("name", "namespace", "annotations")


class KubernetesError(KaitocError):
    """A cluster that cannot be reached as configured."""


class Api(Protocol):
    """What is asked of the cluster: objects as plain JSON."""

    def list(self, kind: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Return the resource version and all objects of a kind."""
        ...

    def watch(self, kind: str, resource_version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield changes, (ADDED, MODIFIED or DELETED, object), until the server ends the watch."""
        ...


class ClusterPartners:
    """Keeps what reviews need of the cluster's objects; complete once both kinds were listed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._objects: dict[str, dict[tuple[str, str], _Object]] = {"ConfigMap": {}, "Workspace": {}}
        self._listed: set[str] = set()
        self._problems: dict[str, str] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all objects are known, now: a watch that broke makes it false until the next list."""
        return len(self._listed) == len(self._objects)

    @property
    def problems(self) -> Mapping[str, str]:
        """Why a kind cannot be listed or watched, by kind, such as a role that does not allow it."""
        return self._problems

    def start(self) -> None:
        """Follow the cluster in the background."""
        for kind in self._objects:
            threading.Thread(target=self._follow, args=(kind,), name=f"watch-{kind}", daemon=True).start()

    def refresh(self) -> None:
        """Do nothing: the watches tell what changes."""

    def config_map(self, namespace: str, name: str) -> ManifestFile | None:
        """Return a ConfigMap."""
        with self._lock:
            stored = self._objects["ConfigMap"].get((namespace, name))
        return stored.file if stored is not None else None

    def workspaces_using(self, namespace: str, name: str) -> Sequence[ManifestFile]:
        """Return the Workspaces of a namespace that name a ConfigMap."""
        with self._lock:
            workspaces = [
                workspace
                for (its_namespace, _), workspace in self._objects["Workspace"].items()
                if its_namespace == namespace and name in config_names_in(workspace.content)
            ]
        return [workspace.file for workspace in workspaces]

    def _follow(self, kind: str) -> None:
        while True:
            try:
                self.follow_once(kind)
                time.sleep(_RELIST_SECONDS)  # a server that breaks each watch at once is not asked for all without end
            except Exception as error:
                self._listed.discard(kind)
                self._problems[kind] = str(error).partition("\n")[0]
                LOGGER.warning("%ss cannot be watched: %s", kind, self._problems[kind])
                time.sleep(_RETRY_SECONDS)

    def follow_once(self, kind: str) -> None:
        """List a kind, then apply changes until a watch breaks."""
        version, objects = self._api.list(kind)
        with self._lock:
            self._objects[kind] = {_key(item): _Object(item) for item in map(_trimmed, objects) if _matters(item)}
        self._listed.add(kind)
        self._problems.pop(kind, None)
        while True:
            started = time.monotonic()
            for change, content in self._api.watch(kind, version):
                if change == "ERROR":
                    return  # the version is too old: list anew
                version = str(content.get("metadata", {}).get("resourceVersion", version))
                self._apply(kind, change, _trimmed(content))
            if time.monotonic() - started < 1.0:
                time.sleep(1.0)

    def _apply(self, kind: str, change: str, content: Mapping[str, Any]) -> None:
        with self._lock:
            if change == "DELETED" or not _matters(content):
                self._objects[kind].pop(_key(content), None)
            elif change in ("ADDED", "MODIFIED"):
                self._objects[kind][_key(content)] = _Object(content)


def _trimmed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parts of an object that judging needs; the rest is not kept."""
    metadata = content.get("metadata") or {}
    trimmed = {key: content[key] for key in ("apiVersion", "kind", "resource", "tuning", "inference") if key in content}
    trimmed["metadata"] = {key: metadata[key] for key in _KEPT_METADATA if metadata.get(key)}
    data = content.get("data") or {}
    texts = {key: data[key] for key in (DATA_KEY, SERVING_DATA_KEY, PLAN_KEY) if isinstance(data.get(key), str)}
    if texts:
        trimmed["data"] = texts
    return trimmed


def _matters(content: Mapping[str, Any]) -> bool:
    return any(name in content for name in ("data", "tuning", "inference"))


def _key(content: Mapping[str, Any]) -> tuple[str, str]:
    metadata = content["metadata"]
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


@dataclass(frozen=True, eq=False)
class _Object:
    """An object of the cluster; it is read when a review first asks for it."""

    content: Mapping[str, Any]

    @cached_property
    def file(self) -> ManifestFile:
        """Return it as a file with one object."""
        namespace, name = _key(self.content)
        path = path_of(str(self.content.get("kind")), namespace, name)
        return read_manifests(source_of(path, dict(self.content)))


class KubernetesApi:
    """The cluster through the `kubernetes` client: the pod's service account, else the user's kubeconfig."""

    def __init__(self) -> None:
        """Load the configuration; raises `KubernetesError`."""
        from kubernetes import client, config

        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]  # the client declares no types
        except config.ConfigException:
            try:
                config.load_kube_config()  # type: ignore[no-untyped-call]
            except Exception as error:  # a kubeconfig that is no YAML, or no mapping, ends in errors of any kind
                why = " ".join(str(error).split())
                raise KubernetesError(f"--partners kubernetes: no cluster is configured: {why}") from error
        core, custom = client.CoreV1Api(), client.CustomObjectsApi()
        self._lists: dict[str, Callable[..., Any]] = {
            "ConfigMap": lambda **options: core.list_config_map_for_all_namespaces(_preload_content=False, **options),
            "Workspace": lambda **options: custom.list_cluster_custom_object(
                KAITO_API_GROUP, _VERSION, "workspaces", _preload_content=False, **options
            ),
        }

    def list(self, kind: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Return the resource version and all objects of a kind."""
        import json

        # Without a limit a connection that the server has forgotten would be waited for without end.
        response = json.loads(self._lists[kind](_request_timeout=(10, _LIST_SECONDS)).data)
        api_version = response["apiVersion"].removesuffix("List")
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in response.get("items") or []]
        return str(response["metadata"]["resourceVersion"]), items

    def watch(self, kind: str, resource_version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield changes until the server ends the watch."""
        import json

        response = self._lists[kind](
            watch=True,
            resource_version=resource_version,
            timeout_seconds=_WATCH_SECONDS,
            _request_timeout=(10, _WATCH_SECONDS + 30),
        )
        try:
            for line in _lines(response.stream(None)):
                event = json.loads(line)
                yield str(event["type"]), event["object"]
        finally:
            response.release_conn()


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    remaining = b""
    for piece in pieces:
        *whole, remaining = (remaining + piece).split(b"\n")
        yield from (line for line in whole if line)
