"""Digests of files, read in blocks."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kaitoc.compiler.core.units import MIB

_BLOCK_BYTES = MIB


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits; raises `OSError`."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
