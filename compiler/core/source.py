"""The text of one file, with exact positions.

Offsets count characters of the decoded text without its byte order mark; lines and columns are 1-based
and columns count characters. A `Span` is a half-open range of offsets: rules and passes carry spans, and only
reports turn them into lines and columns.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import accumulate

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.tuples import NamedTuple

MAX_SOURCE_BYTES = 5_000_000
_BOM = "\ufeff"
_LINE_END = pattern(r"\r\n|\n|\r")


class SourceError(KaitocError):
    """A file that cannot be read as text; `str(error)` is the message for the user."""


class Position(NamedTuple):
    """A place in a source: 1-based line and column, 0-based character offset."""

    line: int
    column: int
    offset: int


class Span(NamedTuple):
    """A half-open range of character offsets, `text[start:end]`."""

    start: int
    end: int

    def covers(self, other: Span) -> bool:
        """Return whether `other` lies inside this span."""
        return self.start <= other.start and other.end <= self.end


def make_span(start: int, end: int, _new: Callable[..., Span] = tuple.__new__) -> Span:
    """Return a span in half the time that calling the class takes; each node of a manifest has one or two."""
    return _new(Span, (start, end))


@dataclass(slots=True, eq=False)
class Source:
    """The decoded text of one file and the index of its lines."""

    path: str
    text: str
    has_bom: bool = False
    _line_starts: array[int] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, path: str) -> Source:
        """Read a UTF-8 file; raises `SourceError` when it is missing, too large, or not text."""
        try:
            if os.path.getsize(path) > MAX_SOURCE_BYTES:
                limit_mb = MAX_SOURCE_BYTES // 1_000_000
                raise SourceError(f"{path}: larger than {limit_mb} MB; no Kubernetes object is that large", path=path)
            with open(path, "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}", path=path) from error
        return cls.decode(path, data)

    @classmethod
    def decode(cls, path: str, data: bytes) -> Source:
        """Decode the bytes of a file; raises `SourceError` when they are too many or not UTF-8 text."""
        if len(data) > MAX_SOURCE_BYTES:
            limit_mb = MAX_SOURCE_BYTES // 1_000_000
            raise SourceError(f"{path}: larger than {limit_mb} MB; no Kubernetes object is that large", path=path)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8")) + 1
            raise SourceError(
                f"{path}:{line}: not UTF-8 text (byte {error.start})", path=path, line=line, column=column
            ) from error
        has_bom = text.startswith(_BOM)
        return cls(path, text[1:] if has_bom else text, has_bom)

    @property
    def line_starts(self) -> array[int]:
        """Offsets at which lines start; LF, CRLF and lone CR each end a line, as in YAML."""
        if self._line_starts is None:
            self._line_starts = array("I", _line_starts(self.text))
        return self._line_starts

    def position(self, offset: int) -> Position:
        """Return the line and column of a character offset."""
        starts = self.line_starts
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1, offset)

    def line_text(self, line: int) -> str:
        """Return the text of a 1-based line without its line break."""
        starts = self.line_starts
        end = starts[line] if line < len(starts) else len(self.text)
        return self.text[starts[line - 1] : end].rstrip("\r\n")

    def line_span(self, line: int) -> Span:
        """Return the span of a 1-based line, its line break included."""
        starts = self.line_starts
        end = starts[line] if line < len(starts) else len(self.text)
        return Span(starts[line - 1], end)

    def slice(self, span: Span) -> str:
        """Slice the text of a span, which must be of this source."""
        return self.text[span.start : span.end]

    @property
    def newline(self) -> str:
        """The line break that new lines should use: that of the first line, or LF."""
        first = self.text.find("\n")
        return "\r\n" if first > 0 and self.text[first - 1] == "\r" else "\n"

    def encode(self, text: str) -> bytes:
        """Return the bytes of a changed text, with the byte order mark the file had."""
        return ((_BOM if self.has_bom else "") + text).encode("utf-8")


def _line_starts(text: str) -> Iterable[int]:
    if "\r" in text:
        return (0, *(match.end() for match in _LINE_END.finditer(text)))
    lengths = [len(line) + 1 for line in text.split("\n")]
    return accumulate(lengths[:-1], initial=0)


def write_atomically(path: str | os.PathLike[str], data: bytes | Iterable[bytes]) -> None:
    """Replace a file's content in one step, keeping its permission bits; on failure the old content stays.

    The content may come in pieces.

    Raises `OSError` when the folder or the file cannot be written.
    """
    import tempfile

    target = os.path.realpath(path)
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    folder, name = os.path.split(target)
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    except OSError as error:  # it names the temporary file, which nobody asked for
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines([data] if isinstance(data, bytes) else data)
            stream.flush()
            os.fsync(stream.fileno())
        mode = os.stat(target).st_mode & 0o7777 if os.path.exists(target) else 0o666 & ~_current_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
