"""The chat templates in Kaito's image, which tunes and serves (`docker/presets/models/tfs/Dockerfile`)."""

from __future__ import annotations

import posixpath
from functools import lru_cache

from kaitoc.schemas import read_json


@lru_cache(maxsize=5)
def image_templates(release: str) -> tuple[str, ...]:
    """Return the paths of the templates in a release's image; raises `OSError` for an unknown release."""
    folder = read_json("inference_config/engine")["chat_template_folder"]
    return tuple(f"{folder}/{name}" for name in read_json(f"inference_config/options/{release}")["chat_templates"])


def is_image_template(release: str, path: object) -> bool:
    """Return whether a path is a template of the image, whose processes run in /workspace."""
    return isinstance(path, str) and posixpath.normpath(posixpath.join("/workspace", path)) in image_templates(release)
