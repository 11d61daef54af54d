"""What the kustomizations at hand say of files: which are patches, and which become ConfigMaps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.manifest.kustomization import (
    FILE_NAMES,
    GeneratedConfigMap,
    Kustomization,
    read_kustomization,
)
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY

ReadSource = Callable[[str], Source | None]
"""Returns the text of a file, None where there is none."""


@dataclass(slots=True)
class KustomizedFiles:
    """Learns from kustomizations, each read once; `generated` has those ConfigMaps that hold a training config."""

    patches: set[str] = field(default_factory=set)
    generated: dict[str, list[GeneratedConfigMap]] = field(default_factory=dict)
    reached: dict[str, list[str]] = field(default_factory=dict)
    """By folder: the files that its kustomization puts together, also by way of others."""
    _read: dict[str, Kustomization | None] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the kustomizations that were read."""
        return tuple(path for path, found in self._read.items() if found is not None)

    def learn_around(self, folder: str, read: ReadSource) -> Iterator[GeneratedConfigMap]:
        """Yield what the kustomizations say that are likely to name a folder's files: its own and that above it."""
        if folder in self._folders:
            return
        self._folders.add(folder)
        for place in (folder, os.path.normpath(os.path.join(folder or os.curdir, os.pardir))):
            for name in FILE_NAMES:
                path = os.path.normpath(os.path.join(place, name))
                if path in self._read or os.path.isfile(path):
                    yield from self.learn(path, read)
                    break

    def learn(self, path: str, read: ReadSource) -> Iterator[GeneratedConfigMap]:
        """Yield the ConfigMaps that a kustomization, or one that it reaches, makes of training configs.

        What cannot be read makes none.
        """
        if path in self._read:
            return
        self._read[path] = None
        source = read(path)
        if source is None:
            return
        found = self._read[path] = read_kustomization(source)
        self.patches.update(found.patches)
        for one in found.generated:
            if one.key in (DATA_KEY, SERVING_DATA_KEY):
                self.generated.setdefault(one.path, []).append(one)
                yield one
        yield from self._follow(found, read)

    def _follow(self, kustomization: Kustomization, read: ReadSource) -> Iterator[GeneratedConfigMap]:
        """Learn from the folders that a kustomization puts together; a file must be below it, as kustomize wants."""
        folder = os.path.dirname(kustomization.path)
        files = self.reached.setdefault(folder, [])
        for resource in kustomization.resources:
            if os.path.isfile(resource):
                if not os.path.relpath(resource, folder or os.curdir).startswith(os.pardir):
                    files.append(resource)
                continue
            for name in FILE_NAMES:
                path = os.path.normpath(os.path.join(resource, name))
                if os.path.isfile(path):
                    yield from self.learn(path, read)
                    files.extend(one for one in self.reached.get(resource, ()) if one not in files)
                    break
