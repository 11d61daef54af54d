"""Where adapters are kept: the place that a fine-tune writes to and a server reads from."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.serving_objects import serving_views

_CLAIM = ("volumeSource", "persistentVolumeClaim", "claimName")


def written_to(workspace: Manifest) -> str:
    """Return the place that a tuning Workspace's adapter goes to, empty where it has none or that is not known."""
    return _place(workspace.known_text("tuning", "output", "image"), workspace.known_text("tuning", "output", *_CLAIM))


def read_from(adapter: Manifest) -> str:
    """Return the place that one of a server's `adapters` comes from, empty where it has none or that is not known."""
    return _place(adapter.known_text("source", "image"), adapter.known_text("source", *_CLAIM))


def written_by(manifest: Manifest) -> Iterator[str]:
    """Yield the place that an object of Kaito's writes its adapter to, where it trains one."""
    yield from filter(None, (written_to(manifest),) if manifest.is_tuning_workspace else ())


def read_by(manifest: Manifest) -> Iterator[str]:
    """Yield the places from which the servers of an object of Kaito's read adapters."""
    yield from filter(None, (read_from(adapter) for view in serving_views(manifest) for adapter in view.adapters))


def _place(image: str | None, claim: str | None) -> str:
    """Name a place; a volume claim's name cannot have a colon, so that it is never an image's."""
    return image or (f"claim:{claim}" if claim else "")
