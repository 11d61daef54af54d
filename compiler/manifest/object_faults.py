"""What the API server says of an object in a file: its faults, with their places."""

from __future__ import annotations

from kaitoc.compiler.core.annotations import TYPE_CHECKING, Any
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.manifest.object_shape import normalized, object_shape
from kaitoc.compiler.manifest.objects import Manifest, Place, escape_pointer
from kaitoc.compiler.yaml.kubernetes import JsonContent, json_content, json_entries
from kaitoc.compiler.yaml.tree import Mapping, Node, Sequence

if TYPE_CHECKING:
    from kaitoc.compiler.manifest.object_judge import ShapeError

_CONTENT = "content as JSON"


def content_of(manifest: Manifest) -> JsonContent:
    """Return an object as kubectl sends it, or what stops kubectl."""
    return manifest.memo.get(_CONTENT, lambda: json_content(manifest.node))


def object_errors(manifest: Manifest, release: str) -> tuple[ShapeError, ...]:
    """Return the faults for which the API server refuses an object; none for kinds that are not checked.

    Raises `SchemaError`.
    """
    return manifest.memo.get(("object errors", release), lambda: _judged(manifest, release))


def _judged(manifest: Manifest, release: str) -> tuple[ShapeError, ...]:
    shape = object_shape(manifest.api_version, manifest.ref.kind, release)
    content = content_of(manifest)
    if shape is None or not isinstance(content.value, dict):
        return ()
    if shape.fits({"metadata": {}, **content.value}):  # it has no nulls, then
        return ()
    value: dict[str, Any] = {"metadata": {}, **normalized(content.value, shape.schema)}
    if shape.fits(value):
        return ()
    from kaitoc.compiler.manifest.object_judge import shape_errors  # most objects have no fault

    return tuple(shape_errors(value, shape.schema))


def place_of(manifest: Manifest, error: ShapeError) -> Place:
    """Locate a schema error: at the key for unknown and missing keys, else at the value.

    A key that is not there is told at the closest one above it, the object's name or kind if there is none.
    """
    span, pointer, node = None, manifest.pointer, manifest.node
    is_key = error.keyword in ("unknown", "required")
    current: Node = node
    for depth, part in enumerate(error.path):
        is_last = depth == len(error.path) - 1
        key_span, value_span, below = _step(current, part)
        if below is None:
            break
        pointer = f"{pointer}/{escape_pointer(str(part))}"
        span = key_span if is_key or not is_last else value_span
        current = below
    if span is None:
        return manifest.place
    return Place(manifest.source, span, pointer, manifest.ref)


def _step(node: Node, part: str | int) -> tuple[Span, Span, Node | None]:
    nowhere = Span(0, 0)
    if isinstance(node, Mapping) and isinstance(part, str):
        entry = json_entries(node).get(part)
        return (entry.key.span, entry.value_span, entry.value) if entry is not None else (nowhere, nowhere, None)
    if isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
        item = node.items[part]
        return item.span, item.span, item.value
    return nowhere, nowhere, None


def quoting_help(place: Place, error: ShapeError) -> str:
    """Suggest quotes for a plain scalar that was meant as a string; empty for other faults."""
    written = place.source.slice(place.span)
    if error.keyword != "type" or not error.message.endswith("it must be text"):
        return ""
    return (
        f'put it in quotes: "{written}"' if written and len(written) <= 40 and written[0] not in "[{&*!-\"'|>" else ""
    )
