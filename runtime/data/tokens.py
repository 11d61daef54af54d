"""Tokenized data as one file: an Arrow stream whose name has the checksum of its content, which tells it is whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Dataset

from kaitoc.runtime.data.digest import sha256_of

_ABOUT = b"kaitoc"
_SUFFIX = ".arrow"
_PART = ".kaitoc-part-"
_NAME = re.compile(rf"[0-9a-f]{{32}}-[0-9a-f]{{64}}{re.escape(_SUFFIX)}|{re.escape(_PART)}[0-9a-z_]{{8}}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokenized rows of some paths, and what there is to say about them."""

    examples: Dataset
    longest_tokens: int
    summary: str
    num_skipped: int
    num_truncated: int


class DamagedTokens(Exception):  # noqa: N818  (it is the file that is at fault)
    """A file of tokens that is not what was written."""


def write_tokens(tokens: Tokens, folder: Path, key: str) -> Path:
    """Write tokens into a folder, at once or not at all, and return the file; raises `OSError`."""
    table = tokens.examples.data.table
    about = {
        "longest_tokens": tokens.longest_tokens,
        "summary": tokens.summary,
        "num_skipped": tokens.num_skipped,
        "num_truncated": tokens.num_truncated,
    }
    table = table.replace_schema_metadata({_ABOUT: json.dumps(about).encode("utf-8")})
    number, name = tempfile.mkstemp(prefix=_PART, dir=folder)  # for this user alone
    part = Path(name)
    try:
        with os.fdopen(number, "wb") as stream:
            with pyarrow.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
            stream.flush()
            os.fsync(stream.fileno())
        place = folder / f"{key}-{sha256_of(part)}{_SUFFIX}"
        part.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return place


def find_tokens(folder: Path, key: str) -> list[Path]:
    """Return the files of a folder that were written for a key."""
    return sorted(folder.glob(f"{key}-*{_SUFFIX}"))


def is_of_tokens(name: str) -> bool:
    """Return whether a file's name is one that tokens are written under, or part of them by a run that was killed."""
    return _NAME.fullmatch(name) is not None


def require_whole(file: Path) -> None:
    """Raise `DamagedTokens` unless a file of tokens holds what was written into it."""
    try:
        is_whole = file.stem.endswith(f"-{sha256_of(file)}")
    except OSError as error:
        raise DamagedTokens(str(error)) from error
    if not is_whole:
        raise DamagedTokens("its checksum differs")


def read_tokens(file: Path) -> Tokens:
    """Return the tokens of a file, of which pages are read when they are used; raises `DamagedTokens`."""
    try:
        table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
        about: dict[str, Any] = json.loads(table.schema.metadata[_ABOUT])
        examples = Dataset(table.replace_schema_metadata(None), fingerprint=file.stem)
        return Tokens(examples, **about)
    except (OSError, pyarrow.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DamagedTokens(str(error)) from error
