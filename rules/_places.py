"""Which places a Workspace names for its data and its adapter, counted as Kaito's webhook counts them."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.yaml.tree import Scalar, Sequence


def lacking(workspace: Manifest | None, name: str, *, help: str) -> Iterator[Fault]:  # noqa: A002  (as in Fault)
    """Yield a fault where `tuning` lacks a section that the API server requires, or has null for it."""
    if workspace is None or workspace.given("tuning", name) is not None:
        return
    nearest = workspace.field("tuning", name) or workspace.field("tuning")
    place = nearest.key if nearest is not None else workspace.place
    yield Fault(place, f"the Workspace has no `tuning.{name}`; the API server refuses it", help=help)


def named_places(workspace: Manifest, section: str, names: tuple[str, ...]) -> list[str]:
    """Return the keys of a section that name a place: an empty text, an empty list and null name none."""
    return [name for name in names if _is_named(workspace, section, name)]


def _is_named(workspace: Manifest, section: str, name: str) -> bool:
    found = workspace.given("tuning", section, name)
    if found is None:
        return False
    if name == "volumeSource":
        return True
    node = found.node
    return bool(node.items) if isinstance(node, Sequence) else not isinstance(node, Scalar) or bool(node.value)
