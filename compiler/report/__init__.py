"""Reports: one module per output format, each with `render(report, color) -> str`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TextIO

from kaitoc.compiler.records import dataclass
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.source import write_atomically

FORMATS = ("text", "concise", "json", "sarif", "github", "gitlab", "junit", "rdjson", "markdown")


@dataclass(frozen=True, slots=True)
class Target:
    """One report to write: the format's name and the file, or None for standard output."""

    format_name: str
    path: str | None = None


def render(report: Report, format_name: str, *, color: bool = False) -> str:
    """Return the report in one of `FORMATS`, ending with a line break unless it is empty.

    `color` adds ANSI colours where a format has them. Raises `ValueError` for another format's name.
    """
    if format_name not in FORMATS:
        raise ValueError(_unknown_format(format_name))
    module = import_module(f"kaitoc.compiler.report.{format_name}")
    text: str = module.render(report, color)
    return text


def parse_target(value: str) -> Target:
    """Read `NAME` or `NAME=FILE`; raises `ValueError` with a message for the user."""
    name, separator, path = value.partition("=")
    if name not in FORMATS:
        raise ValueError(_unknown_format(name))
    if separator and not path:
        raise ValueError(f"`{value}` names no file after `=`")
    return Target(name, path or None)


def default_format(environment: Mapping[str, str]) -> str:
    """Return the format when none is asked for: annotations on GitHub Actions, text elsewhere."""
    return "github" if environment.get("GITHUB_ACTIONS") == "true" else "text"


def emit(report: Report, targets: Iterable[Target], stream: TextIO, *, color: bool = False) -> None:
    """Write the report to every target: files atomically and without colour, the others to `stream` in order.

    Raises `OSError` when a file cannot be written.
    """
    for target in targets:
        if target.path is None and target.format_name == "text":
            from kaitoc.compiler.report.text import pieces

            stream.writelines(pieces(report, color))
        elif target.path is None:
            stream.write(render(report, target.format_name, color=color))
        else:
            write_atomically(target.path, render(report, target.format_name).encode("utf-8"))


def _unknown_format(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, FORMATS, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"`{name}` is not a format{hint} (choose from {', '.join(FORMATS)})"
