"""Names of what is emitted: readable, different for different content, and short enough for the pods."""

from __future__ import annotations

import hashlib
import re

_HASH_LENGTH = 8
_MAX_POD_NAME = 63
_OTHERS = len("-node-0-") + len("-abcde")
"""What JobSet's and Job's controllers put around the index in the name of a pod (`jobset_webhook.go`)."""


def max_length(num_nodes: int) -> int:
    """Return how long a name may be so that the pods of all nodes have names of at most 63 characters."""
    return _MAX_POD_NAME - _OTHERS - len(str(num_nodes - 1))


def name_of(base: str, content: str, num_nodes: int) -> str:
    """Return a name made of a Workspace's and of a hash of all content, a DNS label that begins with a letter."""
    digest = hashlib.sha256(content.encode("utf-8")).hexdigest()[:_HASH_LENGTH]
    stem = re.sub(r"[^a-z0-9-]+", "-", base.lower())
    stem = stem if stem[:1].isalpha() else f"tune-{stem}"
    return f"{stem[: max_length(num_nodes) - _HASH_LENGTH - 1].strip('-')}-{digest}"
