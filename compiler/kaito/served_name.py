"""What vLLM takes for the id of a model or for a path."""

from __future__ import annotations

import re

_REPOSITORY = r"[A-Za-z0-9](?:[-\w.]*[\w])?(?:/[A-Za-z0-9_](?:[-\w.]*[\w])?)?"
_MOST_CHARACTERS = 96


def may_be_model(text: str, option: str) -> bool:
    """Return whether a text can be the id of a model on the hub, or a path; /mnt/config has only files."""
    is_file = text.startswith("/mnt/config/") and option != "hf-config-path"
    if text in ("None", "True", "False") or is_file:
        return False
    if text.startswith(("/mnt/", "/workspace/", "/opt/", "az://", "s3://", "gs://", "./")):
        return True
    has_form = len(text) <= _MOST_CHARACTERS and re.fullmatch(_REPOSITORY, text) is not None
    return has_form and "--" not in text and ".." not in text
