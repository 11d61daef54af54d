"""JSON Patches (RFC 6902) from one object to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaitoc.compiler.manifest.objects import escape_pointer


def patch_between(old: object, new: object, pointer: str = "") -> Iterator[dict[str, Any]]:
    """Yield the operations that turn `old` into `new`: removals in the order of `old`, then the rest in that of `new`.

    Lists of unequal length are replaced as a whole.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": f"{pointer}/{escape_pointer(key)}"}
        for key, value in new.items():
            below = f"{pointer}/{escape_pointer(key)}"
            if key in old:
                yield from patch_between(old[key], value, below)
            else:
                yield {"op": "add", "path": below, "value": value}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from patch_between(before, after, f"{pointer}/{index}")
    elif type(old) is not type(new) or old != new:
        yield {"op": "replace", "path": pointer, "value": new}
