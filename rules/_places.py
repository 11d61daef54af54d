"""Which places a Workspace names for its data and its adapter, counted as Kaito's webhook counts them."""

from __future__ import annotations

from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.yaml.tree import Scalar, Sequence


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
