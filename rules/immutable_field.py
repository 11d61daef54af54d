"""An update that changes what a Workspace keeps for life."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.manifest.objects import Field, Manifest, Place
from kaitoc.compiler.yaml.values import YamlValueError, plain_value

CODE = "KT328"
NAME = "immutable-field"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_PATHS: tuple[tuple[str, ...], ...] = (
    ("resource", "count"),
    ("resource", "partition"),
    ("resource", "labelSelector"),
    ("resource", "instanceType"),
    ("tuning", "preset"),
    ("tuning", "method"),
    ("tuning", "input", "name"),
)
_DEFAULTS: dict[tuple[str, ...], object] = {("resource", "count"): 1}
_METHOD = ("tuning", "method")


def check(old: Manifest, new: Manifest) -> Iterator[Fault]:
    """Yield every part of a tuning Workspace that an update may not change."""
    if not (old.is_workspace and new.is_workspace):
        return
    if old.is_tuning_workspace != new.is_tuning_workspace:
        message = "a Workspace stays what it is, inference or tuning; Kaito's webhook refuses the update"
        yield Fault(new.place, message, help="create another Workspace")
        return
    if not new.is_tuning_workspace:
        return
    for path in _PATHS:
        before, after = old.field(*path), new.field(*path)
        if _value(before, path) != _value(after, path):
            verb = "changed" if after is not None else "removed"
            yield Fault(
                after.value if after is not None else _removed(new, path),
                f"`{'.'.join(path)}` cannot be {verb}; Kaito's webhook refuses the update",
                help="delete the Workspace and create it anew",
            )


def _removed(new: Manifest, path: tuple[str, ...]) -> Place:
    """Return where a removed field would stand: the nearest parent that is written, with the field's own pointer."""
    parents = (new.field(*path[:end]) for end in range(len(path) - 1, 0, -1))
    written = next((parent for parent in parents if parent is not None), None)
    return replace(written.key if written is not None else new.place, pointer="/" + "/".join(path))


def _value(field: Field | None, path: tuple[str, ...]) -> object:
    if field is None:
        return _DEFAULTS.get(path)
    try:
        value = plain_value(field.node)
    except YamlValueError:
        return None
    return value.lower() if path == _METHOD and isinstance(value, str) else value
