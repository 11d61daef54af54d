"""Objects by the name that links them, and which of several of one name is meant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile
from sys import intern

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.manifest.objects import Manifest


class Entry(NamedTuple):
    """Where an object stands: the file and its number among the file's manifests."""

    path: str
    number: int
    namespace: str


class ObjectTable:
    """Objects by name; nearly every name is one object's, which is why such an entry stands there by itself."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, Entry | list[Entry]] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Add an object; names are kept once, as a Workspace and its ConfigMap often share theirs."""
        found = self._by_name.get(name)
        if found is None:
            self._by_name[intern(name)] = entry
        elif isinstance(found, list):
            found.append(entry)
        else:
            self._by_name[name] = [found, entry]

    def named(self, name: str) -> Sequence[Entry]:
        """Return the objects of a name, in the order in which they were met."""
        found = self._by_name.get(name)
        if found is None:
            return ()
        return found if isinstance(found, list) else (found,)

    def __iter__(self) -> Iterator[tuple[str, Sequence[Entry]]]:
        return ((name, self.named(name)) for name in self._by_name)


def may_share_namespace(one: str, other: str) -> bool:
    """Return whether two objects may be in one namespace; one that states none takes kubectl's."""
    return not one or not other or one == other


def distance(entry: Entry, near: Entry) -> tuple[bool, bool, bool, int, str, int]:
    """Order candidates: the same stated namespace, file and folder, folders close by, the first file, its last object.

    No two are equal, so that it does not matter in which order they were read.
    """
    is_elsewhere = entry.path != near.path
    folder, near_folder = os.path.dirname(entry.path), os.path.dirname(near.path)
    pairs = zip(folder.split(os.sep), near_folder.split(os.sep), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    # Of two objects of one name in one file, the last one is what `kubectl apply` leaves.
    return (entry.namespace != near.namespace, is_elsewhere, folder != near_folder, -shared, entry.path, -entry.number)


def closest(entries: Sequence[Entry], near: Entry) -> Entry | None:
    """Return the entry that an object means, None where all are in other namespaces."""
    matching = [entry for entry in entries if may_share_namespace(entry.namespace, near.namespace)]
    return min(matching, key=lambda entry: distance(entry, near), default=None)


def unmeant(config_maps: Sequence[Entry], users: Sequence[Entry]) -> dict[Entry, list[Entry]]:
    """Return the ConfigMaps of a name that no Workspace at hand means, by the Workspace that is closest to them.

    An overlay replaces the ConfigMap of its base, so it runs with the base's Workspace.
    """
    if len(config_maps) == 1 and len(users) == 1:
        return {}
    last = {(entry.path, entry.namespace): entry for entry in config_maps}
    in_folder: dict[tuple[str, str], list[Entry]] = {}
    for entry in config_maps:
        in_folder.setdefault((os.path.dirname(entry.path), entry.namespace), []).append(entry)
    meant = set()
    for user in users:
        beside = in_folder.get((os.path.dirname(user.path), user.namespace), config_maps)
        meant.add(last.get((user.path, user.namespace)) or closest(beside, user))
    found: dict[Entry, list[Entry]] = {}
    for entry in config_maps:
        owner = closest(users, entry) if entry not in meant else None
        if owner is not None:
            found.setdefault(owner, []).append(entry)
    return found


class Index(NamedTuple):
    """The objects in some files, to be told to another process that has the same list of files.

    For each of the library's tables: names, numbers of files, indexes there and namespaces. Kustomizations are paths:
    what they say of files is read again.
    """

    tables: tuple[list[tuple[str, int, int, str]], ...]
    kustomizations: tuple[str, ...] = ()


def namespace_of(manifest: Manifest) -> str:
    """Return an object's namespace as it is stated; one that is not known may be any."""
    return intern(manifest.ref.namespace) if manifest.known_text("metadata", "namespace") is not None else ""


@dataclass(slots=True)
class UnmeantUsers:
    """Remembers `unmeant` by name, for as long as no further object of the name is met."""

    _by_name: dict[str, tuple[tuple[int, int], dict[Entry, list[Entry]]]] = field(default_factory=dict)

    def of(self, name: str, users: Sequence[Entry], config_maps: Sequence[Entry]) -> dict[Entry, list[Entry]]:
        """Return the Workspaces of a name with the ConfigMaps of that name that they do not mean."""
        if not users or len(config_maps) < 2:
            return {}
        known = self._by_name.get(name)
        if known is None or known[0] != (len(users), len(config_maps)):
            known = self._by_name[name] = ((len(users), len(config_maps)), unmeant(config_maps, users))
        return known[1]
