"""An update that changes an immutable field."""

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

_Path = tuple[str, ...]
_INSTANCE_TYPE = ("resource", "instanceType")
_SELECTOR = ("resource", "labelSelector")
_METHOD = ("tuning", "method")
_RESOURCE: tuple[_Path, ...] = (("resource", "count"), ("resource", "partition"), _SELECTOR, _INSTANCE_TYPE)
_TUNING: tuple[_Path, ...] = (("tuning", "preset"), _METHOD, ("tuning", "input", "name"))
_INFERENCE: tuple[_Path, ...] = (("inference", "preset"),)
_TEMPLATE = ("inference", "template")
_DEFAULTS: dict[_Path, object] = {("resource", "count"): 1}
_ANEW = "delete the Workspace and create it again"


def check(old: Manifest, new: Manifest) -> Iterator[Fault]:
    """Yield every part of a Workspace, or of an immutable ConfigMap, that an update may not change."""
    if old.is_config_map and new.is_config_map:
        yield from _config_map(old, new)
    elif old.is_workspace and new.is_workspace:
        yield from _workspace(old, new)


def _workspace(old: Manifest, new: Manifest) -> Iterator[Fault]:
    if old.is_tuning_workspace != new.is_tuning_workspace:
        message = "a Workspace cannot change between inference and tuning; Kaito's webhook refuses the update"
        yield Fault(new.place, message, help="create another Workspace")
        return
    for path in (*_RESOURCE, *(_TUNING if new.is_tuning_workspace else _INFERENCE)):
        before, after = old.field(*path), new.field(*path)
        if _is_kept(_value(before, path), _value(after, path), path):
            continue
        verb = "changed" if after is not None else "removed"
        yield Fault(
            after.value if after is not None else _removed(new, path),
            f"`{'.'.join(path)}` cannot be {verb}; Kaito's webhook refuses the update",
            help=_ANEW,
        )
    template = new.given(*_TEMPLATE)
    if (old.given(*_TEMPLATE) is None) != (template is None):
        message = (
            "`inference.template` can be changed, but neither added nor removed; Kaito's webhook refuses the update"
        )
        yield Fault(template.key if template is not None else _removed(new, _TEMPLATE), message, help=_ANEW)


def _removed(new: Manifest, path: _Path) -> Place:
    """Locate a removed field: its nearest written parent, with the field's own pointer."""
    parents = (new.field(*path[:end]) for end in range(len(path) - 1, 0, -1))
    written = next((parent for parent in parents if parent is not None), None)
    return replace(written.key if written is not None else new.place, pointer="/" + "/".join(path))


def _config_map(old: Manifest, new: Manifest) -> Iterator[Fault]:
    """Yield what changes in a ConfigMap that was made immutable (`ValidateConfigMapUpdate` of Kubernetes)."""
    if old.text("immutable") != "true":
        return
    for name in ("immutable", "data", "binaryData"):
        before, after = old.given(name), new.given(name)
        if (_plain(before) or None) == (_plain(after) or None):
            continue
        yield Fault(
            after.key if after is not None else _removed(new, (name,)),
            f"the ConfigMap is immutable, so `{name}` cannot be changed; the API server refuses the update",
            help="create a ConfigMap with another name, and point the Workspace's `tuning.config` to it",
        )


def _is_kept(before: object, after: object, path: _Path) -> bool:
    """Return whether the webhook takes a change; an instance type may be set where there was none."""
    return before == after or (path == _INSTANCE_TYPE and not before)


def _value(field: Field | None, path: _Path) -> object:
    """Return a value as the webhook compares it."""
    value = _plain(field)
    if value is None:
        return _DEFAULTS.get(path)
    if path == _METHOD and isinstance(value, str):
        return value.lower()
    return _labels(value) if path == _SELECTOR and isinstance(value, dict) else value


def _labels(selector: dict[object, object]) -> object:
    """Return the labels that a selector asks for, whichever way it does (`LabelSelectorAsMap`)."""
    written = selector.get("matchLabels")
    labels: dict[object, object] = dict(written) if isinstance(written, dict) else {}
    expressions = selector.get("matchExpressions")
    for one in expressions if isinstance(expressions, list) else ():
        values = one.get("values") if isinstance(one, dict) else None
        if not isinstance(values, list) or len(values) != 1 or one.get("operator") != "In":
            return selector
        labels[one.get("key")] = values[0]
    return labels


def _plain(field: Field | None) -> object:
    if field is None:
        return None
    try:
        return plain_value(field.node)
    except YamlValueError:
        return None
