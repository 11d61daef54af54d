"""The manifests at hand: those the user named, and those that lie beside them.

A Workspace and its ConfigMap may stand in different files, and a hook may name only one of them, so the folder of a
file is searched too. Only a light index of names is kept; files are read again when needed, so that memory stays
flat however many there are.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from kaitoc.compiler.manifests import KAITO_API_GROUP, Manifest, ManifestFile, read_manifests
from kaitoc.compiler.records import dataclass, field
from kaitoc.compiler.source import Source, SourceError
from kaitoc.compiler.training_config import DATA_KEY

_CACHED_FILES = 512
_MAX_NEIGHBOURS = 1000
YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where an object stands: the file and its index among the file's manifests."""

    path: str
    index: int
    namespace: str


@dataclass(frozen=True, slots=True)
class Index:
    """What a library knows of files without their content, to be told to another process."""

    given: frozenset[str]
    indexed: frozenset[str]
    config_maps: dict[str, list[_Entry]]
    users: dict[str, list[_Entry]]


@dataclass(slots=True)
class Library:
    """Finds objects by name among the given files and their folders."""

    _sources: dict[str, Source] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)
    _context: set[str] = field(default_factory=set)
    _cache: OrderedDict[str, ManifestFile] = field(default_factory=OrderedDict)
    _config_maps: dict[str, list[_Entry]] = field(default_factory=dict)
    _users: dict[str, list[_Entry]] = field(default_factory=dict)
    _indexed: set[str] = field(default_factory=set)
    _searched: set[str] = field(default_factory=set)

    def add_source(self, source: Source) -> None:
        """Add a text that replaces, or is not, a file on disk, such as standard input."""
        self._sources[source.path] = source

    def add_context(self, path: str) -> None:
        """Index a file the user did not name, so that partners are found in it; raises `SourceError`."""
        self._context.add(path)
        self._index(path)

    def add_read(self, file: ManifestFile) -> None:
        """Add a file that was read elsewhere, so that partners are found in it."""
        path = file.source.path
        self._sources[path] = file.source
        self._cache[path] = file
        self.add_context(path)

    def take_context(self, other: Library, changed: Iterable[Source]) -> None:
        """Take the texts and the context of another library, changed texts in their new form."""
        self._sources.update(other._sources)
        self._sources.update({source.path: source for source in changed})
        for path in other._context:
            self.add_context(path)

    def add_given(self, path: str) -> ManifestFile:
        """Index a file the user named; raises `SourceError`."""
        self._given.add(path)
        return self._index(path)

    def index(self) -> Index:
        """Return what is known of all files."""
        return Index(frozenset(self._given), frozenset(self._indexed), self._config_maps, self._users)

    def take_index(self, other: Index) -> None:
        """Learn what another library knows of files that are not known here."""
        for own, told in ((self._config_maps, other.config_maps), (self._users, other.users)):
            for name, entries in told.items():
                new = [entry for entry in entries if entry.path not in self._indexed]
                if new:
                    own.setdefault(name, []).extend(new)
        self._indexed |= other.indexed
        self._given |= other.given

    def is_given(self, manifest: Manifest) -> bool:
        """Return whether the user named the file an object stands in."""
        return self.is_given_path(manifest.source.path)

    def is_given_path(self, path: str) -> bool:
        """Return whether the user named a file."""
        return path in self._given

    def load(self, path: str) -> ManifestFile:
        """Return a file's objects, from the cache or from disk; raises `SourceError`."""
        cached = self._cache.get(path)
        if cached is not None:
            self._cache.move_to_end(path)
            return cached
        source = self._sources.get(path) or Source.read(path)
        loaded = read_manifests(source)
        self._cache[path] = loaded
        if len(self._cache) > _CACHED_FILES:
            self._cache.popitem(last=False)
        return loaded

    def config_map(self, name: str, near: Manifest) -> Manifest | None:
        """Return the ConfigMap of a name that a Workspace means: in its file, a given file, or its folder."""
        return next(self._matches(self._config_maps, name, near), None)

    def workspaces_using(self, config_map: Manifest) -> list[Manifest]:
        """Return the tuning Workspaces whose `tuning.config` names a ConfigMap."""
        return list(self._matches(self._users, config_map.ref.name, config_map))

    def _matches(self, table: dict[str, list[_Entry]], name: str, near: Manifest) -> Iterator[Manifest]:
        if not any(_same_namespace(entry.namespace, near.ref.namespace) for entry in table.get(name, ())):
            self._search_folder(os.path.dirname(near.source.path) or ".", near.source.path)
        entries = [e for e in table.get(name, ()) if _same_namespace(e.namespace, near.ref.namespace)]
        for entry in sorted(entries, key=lambda e: self._distance(e, near)):
            yield self.load(entry.path).manifests[entry.index]

    def _distance(self, entry: _Entry, near: Manifest) -> tuple[bool, bool, bool]:
        """Order candidates: the same stated namespace, the same file, the same folder."""
        return (
            entry.namespace != near.ref.namespace,
            entry.path != near.source.path,
            os.path.dirname(entry.path) != os.path.dirname(near.source.path),
        )

    def _index(self, path: str) -> ManifestFile:
        loaded = self.load(path)
        if path in self._indexed:
            return loaded
        self._indexed.add(path)
        for index, manifest in enumerate(loaded.manifests):
            entry = _Entry(path, index, manifest.ref.namespace)
            if manifest.is_config_map:
                self._config_maps.setdefault(manifest.ref.name, []).append(entry)
            elif manifest.is_tuning_workspace:
                config = manifest.text("tuning", "config")
                if config:
                    self._users.setdefault(config, []).append(entry)
        return loaded

    def _search_folder(self, folder: str, path: str) -> None:
        """Index the manifests beside a file, once per folder; files that cannot be read are passed over."""
        is_new = path in self._sources and not os.path.exists(path)
        if folder in self._searched or (is_new and not os.path.isdir(os.path.dirname(path))):
            return
        self._searched.add(folder)
        for neighbour in _yaml_files(folder):
            if neighbour in self._indexed or os.path.normpath(neighbour) in self._indexed:
                continue
            try:
                source = Source.read(os.path.normpath(neighbour))
            except SourceError:
                continue
            if DATA_KEY in source.text or KAITO_API_GROUP in source.text:
                self._index(source.path)


def _same_namespace(one: str, other: str) -> bool:
    """Return whether two objects may be in one namespace; one that states none takes kubectl's."""
    return not one or not other or one == other


def _yaml_files(folder: str) -> Iterable[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(YAML_SUFFIXES))
    except OSError:
        return []
    return [os.path.join(folder, name) if folder != "." else name for name in names[:_MAX_NEIGHBOURS]]
