"""What a `kustomization.yaml` does to Kaito's objects: files that become ConfigMaps, files that are only patches."""

from __future__ import annotations

import os
from collections.abc import Iterator

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.tree import Mapping, Node, Scalar, Sequence

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
HASH_MARK = "<hash>"
"""Stands for the hash in the name of a ConfigMap that is not generated yet."""

_HASH = frozenset("2456789bcdfghkmt")
_HASH_LENGTH = 10
"""kustomize writes ten digits of SHA-256 in letters that form no words (`api/hasher/hasher.go`, `encode`)."""


@dataclass(frozen=True, slots=True)
class GeneratedConfigMap:
    """A ConfigMap made from a file; `name` is what Kubernetes sees, with `<hash>` for a hash."""

    name: str
    written_name: str
    namespace: str
    key: str
    path: str


@dataclass(frozen=True, slots=True)
class Kustomization:
    """One `kustomization.yaml`; paths are joined with its folder."""

    path: str
    patches: tuple[str, ...]
    generated: tuple[GeneratedConfigMap, ...]
    resources: tuple[str, ...] = ()
    """Files and folders that are put together: what `resources`, `bases` and `components` name on this machine."""


def unhashed_name(name: str) -> str:
    """Return a ConfigMap's name without kustomize's hash, empty where it has none."""
    stem, dash, end = name.rpartition("-")
    is_hash = end == HASH_MARK or (len(end) == _HASH_LENGTH and set(end) <= _HASH)
    return stem if dash and is_hash else ""


def read_kustomization(source: Source) -> Kustomization:
    """Read a kustomization; what cannot be read of it is passed over, as kustomize itself says what is wrong."""
    documents = parse_documents(source)
    root = documents[0].root if documents else None
    folder = os.path.dirname(source.path)
    if not isinstance(root, Mapping):
        return Kustomization(source.path, (), ())
    patches = tuple(_joined(folder, path) for path in _patch_paths(root))
    resources = tuple(_joined(folder, path) for path in _resource_paths(root))
    return Kustomization(source.path, patches, tuple(_generated(root, folder)), resources)


def _patch_paths(root: Mapping) -> Iterator[str]:
    for name in ("patches", "patchesJson6902"):
        for item in _items(root, name):
            path = _text(item, "path")
            if path:
                yield path
    for item in _items(root, "patchesStrategicMerge"):
        if isinstance(item, Scalar) and "\n" not in item.value.strip():
            yield item.value


def _resource_paths(root: Mapping) -> Iterator[str]:
    """Yield what is put together, but for what kustomize fetches (`https://`, `git@`, `github.com/`, `?ref=`)."""
    for name in ("resources", "bases", "components"):
        for item in _items(root, name):
            if isinstance(item, Scalar) and not any(mark in item.value for mark in ("://", "git@", "github.com", "?")):
                yield item.value


def _generated(root: Mapping, folder: str) -> Iterator[GeneratedConfigMap]:
    options = root.get("generatorOptions")
    # With transformer configurations of its own, a kustomization may rewrite `tuning.config` too.
    keeps_references = root.get("configurations") is not None
    is_unhashed = options is not None and _text(options.value, "disableNameSuffixHash") == "true"
    for item in _items(root, "configMapGenerator"):
        own = item.get("options") if isinstance(item, Mapping) else None
        hashed = not (is_unhashed or (own is not None and _text(own.value, "disableNameSuffixHash") == "true"))
        written = _text(item, "name")
        name = written
        if not keeps_references:
            name = f"{_text(root, 'namePrefix')}{written}{_text(root, 'nameSuffix')}"
            name = f"{name}-{HASH_MARK}" if hashed else name
        namespace = _text(root, "namespace") or _text(item, "namespace")
        for file in _items(item, "files"):
            if written and isinstance(file, Scalar):
                key, equals, path = file.value.partition("=")
                path = path if equals else key
                key = key if equals else os.path.basename(path)
                yield GeneratedConfigMap(name, written, namespace, key, _joined(folder, path))


def _items(node: Node, name: str) -> list[Node]:
    entry = node.get(name) if isinstance(node, Mapping) else None
    return [item.value for item in entry.value.items] if entry is not None and isinstance(entry.value, Sequence) else []


def _text(node: Node, name: str) -> str:
    entry = node.get(name) if isinstance(node, Mapping) else None
    return entry.value.value if entry is not None and isinstance(entry.value, Scalar) else ""


def _joined(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))
