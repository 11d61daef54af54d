"""Where the partner of an object under review is found: nowhere, in a folder, or (webhook) in the cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from kaitoc.compiler.admission.objects import path_of, source_of
from kaitoc.compiler.check.inputs import find_files
from kaitoc.compiler.core.findings import ObjectRef
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, SourceError, Span
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.yaml.tree import Mapping as MappingNode
from kaitoc.compiler.yaml.values import YamlValueError, plain_value

_REVIEW = Source("<review>", "")


class Partners(Protocol):
    """Finds ConfigMaps by name and Kaito's objects by the ConfigMap they name."""

    @property
    def is_complete(self) -> bool:
        """Whether what is not found is not there."""
        ...

    @property
    def problems(self) -> Mapping[str, str]:
        """Why objects of a kind cannot be read, by kind."""
        ...

    def refresh(self) -> None:
        """Look again, where what is known can grow old."""
        ...

    def config_map(self, namespace: str, name: str) -> ManifestFile | None:
        """Find the file that holds a ConfigMap, None when it is unknown."""
        ...

    def users_of(self, namespace: str, name: str) -> Sequence[ManifestFile]:
        """Return the files of Kaito's objects that name a ConfigMap."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RelatedObjects:
    """The files of the objects that belong to one under review, and whether there can be no others."""

    files: tuple[ManifestFile, ...] = ()
    is_complete: bool = False


class NoPartners:
    """Knows of no other object, so a missing ConfigMap is no fault."""

    is_complete = False
    problems: Mapping[str, str] = {}

    def refresh(self) -> None:
        """Do nothing."""

    def config_map(self, _namespace: str, _name: str) -> ManifestFile | None:
        """Find none: nothing else is at hand."""
        return None

    def users_of(self, _namespace: str, _name: str) -> Sequence[ManifestFile]:
        """Find none: nothing else is at hand."""
        return ()


class FolderPartners:
    """Objects in files and folders, read again when a file changes, appears or goes.

    Each is told as a file of its own: where it comes from may also hold the object under review as it was before.
    """

    is_complete = True
    problems: Mapping[str, str] = {}

    def __init__(self, paths: Sequence[str]) -> None:
        """Read the files; raises `SourceError` for a path that does not exist."""
        for path in paths:
            if not os.path.exists(path):
                raise SourceError(f"{path}: no such file or folder", path=path)
        self._paths = paths
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self._library = Library()
        self._files: dict[tuple[str, Span], ManifestFile | None] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the files anew where any has changed; what cannot be read is passed over."""
        stamp = tuple(self._stamps())
        if stamp == self._stamp:
            return
        library = Library()
        library.add_source(_REVIEW)  # it lies in no folder that could be searched
        for path, _, _ in stamp:
            try:
                library.add_given(path)
            except SourceError:
                continue
        self._library, self._stamp, self._files = library, stamp, {}

    def config_map(self, namespace: str, name: str) -> ManifestFile | None:
        """Find the file that holds a ConfigMap, None when it is unknown."""
        manifest = self._library.config_map(name, _asking("Workspace", namespace, name))
        return self._file(manifest) if manifest is not None else None

    def users_of(self, namespace: str, name: str) -> Sequence[ManifestFile]:
        """Return the files of Kaito's objects that name a ConfigMap."""
        users = self._library.workspaces_using(_asking("ConfigMap", namespace, name))
        return [file for user in users if (file := self._file(user)) is not None]

    def _file(self, manifest: Manifest) -> ManifestFile | None:
        """Return an object as a file with nothing else, None for values that no API server takes."""
        place = (manifest.source.path, manifest.node.span)
        if place not in self._files:
            self._files[place] = _alone(manifest)
        return self._files[place]

    def _stamps(self) -> list[tuple[str, int, int]]:
        stamps = []
        for path in sorted(find_files(self._paths, SettingsFinder(isolated=True))):
            try:
                status = os.stat(path)
            except OSError:
                continue
            stamps.append((path, status.st_mtime_ns, status.st_size))
        return stamps


def _alone(manifest: Manifest) -> ManifestFile | None:
    try:
        content = plain_value(manifest.node)
    except YamlValueError:
        return None
    if not isinstance(content, dict):
        return None
    ref = manifest.ref
    path = f"{path_of(ref.kind, ref.namespace, ref.name)} in {manifest.source.path}"
    return read_manifests(source_of(path, {"apiVersion": manifest.api_version, "kind": ref.kind, **content}))


def _asking(kind: str, namespace: str, name: str) -> Manifest:
    """Return an object that stands for the one under review."""
    return Manifest(_REVIEW, MappingNode(Span(0, 0), [], False, None), "", ObjectRef(kind, namespace, name))
