"""Which files of a folder runs wrote, by their lists or by the libraries' names; all others are the user's."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

CHECKSUMS = "checksums.json"
"""The list of a checkpoint's files, which makes it whole."""
BEING_REMOVED = "checksums-removed.json"
"""The name of that list from the moment on at which the checkpoint goes."""
_LIBRARY_FILE = re.compile(
    r"(adapter_model|adapter_config|model|pytorch_model|config|generation_config|optimizer|scheduler|scaler|rng_state"
    r"|trainer_state|training_args|tokenizer|special_tokens_map|added_tokens|vocab|merges|chat_template|README"
    r"|kaitoc-plan|checksums|index|oci-layout)[\w.-]*|sha256/[0-9a-f]{64}"
)
"""Files as PEFT, transformers and this program name them: for folders of runs that kept no list, or were killed."""


def files_of(folder: Path) -> list[Path]:
    """List all files below a folder, links unresolved, without the folders themselves."""
    return sorted(file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink())


def library_files(folder: Path) -> list[Path]:
    """Return the files of a folder that have a name which a library or this program gives."""
    return [file for file in files_of(folder) if is_library_file(file)]


def is_library_file(file: Path) -> bool:
    """Return whether a file has a name which a library or this program gives."""
    names = file.name, f"{file.parent.name}/{file.name}"
    return any(_LIBRARY_FILE.fullmatch(name) for name in names)


def checkpoint_files(checkpoint: Path) -> list[Path]:
    """Return the files that a run wrote into a checkpoint, its list last; by their names where it has none."""
    for name in (CHECKSUMS, BEING_REMOVED):
        try:
            sums = json.loads((checkpoint / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(sums, dict):
            return [*(checkpoint / file for file in sums if is_inside(file)), checkpoint / name]
    return library_files(checkpoint)


def is_inside(name: object) -> bool:
    """Return whether an entry of a list names a file that is not outside the folder."""
    return isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts


def remove_empty(folder: Path) -> None:
    """Remove the folders below a folder that are empty, then the folder itself if it is."""
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not inner.is_symlink():
            with suppress(OSError):
                inner.rmdir()
    with suppress(OSError):
        folder.rmdir()
