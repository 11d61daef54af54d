"""What serves, and its ConfigMap: told apart here, so that nothing that judges servers is loaded where none is."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.serving_config import is_serving_config
from kaitoc.compiler.manifest.serving_objects import ServingView, serving_views


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """Something that serves a model, as objects state it.

    `view` is None for a ConfigMap that nothing at hand names, `config_map` where there is none.
    """

    view: ServingView | None
    config_map: Manifest | None

    @property
    def manifest(self) -> Manifest:
        """Return the object that stands for the server: what asks for it, else the ConfigMap."""
        manifest = self.view.owner if self.view is not None else self.config_map
        if manifest is None:
            raise AssertionError("a server has an object or a ConfigMap")
        return manifest


def servers_in(file: ManifestFile, library: Library) -> Iterator[Server]:
    """Yield the servers that a file brings in.

    A ConfigMap that nothing at hand names is one by itself where it is Kaito's by what it says.
    """
    if library.is_patch(file.source.path):
        return
    for manifest in file.manifests:
        if manifest.is_config_map:
            yield from _of_config_map(manifest, library)
            continue
        for view in serving_views(manifest):
            yield _server(view, library)


def servers_elsewhere(file: ManifestFile, library: Library) -> Iterator[Server]:
    """Yield the servers of given objects in other files that use a ConfigMap of this one."""
    for manifest in file.manifests:
        for user in library.given_users_elsewhere(manifest) if manifest.is_config_map else ():
            yield from _with_config_map(user, manifest, library)


def _of_config_map(config_map: Manifest, library: Library) -> Iterator[Server]:
    if library.has_given_user(config_map):
        return
    users = library.workspaces_using(config_map)
    if not users and is_serving_config(config_map):
        yield Server(None, config_map)
    for user in users:
        yield from _with_config_map(user, config_map, library)


def _with_config_map(user: Manifest, config_map: Manifest, library: Library) -> Iterator[Server]:
    """Yield the servers of an object that use one ConfigMap."""
    for view in serving_views(user):
        server = _server(view, library)
        if server.config_map is not None and _is_same(server.config_map, config_map):
            yield server


def _server(view: ServingView, library: Library) -> Server:
    name = view.config_name
    return Server(view, library.config_map(name, view.owner) if name else None)


def _is_same(manifest: Manifest, other: Manifest) -> bool:
    return manifest.source.path == other.source.path and manifest.node.span == other.node.span
