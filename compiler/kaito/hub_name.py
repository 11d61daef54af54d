"""What `from_pretrained` takes a name for: a folder of the training pod, or a repository of huggingface.co."""

from __future__ import annotations

import posixpath
import re

WEIGHTS = "/workspace/tfs/weights"
_FOLDERS = (WEIGHTS, "/mnt")
"""Where the training pod has a model: in Kaito's image, and in what is mounted."""
_REPOSITORY = r"(\b[\w\-.]{1,96}\b/)?\b[\w\-.]{1,96}\b"
"""`REPO_ID_REGEX` of huggingface_hub, compiled where a name is looked at."""


def is_repository_name(name: str) -> bool:
    """Return whether huggingface_hub's `validate_repo_id` takes a name; it never asks whether the repository exists."""
    is_well_formed = name.count("/") <= 1 and re.fullmatch(_REPOSITORY, name, re.ASCII) is not None
    return is_well_formed and "--" not in name and ".." not in name and not name.endswith(".git")


def may_be_a_folder(path: str) -> bool:
    """Return whether a path may be a folder with a model or a tokenizer in Kaito's image, which runs in /workspace."""
    full = posixpath.normpath(posixpath.join("/workspace", path))
    return any(full == folder or full.startswith(f"{folder}/") for folder in _FOLDERS)
