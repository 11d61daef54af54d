"""Records put away while a check runs: in memory while they are few, in a temporary file once they are many."""

from __future__ import annotations

import io
import marshal
import os

from kaitoc.compiler.core.annotations import IO, Any
from kaitoc.compiler.core.errors import KaitocError

MAX_HELD_BYTES = 1_000_000
_LENGTH_BYTES = 8


class SpoolError(KaitocError):
    """A temporary file that cannot be written or read."""


class Spool:
    """An append-only store of records made of texts, numbers and tuples of them."""

    def __init__(self, *, on_disk: bool = False) -> None:
        """Make an empty store; one that is on disk from the start is shared with processes forked later."""
        self._file: IO[bytes] = io.BytesIO()
        self._end = 0
        self._is_at_end = True
        self._is_on_disk = False
        if on_disk:
            self._move_to_disk()

    def append(self, record: Any) -> int:
        """Put a record away and return its place; raises `SpoolError`."""
        data = marshal.dumps(record)
        place = self._end
        try:
            if not self._is_at_end:  # a seek writes out what is buffered
                self._file.seek(place)
            self._is_at_end = False
            self._file.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
        except OSError as error:
            raise _failure(error) from error
        self._is_at_end = True
        self._end += _LENGTH_BYTES + len(data)
        if self._end > MAX_HELD_BYTES and not self._is_on_disk:
            self._move_to_disk()
        return place

    def read(self, place: int) -> Any:
        """Return the record at a place; raises `SpoolError`."""
        try:
            self._is_at_end = False
            self._file.seek(place)
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "little")
            return marshal.loads(self._file.read(length))  # noqa: S302  (written by this run)
        except OSError as error:
            raise _failure(error) from error

    def flush(self) -> None:
        """Let other processes see what was put away; raises `SpoolError`."""
        try:
            self._file.flush()
        except OSError as error:
            raise _failure(error) from error

    def close(self) -> None:
        """Give up the records and their file."""
        self._file.close()

    def _move_to_disk(self) -> None:
        held = self._file
        try:
            self._file = _unnamed_file()
            self._file.write(held.getvalue() if isinstance(held, io.BytesIO) else b"")
        except OSError as error:
            raise _failure(error) from error
        self._is_on_disk = True


def _unnamed_file() -> IO[bytes]:
    """Return a temporary file without a name; where the system makes none such, `tempfile` does what can be done.

    Importing that takes as long as checking five files.
    """
    try:
        folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  (nobody else can open what has no name)
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600), "w+b")
    except (AttributeError, OSError):
        import tempfile

        return tempfile.TemporaryFile(prefix="kaitoc-")


def _failure(error: OSError) -> SpoolError:
    return SpoolError(f"cannot use a temporary file: {error.strerror or error} (set TMPDIR to another folder)")
