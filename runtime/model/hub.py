"""When a model's hub may be asked, and what is in its cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache


@contextmanager
def hub_requests(*, allowed: bool) -> Iterator[None]:
    """Let requests to the hub leave only where they are allowed: libraries ask it also for what lies in a folder.

    Every request of huggingface_hub looks at this flag (huggingface_hub/utils/_http.py).
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_cached(name: str, revision: str) -> bool:
    """Return whether the cache holds a hub's model, or its config at least."""
    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def looks_like_path(name: str) -> bool:
    """Return whether a name is meant as a folder, whether there is one or not: a hub's ids are `owner/model`."""
    owner, _, model = name.partition("/")
    is_id = bool(owner) and bool(model) and not {"/", "\\"} & set(model + owner)
    return not is_id or owner.startswith((".", "~")) or Path(owner).is_dir()
