"""Reports and compilations as text, in the formats of the command line."""

from __future__ import annotations

from kaitoc.compiler.compile.model import Compilation
from kaitoc.compiler.report import render as render_report
from kaitoc.compiler.report.compile.formats import render_report as render_compilation
from kaitoc.compiler.report.compile.text import render_text
from kaitoc.compiler.report.model import Report

_COMPILE_FORMATS = ("text", "json", "markdown", "html")


def render(result: Report | Compilation, format_name: str = "text") -> str:
    """Render a report as `kaitoc check --format` prints it, or `kaitoc compile --report` writes of a compilation.

    A report takes every format of `kaitoc check`, a compilation `text`, `json`, `markdown` and `html`. Raises
    `ValueError` for another format.
    """
    if isinstance(result, Report):
        return render_report(result, format_name)
    if format_name not in _COMPILE_FORMATS:
        raise ValueError(f"`{format_name}` is not a format (choose from {', '.join(_COMPILE_FORMATS)})")
    return render_text(result) if format_name == "text" else render_compilation(format_name, result)
