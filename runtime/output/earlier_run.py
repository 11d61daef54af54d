"""What an earlier run left in an output folder: refused, taken up again, or removed file by file.

A run lists the files of its results in `.kaitoc-files.json`. Whatever else lies in the output folder is the user's:
it is never removed, and it moves along when a result folder is replaced.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from kaitoc.compiler.core.source import write_atomically
from kaitoc.runtime.failures import OutputRefused
from kaitoc.runtime.output.checkpoints import CHECKSUMS, checkpoints
from kaitoc.runtime.output.names import (
    ADAPTER,
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

LEDGER = ".kaitoc-files.json"
_RESULTS = (ADAPTER, MODEL, MERGED, IMAGE)
_FOLDERS = (*_RESULTS, CHECKPOINTS)
_LIBRARY_FILE = re.compile(
    r"(adapter_model|adapter_config|model|pytorch_model|config|generation_config|optimizer|scheduler|scaler|rng_state"
    r"|trainer_state|training_args|tokenizer|special_tokens_map|added_tokens|vocab|merges|chat_template|README"
    r"|kaitoc-plan|checksums|index|oci-layout)[\w.-]*|sha256/[0-9a-f]{64}"
)
"""Files as PEFT, transformers and this program name them: for folders of runs that kept no list, or were killed."""


def require_free(output: Path, *, overwrite: bool) -> None:
    """Raise `OutputRefused` when an output folder holds what a run would replace, unless a run wrote it and may."""
    held = next(_held(output), None)
    if held is not None and not _is_of_a_run(output):
        raise OutputRefused(f"{output}: holds {held}, which no run of kaitoc wrote; name another --output")
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
    """Write the list of what the run made, beside it; `--overwrite` removes these files and no others."""
    made = [file for name in _RESULTS for file in _files(output / name)]
    made += [output / name for name in ROOT_FILES if (output / name).is_file()]
    names = sorted({*_listed(output), *(file.relative_to(output).as_posix() for file in made)})
    write_atomically(output / LEDGER, json.dumps(names, indent=1).encode("utf-8"))


def remove_earlier_run(output: Path) -> None:
    """Remove the files that earlier runs wrote into an output folder, and the folders that this leaves empty."""
    for file in sorted({*_own_files(output)}):
        file.unlink(missing_ok=True)
    for name in _FOLDERS:
        _remove_empty(output / name)
    (output / LEDGER).unlink(missing_ok=True)


def replace_result(unfinished: Path, folder: Path) -> None:
    """Put a finished result in the place of an earlier one; files in it that no run wrote move along."""
    if folder.is_dir():
        own = {*_own_files(folder.parent)}
        for file in [file for file in _files(folder) if file not in own]:
            target = unfinished / file.relative_to(folder)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
        for file in _files(folder):
            file.unlink()
        _remove_empty(folder)
    os.replace(unfinished, folder)


def _held(output: Path) -> Iterator[str]:
    """Yield what a run would replace, the most precious first; a plan alone, or downloads, are no loss."""
    for name in _RESULTS:
        if any(_files(output / name)):
            yield f"`{name}/`"
    if any((output / CHECKPOINTS).glob("*")):
        yield f"`{CHECKPOINTS}/`"
    for name in ROOT_FILES:
        if name not in (PLAN_FILE, METRICS) and (output / name).exists():
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
        yield from _own_in_checkpoint(checkpoint)
    if not listed:
        for name in _RESULTS:
            yield from _library_files(output / name)


def _own_in_checkpoint(checkpoint: Path) -> Iterable[Path]:
    try:
        sums = json.loads((checkpoint / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _library_files(checkpoint)
    names = [name for name in sums if isinstance(name, str) and _is_inside(name)] if isinstance(sums, dict) else []
    return [checkpoint / CHECKSUMS, *(checkpoint / name for name in names)]


def _library_files(folder: Path) -> list[Path]:
    return [
        file
        for file in _files(folder)
        if _LIBRARY_FILE.fullmatch(file.name) or _LIBRARY_FILE.fullmatch(f"{file.parent.name}/{file.name}")
    ]


def _listed(output: Path) -> list[str]:
    """Return the list of earlier runs, without names that lead out of the folder; empty where there is none."""
    try:
        names = json.loads((output / LEDGER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str) and _is_inside(name)] if isinstance(names, list) else []


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink())


def _remove_empty(folder: Path) -> None:
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not inner.is_symlink():
            with suppress(OSError):
                inner.rmdir()
    with suppress(OSError):
        folder.rmdir()
