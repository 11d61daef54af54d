"""How long the rows of a data set are, without a tokenizer: an upper bound from their bytes.

Byte-level tokenizers never make more tokens than there are bytes, and English text has about four bytes a token; the
longest row's bytes over `BYTES_PER_TOKEN` is a cautious guess, which the runtime replaces by real counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

BYTES_PER_TOKEN = 3
_SUFFIXES = (".jsonl", ".json", ".csv", ".txt")


class DataLengthError(ValueError):
    """Data that cannot be measured; `str(error)` is for the user."""


def longest_row_tokens(path: str) -> int:
    """Return a cautious guess of the longest row's length in tokens; raises `DataLengthError`."""
    longest = max((len(row) for file in _files(path) for row in _rows(file)), default=0)
    if longest == 0:
        raise DataLengthError(f"{path}: no rows in {', '.join(_SUFFIXES)} files")
    return -(-longest // BYTES_PER_TOKEN)


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        names = (os.path.join(path, name) for name in sorted(os.listdir(path)))
        return [name for name in names if name.endswith(_SUFFIXES)]
    if not path.endswith(_SUFFIXES):
        raise DataLengthError(f"{path}: only {', '.join(_SUFFIXES)} data can be measured without the runtime")
    return [path]


def _rows(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as stream:
            if not path.endswith(".json"):
                yield from stream
                return
            content = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise DataLengthError(f"{path}: cannot be read: {error}") from error
    for row in content if isinstance(content, list) else [content]:
        yield json.dumps(row, ensure_ascii=False).encode("utf-8")
