"""The manifests at hand: those the user named, and those that lie beside them.

A Workspace and its ConfigMap may stand in different files, and a hook may name only one of them, so the folder of a
file is searched too. Only a light index of names is kept, and files are read again when needed: memory stays flat.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from sys import intern

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.job.file_store import FileStore
from kaitoc.compiler.job.kustomized import KustomizedFiles
from kaitoc.compiler.job.neighbours import files_of_kaito_in
from kaitoc.compiler.job.object_table import (
    Entry,
    Index,
    ObjectTable,
    UnmeantUsers,
    closest,
    distance,
    may_share_namespace,
    namespace_of,
)
from kaitoc.compiler.manifest.adapter_places import read_by, written_by
from kaitoc.compiler.manifest.kustomization import FILE_NAMES, GeneratedConfigMap, unhashed_name
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.reading import as_plain_config
from kaitoc.compiler.manifest.serving_objects import config_names


@dataclass(slots=True)
class Library:
    """Finds objects by name among the given files and their folders."""

    names_sought: tuple[str, ...] = ()
    """Of the files beside a given one, those that mention none of these are passed over; all are read if empty."""
    _files: FileStore = field(default_factory=FileStore)
    _given: set[str] = field(default_factory=set)
    _context: set[str] = field(default_factory=set)
    _config_maps: ObjectTable = field(default_factory=ObjectTable)
    _users: ObjectTable = field(default_factory=ObjectTable)
    _trainers: ObjectTable = field(default_factory=ObjectTable)
    _servers: ObjectTable = field(default_factory=ObjectTable)
    _beside: set[str] = field(default_factory=set)
    _searched: set[str] = field(default_factory=set)
    _hashed: ObjectTable = field(default_factory=ObjectTable)
    _kustomized: KustomizedFiles = field(default_factory=KustomizedFiles)
    _unmeant_users: UnmeantUsers = field(default_factory=UnmeantUsers)

    def add_source(self, source: Source) -> None:
        """Add a text that replaces, or is not, a file on disk, such as standard input."""
        self._files.texts[source.path] = source

    def add_context(self, path: str) -> None:
        """Index a file the user did not name, so that partners are found in it; raises `SourceError`."""
        self._context.add(path)
        if not self._knows(path):
            self._enter(path)

    def add_read(self, file: ManifestFile) -> None:
        """Add a file that was read elsewhere, so that partners are found in it."""
        path = file.source.path
        self._files.texts[path] = file.source
        self._files.hold(path, file)
        self.add_context(path)

    def take_context(self, other: Library, changed: Iterable[Source]) -> None:
        """Take the texts and the context of another library, changed texts in their new form."""
        self._files.texts.update(other._files.texts)
        self._files.texts.update({source.path: source for source in changed})
        for path in other._context:
            self.add_context(path)

    def add_given(self, path: str) -> ManifestFile:
        """Index a file the user named; raises `SourceError`."""
        is_known = self._knows(path)
        self._given.add(path)
        return self.load(path) if is_known else self._enter(path)

    def index(self, paths: Sequence[str]) -> Index:
        """Index the objects of some files, given by their numbers."""
        generated = self._kustomized.generated
        numbers = {path: number for number, path in enumerate(paths) if path not in generated}
        tables = (
            [(name, numbers[one.path], one.number, one.namespace)
             for name, entries in table for one in entries if one.path in numbers]
            for table in self._tables()
        )  # fmt: skip
        return Index(tuple(tables), self._kustomized.paths)

    def take_index(self, paths: Sequence[str], index: Index) -> None:
        """Learn of the objects in given files that another process has read."""
        self._given.update(paths)
        for table, entries in zip(self._tables(), index.tables, strict=True):
            for name, number, place, namespace in entries:
                table.add(name, Entry(paths[number], place, intern(namespace)))
        for path in index.kustomizations:
            self._learn(self._kustomized.learn(path, self._files.text_of))

    def is_given(self, manifest: Manifest) -> bool:
        """Return whether the user named the file an object stands in."""
        return self.is_given_path(manifest.source.path)

    def is_given_path(self, path: str) -> bool:
        """Return whether the user named a file."""
        return path in self._given

    def load(self, path: str) -> ManifestFile:
        """Return a file's objects, from the cache or from disk; raises `SourceError`."""
        generated = self._kustomized.generated.get(path)
        return self._files.load(path, generated[0].key if generated else None)

    def is_patch(self, path: str) -> bool:
        """Return whether a kustomization applies a file to other objects: by itself it is no object."""
        return path in self._kustomized.patches

    def config_map(self, name: str, near: Manifest) -> Manifest | None:
        """Return the ConfigMap of a name that a Workspace means: in its file, a given file, or its folder.

        Where there is none of that name, one whose name kustomize made from it: its name tells.
        """
        file = self._files.held(near.source.path)
        for manifest in reversed(file.manifests) if file is not None else ():
            if manifest.is_config_map and (manifest.ref.name, manifest.ref.namespace) == (name, near.ref.namespace):
                return manifest
        # What `kustomize build` wrote stands in one file; another file's ConfigMap is not part of it.
        for manifest in file.manifests if file is not None else ():
            if manifest.is_config_map and unhashed_name(manifest.ref.name) == name:
                return manifest
        found = self._closest(name, near)
        return self._manifest(found, name) if found is not None else None

    def other_config_maps(self, workspace: Manifest, name: str) -> Iterator[Manifest]:
        """Yield the given ConfigMaps that a Workspace names beside the one it means, and that no other one means."""
        unmeant_ones = self._unmeant(name)
        for user in unmeant_ones:
            if user.path == workspace.source.path and self._stands_at(user, workspace):
                entries = sorted(unmeant_ones[user], key=lambda entry: (entry.path, entry.number))
                yield from (self._manifest(entry, name) for entry in entries if entry.path in self._given)

    def workspaces_using(self, config_map: Manifest) -> list[Manifest]:
        """Return the objects of Kaito's that name a ConfigMap, the closest first."""
        near = self._entry_of(config_map)
        users = [user for name in self._names_of(config_map) for user in self._users_of(name, near)]
        return [self.load(user.path).manifests[user.number] for user in users]

    def has_given_user(self, config_map: Manifest) -> bool:
        """Return whether a Workspace that the user named names a ConfigMap."""
        return any(True for _ in self._given_users(config_map))

    def has_unnamed(self, near: Manifest) -> bool:
        """Return whether a ConfigMap in an object's file has a name that is not known yet."""
        file = self._files.held(near.source.path)
        config_maps = [manifest for manifest in file.manifests if manifest.is_config_map] if file is not None else []
        return any(config_map.known_text("metadata", "name") is None for config_map in config_maps)

    def is_named(self, config_map: Manifest) -> bool:
        """Return whether a Workspace that is known names a ConfigMap."""
        return any(
            may_share_namespace(user.namespace, config_map.ref.namespace)
            for name in self._names_of(config_map)
            for user in self._users.named(name)
        )

    def is_meant(self, config_map: Manifest) -> bool:
        """Return whether a Workspace at hand means a ConfigMap when it names it, and not another of that name."""
        for name in self._names_of(config_map):
            entries = [entry for found in self._unmeant(name).values() for entry in found]
            if any(self._stands_at(entry, config_map) for entry in entries):
                return False
        return True

    def given_users_elsewhere(self, config_map: Manifest) -> Iterator[Manifest]:
        """Yield the Workspaces in other files the user named whose `tuning.config` names a ConfigMap."""
        for entry in self._given_users(config_map):
            if entry.path != config_map.source.path:
                yield self.load(entry.path).manifests[entry.number]

    def given_trainers(self, place: str) -> Iterator[Manifest]:
        """Yield the tuning Workspaces in files the user named that write their adapter to a place."""
        for entry in self._trainers.named(place):
            if entry.path in self._given:
                yield self.load(entry.path).manifests[entry.number]

    def is_served(self, place: str) -> bool:
        """Return whether an object in a file the user named serves the adapter that is kept at a place."""
        return any(entry.path in self._given for entry in self._servers.named(place))

    def _tables(self) -> tuple[ObjectTable, ...]:
        return self._config_maps, self._users, self._trainers, self._servers

    def _given_users(self, config_map: Manifest) -> Iterator[Entry]:
        for name in self._names_of(config_map):
            for entry in self._users.named(name):
                if entry.path in self._given and may_share_namespace(entry.namespace, config_map.ref.namespace):
                    yield entry

    def used_elsewhere(self) -> set[str]:
        """Return the files that must be judged with others.

        They hold a ConfigMap that a Workspace may mean which has none of its own beside it, a Workspace that runs with
        the ConfigMap of an overlay too, or an adapter that one trains and another serves, or are patches.
        """
        paths: set[str] = set(self._kustomized.patches)
        for place, servers in self._servers:
            files = {entry.path for entry in (*servers, *self._trainers.named(place))}
            paths.update(files if self._trainers.named(place) and len(files) > 1 else ())
        for name, users in self._users:
            config_maps = self._config_maps_of(name)
            beside = {(entry.path, entry.namespace) for entry in config_maps}
            namespaces = {user.namespace for user in users if (user.path, user.namespace) not in beside}
            if namespaces:
                paths.update(entry.path for entry in config_maps
                             if any(may_share_namespace(entry.namespace, other) for other in namespaces))  # fmt: skip
            for user, entries in self._unmeant(name).items():
                paths.update((user.path, *(entry.path for entry in entries)))
        return paths

    def _config_maps_of(self, name: str, namespace: str = "") -> list[Entry]:
        """Return the ConfigMaps of a name in a namespace, else those whose name kustomize made from it."""
        patches = self._kustomized.patches
        exact, hashed = (
            [
                entry
                for entry in table.named(name)
                if may_share_namespace(entry.namespace, namespace) and entry.path not in patches
            ]
            for table in (self._config_maps, self._hashed)
        )
        return exact or hashed

    def _names_of(self, config_map: Manifest) -> tuple[str, ...]:
        """Return the names by which Workspaces may name a ConfigMap."""
        generated = self._kustomized.generated.get(config_map.source.path)
        if generated is not None and config_map.plain is not None:
            return tuple(dict.fromkeys(one.written_name for one in generated))
        stem = unhashed_name(config_map.ref.name)
        is_alone = stem and not any(
            may_share_namespace(entry.namespace, config_map.ref.namespace) for entry in self._config_maps.named(stem)
        )
        if is_alone or (stem and any(user.path == config_map.source.path for user in self._users.named(stem))):
            return (config_map.ref.name, stem)
        return (config_map.ref.name,)

    def _unmeant(self, name: str) -> dict[Entry, list[Entry]]:
        return self._unmeant_users.of(name, self._users.named(name), self._config_maps_of(name))

    def _closest(self, name: str, near: Manifest) -> Entry | None:
        self._search_beside(self._config_maps.named(name), near)
        return closest(self._config_maps_of(name, near.ref.namespace), self._entry_of(near))

    def _users_of(self, name: str, near: Entry) -> list[Entry]:
        self._search_beside(self._users.named(name), near)
        users = [user for user in self._users.named(name) if may_share_namespace(user.namespace, near.namespace)]
        return sorted(users, key=lambda user: distance(user, near))

    def _search_beside(self, entries: Sequence[Entry], near: Manifest | Entry) -> None:
        """Search the folder of an object for a partner, unless one is known there."""
        near = near if isinstance(near, Entry) else self._entry_of(near)
        folder = os.path.dirname(near.path)
        if not any(os.path.dirname(entry.path) == folder for entry in entries
                   if may_share_namespace(entry.namespace, near.namespace)):  # fmt: skip
            self._search_folder(folder or ".", near.path)
            for path in self._kustomized.reached.get(folder, ()):
                self._enter_reached(path)

    def _enter_reached(self, path: str) -> None:
        """Note the objects of a file that a kustomization puts together; what cannot be read has none."""
        if not self._knows(path):
            try:
                self._enter(path)
            except SourceError:
                self._beside.add(path)

    def _manifest(self, entry: Entry, name: str) -> Manifest:
        """Return the object of an entry; one that kustomize makes from a file gets the name that it will have."""
        manifest = self.load(entry.path).manifests[entry.number]
        if manifest.plain is None:
            return manifest
        generated = next(one for one in self._kustomized.generated[entry.path] if one.written_name == name)
        return manifest.memo.get((generated.name, generated.namespace),
                                 lambda: manifest.named(generated.name, generated.namespace))  # fmt: skip

    def _entry_of(self, manifest: Manifest) -> Entry:
        file = self._files.held(manifest.source.path)
        numbers = enumerate(file.manifests) if file is not None else ()
        number = next((number for number, one in numbers if one.node.span == manifest.node.span), 0)
        return Entry(manifest.source.path, number, namespace_of(manifest))

    def _stands_at(self, entry: Entry, manifest: Manifest) -> bool:
        """Return whether an entry is that of an object."""
        if entry.path != manifest.source.path:
            return False
        return self.load(entry.path).manifests[entry.number].node.span == manifest.node.span

    def _knows(self, path: str) -> bool:
        """Return whether the objects of a file are known."""
        return path in self._given or path in self._beside

    def _enter(self, path: str) -> ManifestFile:
        """Read a file and note its objects."""
        loaded = self.load(path)
        if path not in self._given:
            self._beside.add(path)
        if os.path.basename(path) in FILE_NAMES:
            self._learn(self._kustomized.learn(os.path.normpath(path), self._files.text_of))
        for index, manifest in enumerate(loaded.manifests):
            if manifest.is_config_map and manifest.plain is None:
                self._note_config_map(manifest.ref.name, Entry(path, index, namespace_of(manifest)))
            elif manifest.is_kaitos:
                names = config_names(manifest), written_by(manifest), read_by(manifest)
                for table, found in zip((self._users, self._trainers, self._servers), names, strict=True):
                    for name in found:
                        table.add(name, Entry(path, index, namespace_of(manifest)))
            elif not manifest.is_config_map:
                continue
            self._learn(self._kustomized.learn_around(os.path.dirname(path), self._files.text_of))
        return loaded

    def _note_config_map(self, name: str, entry: Entry) -> None:
        self._config_maps.add(name, entry)
        stem = unhashed_name(name)
        if stem:
            self._hashed.add(stem, entry)

    def _learn(self, found: Iterable[GeneratedConfigMap]) -> None:
        """Note the ConfigMaps that kustomize makes of files; such a file is a config of Kaito's whatever it says."""
        for one in found:
            cached = self._files.held(one.path)
            if cached is not None:
                self._files.hold(one.path, as_plain_config(cached, one.key))
            try:
                manifests = self.load(one.path).manifests
            except SourceError:
                continue
            if manifests and manifests[0].plain is not None:
                self._config_maps.add(one.written_name, Entry(one.path, 0, intern(one.namespace)))

    def _search_folder(self, folder: str, path: str) -> None:
        """Index the manifests beside a file, once per folder; files that cannot be read are passed over."""
        is_new = path in self._files.texts and not os.path.exists(path)
        if folder in self._searched or (is_new and not os.path.isdir(os.path.dirname(path))):
            return
        self._searched.add(folder)
        for neighbour in files_of_kaito_in(folder, self._knows, self.names_sought):
            self._enter(neighbour)
