"""What the stand-in stores: objects with versions and field managers, and their history for watches."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from standin.kinds import Kind

Object = dict[str, Any]
Webhook = Callable[["Store", Kind, Object], str]
_METADATA_OF_THE_SERVER = ("name", "namespace", "uid", "resourceVersion", "generation", "managedFields")


class StatusError(Exception):
    """A request that is refused; `reason` and `code` are those of a Kubernetes Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Store:
    """Objects by kind, namespace and name. `webhooks` return why they deny an object that is written, or nothing."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.oldest_version = 0
        self.webhooks: list[Webhook] = []
        self._owners: dict[tuple[str, str, str], dict[tuple[str, ...], set[str]]] = {}
        self._version = 0

    def get(self, plural: str, namespace: str, name: str) -> Object:
        try:
            return copy.deepcopy(self.objects[plural, namespace, name])
        except KeyError:
            raise StatusError(404, "NotFound", f'{plural} "{name}" not found') from None

    def list(self, plural: str, namespace: str, chosen: Callable[[Object], bool]) -> list[Object]:
        return [
            copy.deepcopy(item)
            for (its_plural, its_namespace, _), item in sorted(self.objects.items())
            if its_plural == plural and namespace in ("", its_namespace) and chosen(item)
        ]

    def apply(self, kind: Kind, item: Object, manager: str, *, force: bool, dry_run: bool) -> Object:
        """Merge an applied object into the stored one as server-side apply does, but for lists, which are leaves."""
        key = self._key(kind, item)
        stored = copy.deepcopy(self.objects.get(key, {}))
        owners = copy.deepcopy(self._owners.get(key, {}))
        new = dict(_leaves(item))
        conflicts = sorted(
            (other, path)
            for path, value in new.items()
            for other in owners.get(path, set()) - {manager}
            if _value(stored, path) != value
        )
        if conflicts and not force:
            raise StatusError(409, "Conflict", _conflict_message(conflicts))
        for path in [path for path, managers in owners.items() if manager in managers and path not in new]:
            owners[path].discard(manager)
            if not owners[path]:
                del owners[path]
                _remove(stored, path)
        for path, value in new.items():
            is_shared = _value(stored, path) == value
            owners[path] = ({*owners.get(path, ()), manager}) if is_shared else {manager}
            _set(stored, path, value)
        return self._write(kind, key, stored, owners, dry_run=dry_run)

    def replace(self, kind: Kind, item: Object, manager: str = "kubectl-replace", *, dry_run: bool = False) -> Object:
        """Store an object as a whole; a resource version that is not the stored one is refused."""
        key = self._key(kind, item)
        stored = self.objects.get(key)
        wanted = item.get("metadata", {}).get("resourceVersion")
        if stored is not None and wanted and wanted != stored["metadata"]["resourceVersion"]:
            raise StatusError(409, "Conflict", f'Operation cannot be fulfilled on {kind.plural} "{key[2]}": modified')
        return self._write(kind, key, copy.deepcopy(item), {p: {manager} for p, _ in _leaves(item)}, dry_run=dry_run)

    def delete(self, plural: str, namespace: str, name: str) -> Object:
        with self.lock:
            item = self.get(plural, namespace, name)
            del self.objects[plural, namespace, name]
            self._owners.pop((plural, namespace, name), None)
            self._note("DELETED", plural, item)
            return item

    def change(self, plural: str, namespace: str, name: str, **parts: Any) -> None:
        """Set top-level parts of a stored object, as a controller does with its status."""
        with self.lock:
            item = self.objects[plural, namespace, name]
            item.update(copy.deepcopy(parts))
            self._note("MODIFIED", plural, item)

    def changes_since(self, version: int, plural: str) -> list[tuple[int, str, Object]]:
        """Return what happened to a kind after a version; one that is forgotten is refused with 410."""
        if version < self.oldest_version:
            raise StatusError(410, "Expired", f"too old resource version: {version} ({self.oldest_version})")
        return [(at, change, item) for at, change, its, item in self.history if its == plural and at > version]

    def forget_history(self) -> None:
        """Compact: a watch from any earlier version is refused."""
        self._version += 1
        self.oldest_version = self._version

    @property
    def version(self) -> str:
        return str(self._version)

    def _write(self, kind: Kind, key: tuple[str, str, str], item: Object, owners: Any, *, dry_run: bool) -> Object:
        before = self.objects.get(key)
        metadata = item.setdefault("metadata", {})
        old = (before or {}).get("metadata", {})
        item.update(apiVersion=kind.api_version, kind=kind.name)
        metadata.update(name=key[2], uid=old.get("uid") or metadata.get("uid") or str(uuid.uuid4()))
        if kind.is_namespaced:
            metadata["namespace"] = key[1]
        metadata["resourceVersion"] = old.get("resourceVersion", "0")
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["creationTimestamp"] = old.get("creationTimestamp") or metadata.get("creationTimestamp") or now
        changes_spec = before is None or _without_metadata(before) != _without_metadata(item)
        metadata["generation"] = old.get("generation", 0) + (1 if changes_spec else 0)
        for webhook in self.webhooks:
            if denial := webhook(self, kind, item):
                raise StatusError(403, "Forbidden", denial)
        if dry_run:
            return item
        with self.lock:
            self._owners[key] = owners
            if before == item:
                return copy.deepcopy(item)
            self.objects[key] = item
            self._note("ADDED" if before is None else "MODIFIED", kind.plural, item)
            return copy.deepcopy(item)

    def _note(self, change: str, plural: str, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = self.version
        self.history.append((self._version, change, plural, copy.deepcopy(item)))
        self.lock.notify_all()

    def _key(self, kind: Kind, item: Object) -> tuple[str, str, str]:
        metadata = item.get("metadata", {})
        namespace = (metadata.get("namespace") or "default") if kind.is_namespaced else ""
        return kind.plural, namespace, metadata["name"]


def _leaves(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(content, dict) and content:
        for key, value in content.items():
            below = (*path, key)
            is_servers = below in (("apiVersion",), ("kind",), ("status",)) or (
                path == ("metadata",) and key in _METADATA_OF_THE_SERVER
            )
            if not is_servers:
                yield from _leaves(value, below)
    elif path:
        yield path, content


def _value(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(content, dict) or key not in content:
            return None
        content = content[key]
    return content


def _set(content: Object, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        content = content.setdefault(key, {})
    content[path[-1]] = copy.deepcopy(value)


def _remove(content: Object, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        content = content.get(key, {})
    content.pop(path[-1], None)


def _without_metadata(item: Object) -> Object:
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}


def _conflict_message(conflicts: list[tuple[str, tuple[str, ...]]]) -> str:
    """Return the message of structured-merge-diff's `NewConflictError` in apimachinery's words."""
    if len(conflicts) == 1:
        ((manager, path),) = conflicts
        return f'Apply failed with 1 conflict: conflict with "{manager}" using v1: .{".".join(path)}'
    told = []
    for manager in sorted({manager for manager, _ in conflicts}):
        told.append(f'conflicts with "{manager}" using v1:')
        told += [f"- .{'.'.join(path)}" for its_manager, path in conflicts if its_manager == manager]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(told)
