"""Checkpoints that are whole or not there: sealed with checksums once everything is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.plan.plan import Plan, PlanError, read_plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.output.names import PLAN_FILE
from kaitoc.runtime.output.own_files import BEING_REMOVED, CHECKSUMS, files_of, is_library_file
from kaitoc.runtime.redact import redacted

PREFIX = "checkpoint-"
_CHECKPOINT = re.compile(rf"{PREFIX}(\d+)")
_BLOCK_BYTES = MIB
_MAY_DIFFER = frozenset({"name", "num_nodes", "output", "predicted", "provenance"})


def seal(folder: Path, users: Collection[Path] = ()) -> None:
    """Write the checksum of every file of a folder into it, and make the files durable; `users` are no part of it."""
    files = [file for file in files_of(folder) if file.name != CHECKSUMS and file not in users]
    sums = {str(file.relative_to(folder)): _sha256(file, durable=True) for file in files}
    write_atomically(folder / CHECKSUMS, json.dumps(sums, indent=2).encode("utf-8"))


def is_whole(folder: Path) -> bool:
    """Return whether a sealed folder holds what was written; a file that came later does no harm."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return all(_sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first, damaged ones too."""
    if not folder.is_dir():
        return []
    folders = [path for path in folder.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]
    return sorted(filter(_is_checkpoint, folders), key=step_of, reverse=True)


def _is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is one: not one that is being removed, or in which nothing but the user's is left."""
    return not (folder / BEING_REMOVED).exists() and any(map(is_library_file, files_of(folder)))


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def newest_whole(folder: Path, skipped: Callable[[Path], None] = lambda _: None) -> Path | None:
    """Return the newest checkpoint whose checksums hold, None when there is none; `skipped` hears of the damaged."""
    for checkpoint in checkpoints(folder):
        if is_whole(checkpoint):
            return checkpoint
        skipped(checkpoint)
    return None


def describe_kept(folder: Path) -> str:
    """Tell from which step `--resume` continues a stopped run, or that nothing was saved."""
    checkpoint = newest_whole(folder)
    return "nothing was saved" if checkpoint is None else f"`--resume` continues from step {step_of(checkpoint)}"


def is_same_plan(plan: Plan, output: Path) -> bool:
    """Return whether the run that left a folder had this plan."""
    try:
        require_same_plan(plan, output)
    except PlanFailure:
        return False
    return True


def require_same_plan(plan: Plan, output: Path) -> None:
    """Raise `PlanFailure` when the run that is resumed had another plan, and say where the plans differ."""
    path = output / PLAN_FILE
    try:
        before = read_plan(path.read_text(encoding="utf-8"), str(path))
    except (OSError, PlanError, UnicodeDecodeError) as error:
        raise PlanFailure(f"{output}: cannot tell which run to resume: {error}") from error
    now = redacted(plan)
    before = before.model_copy(update={"model": before.model.model_copy(update={"hub": now.model.hub})})
    known = before.provenance.base_fingerprint, now.provenance.base_fingerprint
    if all(known) and known[0] != known[1]:
        raise PlanFailure(
            f"{output}: its adapter is for another base model: the weights in {plan.model.path} are not those that it "
            "was trained on; choose another --output"
        )
    for part in Plan.model_fields:
        old, new = getattr(before, part), getattr(now, part)
        if part not in _MAY_DIFFER and old != new:
            where = _first_difference(part, old, new)
            raise PlanFailure(f"{output}: holds checkpoints of another run; {where}; choose another --output")


def write_plan(plan: Plan, output: Path) -> None:
    """Leave the plan beside its results."""
    write_atomically(output / PLAN_FILE, redacted(plan).to_json().encode("utf-8"))


def trim_metrics(path: Path, last_step: int) -> None:
    """Drop the logged steps after a checkpoint, which are going to be run again; also a line that was cut off."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("step", 0) <= last_step:
            lines.append(line + "\n")
    write_atomically(path, "".join(lines).encode("utf-8"))


def _first_difference(part: str, old: object, new: object) -> str:
    for name in getattr(type(new), "model_fields", {}):
        was, is_now = getattr(old, name, None), getattr(new, name)
        if was != is_now:
            return f"`{part}.{name}` was {was!r} and is now {is_now!r}"
    return f"`{part}` is another"


def _sha256(file: Path, *, durable: bool = False) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
        if durable:
            os.fsync(stream.fileno())
    return digest.hexdigest()
