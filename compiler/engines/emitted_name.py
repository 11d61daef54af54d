"""Names of what is emitted: readable, different for different content, and short enough for the pods."""

from __future__ import annotations

import hashlib
import re

from kaitoc.compiler.manifest.plan_objects import max_run_name_length

_HASH_LENGTH = 8


def name_of(base: str, content: str, num_nodes: int) -> str:
    """Return a name made of a Workspace's and of a hash of all content, a DNS label that begins with a letter."""
    digest = hashlib.sha256(content.encode("utf-8")).hexdigest()[:_HASH_LENGTH]
    stem = re.sub(r"[^a-z0-9-]+", "-", base.lower())
    stem = stem if stem[:1].isalpha() else f"tune-{stem}"
    return f"{stem[: max_run_name_length(num_nodes) - _HASH_LENGTH - 1].strip('-')}-{digest}"
