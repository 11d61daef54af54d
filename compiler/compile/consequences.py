"""Marks in a new manifest the findings that follow from what the user asked for, each with its reason."""

from __future__ import annotations

from collections import defaultdict

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.compile.driver import describe_problem
from kaitoc.compiler.compile.model import CompileError, CompileRequest
from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Edit, Severity
from kaitoc.compiler.core.source import Source, Span

_REASONS = {
    "KT408": "this model's tokenizer has no padding token",
    "KT415": "an image was requested as output",
    "KT432": "the data has columns prompt and completion",
    "KT502": "nothing with the same result leaves a wider margin",
    "KT505": "this rank was requested",
    "KT510": "this rank was requested",
    "KT601": "this batch size was requested",
    "KT602": "the batch size is that of one GPU",
    "KT731": "this model and this rank were requested",
    "KT743": "this GPU was requested",
    "KT744": "this GPU was requested, and Kaito counts the nodes",
}
"""The findings that a choice of model or output brings with it; any other is a fault of the manifest."""


def with_reasons(source: Source, request: CompileRequest) -> str:
    """Return a text whose expected findings are suppressed on their lines, with the reason.

    Raises `CompileError` for an error that is found in it.
    """
    engine = Engine(request.rule_set, request.overrides, request.settings)
    engine.library.add_source(source)
    codes_by_line: dict[int, list[str]] = defaultdict(list)
    for finding in engine.check([source.path]).findings:
        if finding.severity is Severity.ERROR:
            raise CompileError(describe_problem(finding), path=source.path)
        if finding.code in _REASONS and finding.source == source:
            codes_by_line[source.position(finding.span.start).line].append(finding.code)
    return apply_edits(source, [_comment(source, line, sorted(set(codes))) for line, codes in codes_by_line.items()])


def _comment(source: Source, line: int, codes: list[str]) -> Edit:
    end = source.line_span(line).start + len(source.line_text(line).rstrip("\r\n"))
    reason = "; ".join(dict.fromkeys(_REASONS[code] for code in codes))
    return Edit(source, Span(end, end), f" # kaitoc: ignore[{', '.join(codes)}] {reason}")
