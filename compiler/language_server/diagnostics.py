"""Findings as the protocol's diagnostics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lsprotocol import types

from kaitoc.compiler.check.rule_info import rule_url
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.language_server.documents import OpenDocument, OpenDocuments
from kaitoc.compiler.language_server.positions import PositionMap

SOURCE_NAME = "kaitoc"
_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}


def diagnostics_of(
    document: OpenDocument, findings: Iterable[Finding], documents: OpenDocuments
) -> list[types.Diagnostic]:
    """Return the diagnostics of one document among the findings of its folder."""
    return [diagnostic_of(finding, document, documents) for finding in findings if finding.source.path == document.path]


def diagnostic_of(finding: Finding, document: OpenDocument, documents: OpenDocuments) -> types.Diagnostic:
    """Return a finding as a diagnostic of the document that it is in."""
    message = f"{finding.message}\n{finding.help}" if finding.help else finding.message
    return types.Diagnostic(
        range=document.positions.range(finding.span),
        message=message,
        severity=_SEVERITIES[finding.severity],
        code=finding.code,
        code_description=types.CodeDescription(href=rule_url(finding.code)),
        source=SOURCE_NAME,
        related_information=list(_related(finding, document.positions.encoding, documents)) or None,
    )


def complaint(document: OpenDocument, message: str) -> types.Diagnostic:
    """Return a diagnostic on the first line that says why a document was not checked."""
    first_line = document.source.line_span(1)
    end = first_line.start + len(document.source.line_text(1))
    return types.Diagnostic(
        range=document.positions.range(Span(first_line.start, end)),
        message=message,
        severity=types.DiagnosticSeverity.Error,
        source=SOURCE_NAME,
    )


def _related(finding: Finding, encoding: str, documents: OpenDocuments) -> Iterator[types.DiagnosticRelatedInformation]:
    """Yield the related places that lie in a file; those in Kaito's default templates do not."""
    for related in finding.related:
        uri = documents.uri_of(related.source.path)
        if uri is not None:
            positions = PositionMap(related.source, encoding)
            yield types.DiagnosticRelatedInformation(
                types.Location(uri, positions.range(related.span)), related.message
            )
