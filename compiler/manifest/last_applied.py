"""The annotation in which `kubectl apply` keeps what it applied, and what the API server takes of annotations.

Sources: kubectl `pkg/util/apply.go` (`GetModifiedConfiguration`), apimachinery `pkg/api/validation/objectmeta.go`
(`ValidateAnnotationsSize`).
"""

from __future__ import annotations

import json

from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.manifest.object_faults import content_of
from kaitoc.compiler.manifest.objects import Manifest

MOST_BYTES = 256 * 1024
"""What all keys and values of an object's annotations may have together."""

_KEY = "kubectl.kubernetes.io/last-applied-configuration"
_LONGEST_ESCAPE = len("\\u003c")
_ESCAPED_BY_GO = ("<", ">", "&", "\u2028", "\u2029")


def annotation_bytes(manifest: Manifest) -> int:
    """Return the size of an object's annotations after a client-side `kubectl apply`, 0 for one surely small enough."""
    if (manifest.node.span.end - manifest.node.span.start) * _LONGEST_ESCAPE < MOST_BYTES:
        return 0
    content = content_of(manifest).value
    if not isinstance(content, dict):
        return 0
    metadata = content.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    annotations = known.get("annotations")
    own = {key: value for key, value in annotations.items() if key != _KEY} if isinstance(annotations, dict) else {}
    applied = {**content, "metadata": {"namespace": "default", **known, "annotations": own}}
    written = (len(str(text).encode("utf-8", "replace")) for pair in own.items() for text in pair)
    return len(_KEY) + len(as_go_writes(applied)) + len("\n") + sum(written)


def as_go_writes(value: Any) -> bytes:
    """Return a value as Go's `encoding/json` writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in _ESCAPED_BY_GO:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace")
