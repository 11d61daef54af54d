"""The manifests at hand: those the user named, and those that lie beside them.

A Workspace and its ConfigMap may stand in different files, and a hook may name only one of them, so the folder of a
file is searched too. Only a light index of names is kept; files are read again when needed, so that memory stays
flat however many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import NamedTuple

from kaitoc.compiler.core.memo import SizedCache
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.manifest.objects import KAITO_API_GROUP, Manifest, ManifestFile, read_manifests
from kaitoc.compiler.manifest.training_config import DATA_KEY

_CACHED_CHARACTERS = 2_000_000
_LEAST_CHARACTERS = 8_000
"""What a file counts for at least, so that of small ones 250 are held."""
_MAX_NEIGHBOURS = 1000
YAML_SUFFIXES = (".yaml", ".yml")


class _Entry(NamedTuple):
    """Where an object stands: the file and its number among the file's manifests."""

    path: str
    number: int
    namespace: str


class _Table:
    """Objects by name; nearly every name is one object's, which is why such an entry stands there by itself."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, _Entry | list[_Entry]] = {}

    def add(self, name: str, entry: _Entry) -> None:
        """Add an object; names are kept once, as a Workspace and its ConfigMap often share theirs."""
        found = self._by_name.get(name)
        if found is None:
            self._by_name[intern(name)] = entry
        elif isinstance(found, list):
            found.append(entry)
        else:
            self._by_name[name] = [found, entry]

    def named(self, name: str) -> Sequence[_Entry]:
        """Return the objects of a name, in the order in which they were met."""
        found = self._by_name.get(name)
        if found is None:
            return ()
        return found if isinstance(found, list) else (found,)

    def __iter__(self) -> Iterator[tuple[str, Sequence[_Entry]]]:
        return ((name, self.named(name)) for name in self._by_name)


class Index(NamedTuple):
    """The objects in some files, to be told to another process that has the same list of files.

    Each is a name, the number of its file, its index in the file and its namespace.
    """

    config_maps: list[tuple[str, int, int, str]]
    users: list[tuple[str, int, int, str]]


@dataclass(slots=True)
class Library:
    """Finds objects by name among the given files and their folders."""

    _sources: dict[str, Source] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)
    _context: set[str] = field(default_factory=set)
    _cache: SizedCache[str, ManifestFile] = field(default_factory=lambda: SizedCache(_CACHED_CHARACTERS))
    _config_maps: _Table = field(default_factory=_Table)
    _users: _Table = field(default_factory=_Table)
    _beside: set[str] = field(default_factory=set)
    _searched: set[str] = field(default_factory=set)

    def add_source(self, source: Source) -> None:
        """Add a text that replaces, or is not, a file on disk, such as standard input."""
        self._sources[source.path] = source

    def add_context(self, path: str) -> None:
        """Index a file the user did not name, so that partners are found in it; raises `SourceError`."""
        self._context.add(path)
        if not self._knows(path):
            self._enter(path)

    def add_read(self, file: ManifestFile) -> None:
        """Add a file that was read elsewhere, so that partners are found in it."""
        path = file.source.path
        self._sources[path] = file.source
        self._hold(path, file)
        self.add_context(path)

    def take_context(self, other: Library, changed: Iterable[Source]) -> None:
        """Take the texts and the context of another library, changed texts in their new form."""
        self._sources.update(other._sources)
        self._sources.update({source.path: source for source in changed})
        for path in other._context:
            self.add_context(path)

    def add_given(self, path: str) -> ManifestFile:
        """Index a file the user named; raises `SourceError`."""
        is_known = self._knows(path)
        self._given.add(path)
        return self.load(path) if is_known else self._enter(path)

    def index(self, paths: Sequence[str]) -> Index:
        """Return what is known of the objects in some files, by the files' numbers."""
        numbers = {path: number for number, path in enumerate(paths)}
        return Index(
            *(
                [(name, numbers[entry.path], entry.number, entry.namespace)
                 for name, entries in table for entry in entries if entry.path in numbers]
                for table in (self._config_maps, self._users)
            )
        )  # fmt: skip

    def take_index(self, paths: Sequence[str], index: Index) -> None:
        """Learn of the objects in given files that another process has read."""
        self._given.update(paths)
        for table, told in ((self._config_maps, index.config_maps), (self._users, index.users)):
            for name, number, place, namespace in told:
                table.add(name, _Entry(paths[number], place, intern(namespace)))

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
            return cached
        source = self._sources.get(path) or Source.read(path)
        loaded = read_manifests(source)
        self._hold(path, loaded)
        return loaded

    def _hold(self, path: str, file: ManifestFile) -> None:
        self._cache.put(path, file, max(_LEAST_CHARACTERS, len(file.source.text)))

    def config_map(self, name: str, near: Manifest) -> Manifest | None:
        """Return the ConfigMap of a name that a Workspace means: in its file, a given file, or its folder."""
        file = self._cache.get(near.source.path)
        for manifest in file.manifests if file is not None else ():
            if manifest.is_config_map and (manifest.ref.name, manifest.ref.namespace) == (name, near.ref.namespace):
                return manifest
        return next(self._matches(self._config_maps, name, near), None)

    def workspaces_using(self, config_map: Manifest) -> list[Manifest]:
        """Return the tuning Workspaces whose `tuning.config` names a ConfigMap."""
        return list(self._matches(self._users, config_map.ref.name, config_map))

    def has_given_user(self, config_map: Manifest) -> bool:
        """Return whether a Workspace that the user named names a ConfigMap."""
        return any(True for _ in self._given_users(config_map))

    def given_users_elsewhere(self, config_map: Manifest) -> Iterator[Manifest]:
        """Yield the Workspaces in other files the user named whose `tuning.config` names a ConfigMap."""
        for entry in self._given_users(config_map):
            if entry.path != config_map.source.path:
                yield self.load(entry.path).manifests[entry.number]

    def _given_users(self, config_map: Manifest) -> Iterator[_Entry]:
        for entry in self._users.named(config_map.ref.name):
            if entry.path in self._given and _same_namespace(entry.namespace, config_map.ref.namespace):
                yield entry

    def used_elsewhere(self) -> set[str]:
        """Return the files with a ConfigMap that a Workspace may mean which has none of its own beside it."""
        found: set[str] = set()
        for name, users in self._users:
            config_maps = self._config_maps.named(name)
            beside = {(entry.path, entry.namespace) for entry in config_maps}
            namespaces = {user.namespace for user in users if (user.path, user.namespace) not in beside}
            if namespaces:
                found.update(entry.path for entry in config_maps
                             if any(_same_namespace(entry.namespace, one) for one in namespaces))  # fmt: skip
        return found

    def _matches(self, table: _Table, name: str, near: Manifest) -> Iterator[Manifest]:
        if not any(_same_namespace(entry.namespace, near.ref.namespace) for entry in table.named(name)):
            self._search_folder(os.path.dirname(near.source.path) or ".", near.source.path)
        entries = [e for e in table.named(name) if _same_namespace(e.namespace, near.ref.namespace)]
        for entry in sorted(entries, key=lambda e: self._distance(e, near)):
            yield self.load(entry.path).manifests[entry.number]

    def _distance(self, entry: _Entry, near: Manifest) -> tuple[bool, bool, bool]:
        """Order candidates: the same stated namespace, the same file, the same folder."""
        return (
            entry.namespace != near.ref.namespace,
            entry.path != near.source.path,
            os.path.dirname(entry.path) != os.path.dirname(near.source.path),
        )

    def _knows(self, path: str) -> bool:
        """Return whether the objects of a file are known."""
        return path in self._given or path in self._beside

    def _enter(self, path: str) -> ManifestFile:
        """Read a file and note its objects."""
        loaded = self.load(path)
        if path not in self._given:
            self._beside.add(path)
        for index, manifest in enumerate(loaded.manifests):
            entry = _Entry(path, index, intern(manifest.ref.namespace))
            if manifest.is_config_map:
                self._config_maps.add(manifest.ref.name, entry)
            elif manifest.is_tuning_workspace:
                config = manifest.text("tuning", "config")
                if config:
                    self._users.add(config, entry)
        return loaded

    def _search_folder(self, folder: str, path: str) -> None:
        """Index the manifests beside a file, once per folder; files that cannot be read are passed over."""
        is_new = path in self._sources and not os.path.exists(path)
        if folder in self._searched or (is_new and not os.path.isdir(os.path.dirname(path))):
            return
        self._searched.add(folder)
        for neighbour in _yaml_files(folder):
            if self._knows(neighbour) or self._knows(os.path.normpath(neighbour)):
                continue
            try:
                source = Source.read(os.path.normpath(neighbour))
            except SourceError:
                continue
            if DATA_KEY in source.text or KAITO_API_GROUP in source.text:
                self._enter(source.path)


def _same_namespace(one: str, other: str) -> bool:
    """Return whether two objects may be in one namespace; one that states none takes kubectl's."""
    return not one or not other or one == other


def _yaml_files(folder: str) -> Iterable[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(YAML_SUFFIXES))
    except OSError:
        return []
    return [os.path.join(folder, name) if folder != "." else name for name in names[:_MAX_NEIGHBOURS]]
