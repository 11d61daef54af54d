"""Where compiled texts go: a folder, the files themselves, or a diff."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kaitoc.compiler.compile.model import CompiledFile, CompileError, OutputError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import write_atomically

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """A file to write and its bytes."""

    path: str
    data: bytes


def in_place(files: Iterable[CompiledFile]) -> list[PlannedWrite]:
    """Return the writes that replace the changed files."""
    return [PlannedWrite(file.source.path, file.source.encode(file.text)) for file in files if file.is_changed]


def names_file(output: str) -> bool:
    """Return whether a path to write to names one file; all others are folders, which may not exist yet."""
    return output.endswith(_ENDINGS) and not os.path.isdir(output)


def into(output: str, files: Iterable[CompiledFile], roots: Iterable[str]) -> list[PlannedWrite]:
    """Return the writes to a path: one file where it ends as one and is no folder, else all files into a folder.

    Raises `CompileError` where several files would go to one, or YAML to a file of JSON.
    """
    compiled = list(files)
    if not names_file(output):
        return into_folder(compiled, output, roots)
    if len(compiled) != 1:
        raise CompileError(f"{output}: {len(compiled)} files cannot be written to one; name a folder", path=output)
    (file,) = compiled
    source_path = file.source.path
    if source_path.endswith(_ENDINGS) and source_path.endswith(".json") != output.endswith(".json"):
        kind = "JSON" if source_path.endswith(".json") else "YAML"
        raise CompileError(
            f"{output}: {source_path} is {kind}; name a file with that extension, or a folder", path=output
        )
    return [PlannedWrite(output, file.source.encode(file.text))]


def into_folder(files: Iterable[CompiledFile], folder: str, roots: Iterable[str]) -> list[PlannedWrite]:
    """Return the writes of all files into a folder, under their names.

    A file found in a folder that was given keeps its path below that folder. Raises `CompileError` when two files would
    have the same name.
    """
    given_folders = [os.path.normpath(root) for root in roots if os.path.isdir(root)]
    writes: dict[str, PlannedWrite] = {}
    for file in files:
        target = os.path.join(folder, _relative_name(file.source.path, given_folders))
        if target in writes:
            raise CompileError(
                f"{target}: two of the given files would be written here; compile them one at a time", path=target
            )
        writes[target] = PlannedWrite(target, file.source.encode(file.text))
    return list(writes.values())


def write_all(writes: Iterable[PlannedWrite]) -> None:
    """Write files, each in one step; raises `OutputError` before the first write when a file cannot be written."""
    planned = list(writes)
    for write in planned:
        _require_writable(write.path)
    for write in planned:
        try:
            os.makedirs(os.path.dirname(write.path) or ".", exist_ok=True)
            write_atomically(write.path, write.data)
        except OSError as error:
            raise OutputError(f"{write.path}: cannot be written: {error.strerror or error}", path=write.path) from error


def _require_writable(path: str) -> None:
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise OutputError(f"{path}: cannot be written: it is a folder", path=path)
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise OutputError(f"{path}: cannot be written: it is read-only; use -o DIR to write elsewhere", path=path)
    folder = os.path.dirname(target)
    while folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot be written: its folder is read-only or not a folder", path=path)


def _relative_name(path: str, given_folders: list[str]) -> str:
    normal = os.path.normpath(path)
    for folder in given_folders:
        if folder == "." and not os.path.isabs(normal) and not normal.startswith(".."):
            return normal
        if normal.startswith(folder + os.sep):
            return os.path.relpath(normal, folder)
    return os.path.basename(normal)
