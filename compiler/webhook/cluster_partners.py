"""Partners from the Kubernetes API: ConfigMaps with a config, and Kaito's objects, listed and then watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from kaitoc.compiler.admission.objects import path_of, source_of
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.manifest.recognition import DATA_KEY, PLAN_KEY, SERVING_DATA_KEY
from kaitoc.compiler.manifest.serving_objects import config_names_in
from kaitoc.compiler.webhook.cluster_api import CONFIG_MAP, KAITOS_KINDS, PARTNER_KINDS, UnknownKindError
from kaitoc.compiler.webhook.log import LOGGER

_RETRY_SECONDS = 5.0
_RELIST_SECONDS = 1.0
_KEPT_METADATA = ("name", "namespace", "annotations")
_HOLDERS = ("tuning", "inference", "spec")


class Api(Protocol):
    """What is asked of the cluster: objects as plain JSON."""

    def list(self, kind: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Return the resource version and all objects of a kind; raises `UnknownKindError`."""
        ...

    def watch(self, kind: str, resource_version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield changes, (ADDED, MODIFIED or DELETED, object), until the server ends the watch."""
        ...


class ClusterPartners:
    """Keeps what reviews need of the cluster's objects; complete once every kind was listed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._objects: dict[str, dict[tuple[str, str], _Object]] = {kind: {} for kind in PARTNER_KINDS}
        self._listed: set[str] = set()
        self._problems: dict[str, str] = {}
        self._is_stopped = threading.Event()

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

    def stop(self) -> None:
        """End following: what is asked of the cluster at this moment is the last."""
        self._is_stopped.set()

    def refresh(self) -> None:
        """Do nothing: the watches tell what changes."""

    def config_map(self, namespace: str, name: str) -> ManifestFile | None:
        """Fetch a ConfigMap from the watch's cache, None when the cluster has none of that name."""
        with self._lock:
            stored = self._objects[CONFIG_MAP].get((namespace, name))
        return stored.file if stored is not None else None

    def users_of(self, namespace: str, name: str) -> Sequence[ManifestFile]:
        """Return the objects of Kaito's in a namespace that name a ConfigMap."""
        with self._lock:
            users = [
                user
                for kind in KAITOS_KINDS
                for (its_namespace, _), user in self._objects[kind].items()
                if its_namespace == namespace and name in config_names_in(user.content)
            ]
        return [user.file for user in users]

    def _follow(self, kind: str) -> None:
        while not self._is_stopped.is_set():
            try:
                self.follow_once(kind)
                pause_seconds = _RELIST_SECONDS  # a server that breaks each watch is not asked for all without end
            except Exception as error:
                if self._is_stopped.is_set():
                    return
                self._note(kind, error)
                pause_seconds = _RETRY_SECONDS
            self._is_stopped.wait(pause_seconds)

    def _note(self, kind: str, error: Exception) -> None:
        """Keep and log why a kind cannot be followed; of one that the cluster does not define all is known: nothing."""
        if isinstance(error, UnknownKindError):
            with self._lock:
                self._objects[kind] = {}
            self._listed.add(kind)
        else:
            self._listed.discard(kind)
        problem = str(error).partition("\n")[0]
        if self._problems.get(kind) != problem:
            LOGGER.warning("cannot watch %ss: %s", kind, problem)
        self._problems[kind] = problem

    def follow_once(self, kind: str) -> None:
        """List a kind, then apply changes until a watch breaks."""
        version, objects = self._api.list(kind)
        with self._lock:
            self._objects[kind] = {_key(item): _Object(item) for item in map(_trimmed, objects) if _matters(item)}
        self._listed.add(kind)
        self._problems.pop(kind, None)
        while not self._is_stopped.is_set():
            started = time.monotonic()
            for change, content in self._api.watch(kind, version):
                if change == "ERROR":
                    return  # the version is too old: list anew
                version = str(content.get("metadata", {}).get("resourceVersion", version))
                self._apply(kind, change, _trimmed(content))
            if time.monotonic() - started < 1.0:
                self._is_stopped.wait(1.0)

    def _apply(self, kind: str, change: str, content: Mapping[str, Any]) -> None:
        with self._lock:
            if change == "DELETED" or not _matters(content):
                self._objects[kind].pop(_key(content), None)
            elif change in ("ADDED", "MODIFIED"):
                self._objects[kind][_key(content)] = _Object(content)


def _trimmed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parts of an object that judging needs; the rest is not kept."""
    metadata = content.get("metadata") or {}
    trimmed = {key: content[key] for key in ("apiVersion", "kind", "resource", *_HOLDERS) if key in content}
    trimmed["metadata"] = {key: metadata[key] for key in _KEPT_METADATA if metadata.get(key)}
    data = content.get("data") or {}
    texts = {key: data[key] for key in (DATA_KEY, SERVING_DATA_KEY, PLAN_KEY) if isinstance(data.get(key), str)}
    if texts:
        trimmed["data"] = texts
    return trimmed


def _matters(content: Mapping[str, Any]) -> bool:
    return any(name in content for name in ("data", *_HOLDERS))


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
