"""Reports: one module per output format, each with the functions of `Format`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from kaitoc.compiler.core.annotations import TextIO
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.core.terminal import terminal_columns
from kaitoc.compiler.report.model import Contents, Frame, Verbosity, load_format

FORMATS = ("text", "concise", "json", "sarif", "github", "gitlab", "junit", "rdjson", "markdown")


@dataclass(frozen=True, slots=True)
class ReportTarget:
    """One report to write: the format's name and the file, or None for standard output."""

    format_name: str
    path: str | None = None


def render(
    contents: Contents, format_name: str, *, color: bool = False, verbosity: Verbosity = Verbosity.NORMAL
) -> str:
    """Return the report in one of `FORMATS`, ending with a line break unless it is empty.

    `color` adds ANSI colors where a format has them. Raises `ValueError` for another format's name.
    """
    return "".join(pieces(contents, format_name, color=color, verbosity=verbosity))


def pieces(
    contents: Contents, format_name: str, *, color: bool = False, verbosity: Verbosity = Verbosity.NORMAL
) -> Iterator[str]:
    """Return the report as `render` does, piece by piece, so that a long one need not be held as a whole."""
    if format_name not in FORMATS:
        raise ValueError(_unknown_format(format_name))
    frame = Frame(contents.totals, contents.rules() if format_name == "sarif" else (), color, verbosity)
    files, jobs = contents.file_texts(format_name, color), contents.job_texts(format_name, color)
    return load_format(format_name).whole(frame, files, jobs)


def parse_target(value: str) -> ReportTarget:
    """Read `NAME` or `NAME=FILE`, where `-` is standard output; raises `ValueError` with a message for the user."""
    name, separator, path = value.partition("=")
    if name not in FORMATS:
        raise ValueError(_unknown_format(name))
    if separator and not path:
        raise ValueError(f"`{value}` has no file name after `=`")
    return ReportTarget(name, path if path not in ("", "-") else None)


def default_format(environment: Mapping[str, str]) -> str:
    """Return the format when none is asked for: annotations on GitHub Actions, text elsewhere."""
    return "github" if environment.get("GITHUB_ACTIONS") == "true" else "text"


def emit(
    contents: Contents,
    targets: Iterable[ReportTarget],
    stream: TextIO,
    *,
    color: bool = False,
    verbosity: Verbosity = Verbosity.NORMAL,
) -> None:
    """Write the report to every target: files atomically and without color, the others to `stream` in order.

    Raises `OSError` when a file cannot be written.
    """
    for target in targets:
        if target.path is None:
            texts = pieces(contents, target.format_name, color=color, verbosity=verbosity)
            stream.writelines(_fitted(texts, stream) if target.format_name == "text" else texts)
        else:
            plain = pieces(contents, target.format_name, verbosity=verbosity)
            os.makedirs(os.path.dirname(target.path) or ".", exist_ok=True)
            write_atomically(target.path, (text.encode("utf-8") for text in plain))


def _fitted(texts: Iterator[str], stream: TextIO) -> Iterator[str]:
    columns = terminal_columns(stream, os.environ)
    if columns is None:
        return texts
    from kaitoc.compiler.core.folding import folded  # a check that nobody watches does without

    return (folded(text, columns) for text in texts)


def _unknown_format(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, FORMATS, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"`{name}` is not a format{hint} (choose from {', '.join(FORMATS)})"
