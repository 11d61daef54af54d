"""Checkpoints that go: the oldest beyond a limit, and damaged ones once their steps are saved anew or done.

A removal that is cut off is finished by the next run: the list of a checkpoint's files is renamed first, after which
the folder counts as no checkpoint any more, and goes last. Files in it that no run wrote stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from kaitoc.runtime.output.checkpoints import checkpoints, is_whole
from kaitoc.runtime.output.own_files import BEING_REMOVED, CHECKSUMS, checkpoint_files, remove_empty


def rotate(folder: Path, limit: int | None, keep: str | None) -> None:
    """Remove the oldest checkpoints beyond a limit, never the newest and never the one named `keep`."""
    if limit is None:
        return
    for checkpoint in checkpoints(folder)[limit:]:
        if keep is None or checkpoint.name != Path(keep).name:
            _remove(checkpoint)


def remove_damaged(passed_over: Iterable[Path]) -> None:
    """Remove the checkpoints that a resumed run passed over, without those that it saved again."""
    for checkpoint in passed_over:
        if not is_whole(checkpoint):
            _remove(checkpoint)


def finish_removals(folder: Path) -> None:
    """Remove what is left of checkpoints whose removal was cut off."""
    for mark in folder.glob(f"*/{BEING_REMOVED}"):
        _remove(mark.parent)


def _remove(checkpoint: Path) -> None:
    """Remove the files of a checkpoint that a run wrote; one that cannot be removed is no reason to stop training."""
    with suppress(OSError):
        if (checkpoint / CHECKSUMS).exists():
            os.replace(checkpoint / CHECKSUMS, checkpoint / BEING_REMOVED)
        for file in checkpoint_files(checkpoint):
            file.unlink(missing_ok=True)
        remove_empty(checkpoint)
