"""What an earlier run left in an output folder: refused, taken up again, or removed file by file.

A run lists the files of its results in `.kaitoc-files.json`. Whatever else lies in the output folder is the user's:
it is never removed, and it moves along when a result folder is replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from kaitoc.compiler.core.source import write_atomically
from kaitoc.runtime.failures import OutputRefused
from kaitoc.runtime.output.checkpoints import checkpoints
from kaitoc.runtime.output.names import (
    ADAPTER,
    CARD,
    CHECKPOINTS,
    COMPLETED,
    IMAGE,
    MERGED,
    METRICS,
    MODEL,
    PLAN_FILE,
    REPORT,
    ROOT_FILES,
)
from kaitoc.runtime.output.own_files import (
    checkpoint_files,
    files_of,
    is_inside,
    is_library_file,
    library_files,
    remove_empty,
)

LEDGER = ".kaitoc-files.json"
_RESULTS = (ADAPTER, MODEL, MERGED, IMAGE)
_FOLDERS = (*_RESULTS, CHECKPOINTS)


def require_free(output: Path, *, overwrite: bool) -> None:
    """Raise `OutputRefused` when an output folder holds what a run would replace, unless a run wrote it and may."""
    held = next(_held(output), None)
    if held is not None and not _is_of_a_run(output):
        raise OutputRefused(f"{output}: holds {held}, which no run of kaitoc wrote; choose another --output")
    if held is not None and not overwrite:
        raise OutputRefused(
            f"{output}: holds {held} of an earlier run; --resume continues that run, --overwrite replaces it"
        )


def holds_run(output: Path) -> bool:
    """Return whether an output folder holds a result or checkpoints."""
    return next(_held(output), None) is not None


def is_finished(output: Path) -> bool:
    """Return whether the run that an output folder holds came to its end."""
    return (output / COMPLETED).is_file() and (output / REPORT).is_file()


def list_results(output: Path) -> None:
    """Add what a run wrote beside its results, and their cards, to the list of its files."""
    cards = [f"{name}/{CARD}" for name in (ADAPTER, MODEL)]
    _list(output, [name for name in (*ROOT_FILES, *cards) if (output / name).is_file()])


def remove_earlier_run(output: Path) -> None:
    """Remove the files that earlier runs wrote into an output folder, and the folders that this leaves empty."""
    for file in sorted({*_own_files(output)}):
        file.unlink(missing_ok=True)
    for name in _FOLDERS:
        remove_empty(output / name)
    (output / LEDGER).unlink(missing_ok=True)


def replace_result(unfinished: Path, folder: Path) -> None:
    """Put a finished result in the place of an earlier one and list its files, which `--overwrite` may remove.

    Files in the earlier one that no run wrote move along. A process that is killed at any moment leaves them either
    where they were or in a folder from which the next result takes them.
    """
    output, replaced = folder.parent, folder.with_name(f".{folder.name}.replaced")
    before = _listed(output)
    if folder.is_dir():
        _move_along(replaced, folder, before)
        os.replace(folder, replaced)
    _list(output, [f"{folder.name}/{file.relative_to(unfinished).as_posix()}" for file in files_of(unfinished)])
    os.replace(unfinished, folder)
    _move_along(replaced, folder, before)


def _move_along(replaced: Path, folder: Path, listed: list[str]) -> None:
    """Move the user's files of a result that was replaced into the one that replaces it; remove the others."""
    own = {replaced / Path(name).relative_to(folder.name) for name in listed if Path(name).parts[0] == folder.name}
    for file in files_of(replaced):
        if file in own or (not listed and is_library_file(file)):
            file.unlink()
        else:
            target = _free(folder / file.relative_to(replaced))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    remove_empty(replaced)


def _free(path: Path) -> Path:
    """Return a path, with another ending where a run has put a file of its own."""
    others = (path.with_name(f"{path.name}.{number}") for number in count(1))
    return path if not path.exists() else next(other for other in others if not other.exists())


def _held(output: Path) -> Iterator[str]:
    """Yield what a run would replace, the most precious first; a run's plan and metrics alone are no loss."""
    for name in _RESULTS:
        if any(files_of(output / name)):
            yield f"`{name}/`"
    if any((output / CHECKPOINTS).glob("*")):
        yield f"`{CHECKPOINTS}/`"
    no_loss = (PLAN_FILE, METRICS) if _is_of_a_run(output) else ()
    for name in ROOT_FILES:
        if name not in no_loss and (output / name).exists():
            yield f"`{name}`"


def _is_of_a_run(output: Path) -> bool:
    """Return whether an output folder has the list, or the plan, that a run leaves in it."""
    if (output / LEDGER).is_file():
        return True
    try:
        plan = json.loads((output / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(plan, dict) and {"version", "model", "training"} <= plan.keys()


def _own_files(output: Path) -> Iterator[Path]:
    """Yield the files that runs wrote: by their list, by a checkpoint's checksums, else by the libraries' names."""
    if not _is_of_a_run(output):
        return
    listed = _listed(output)
    yield from (output / name for name in listed)
    yield from (output / name for name in ROOT_FILES)
    for checkpoint in checkpoints(output / CHECKPOINTS):
        yield from checkpoint_files(checkpoint)
    if not listed:
        for name in _RESULTS:
            yield from library_files(output / name)


def _list(output: Path, names: Iterable[str]) -> None:
    """Add names to the list of the files that runs wrote into an output folder."""
    content = json.dumps(sorted({*_listed(output), *names}), indent=1)
    write_atomically(output / LEDGER, content.encode("utf-8"))


def _listed(output: Path) -> list[str]:
    """Return the list of earlier runs, without names that lead out of the folder; empty where there is none."""
    try:
        names = json.loads((output / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if is_inside(name)] if isinstance(names, list) else []
