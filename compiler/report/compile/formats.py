"""The formats of a compile report that go into files."""

from __future__ import annotations

import os
from importlib import import_module

from kaitoc.compiler.compile.model import Compilation, CompileError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import write_atomically

_MODULES = {".json": "json", ".md": "markdown", ".html": "html"}


@dataclass(frozen=True, slots=True)
class ReportPath:
    """A report to write and the module that renders it."""

    path: str
    module: str


def parse_report_path(path: str) -> ReportPath:
    """Return the report a file name asks for; raises `CompileError` for another ending."""
    module = _MODULES.get(os.path.splitext(path)[1].lower())
    if module is None:
        raise CompileError(f"{path}: expected a report file that ends in .json, .md or .html", path=path)
    return ReportPath(path, module)


def render_report(module: str, result: Compilation) -> str:
    """Return the report that one of the modules renders."""
    text: str = import_module(f"kaitoc.compiler.report.compile.{module}").render(result)
    return text


def write_report(report: ReportPath, result: Compilation) -> None:
    """Write a report in one step; raises `CompileError` when the file cannot be written."""
    try:
        write_atomically(report.path, render_report(report.module, result).encode("utf-8"))
    except OSError as error:
        raise CompileError(f"{report.path}: cannot be written: {error.strerror or error}", path=report.path) from error
