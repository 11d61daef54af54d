"""Code actions: a quick fix for every finding that has one, and all safe fixes of a document at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from lsprotocol import types

from kaitoc.compiler.check.fix_rounds import fix_until_stable
from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.language_server.diagnostics import diagnostic_of
from kaitoc.compiler.language_server.documents import Checker, OpenDocument, OpenDocuments
from kaitoc.compiler.language_server.positions import PositionMap
from kaitoc.compiler.report.wording import can_apply

FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.kaitoc"


def quick_fixes(
    document: OpenDocument, findings: Iterable[Finding], wanted: Span, documents: OpenDocuments, *, versioned: bool
) -> Iterator[types.CodeAction]:
    """Yield an action for each fix where a range of the document touches the finding or what the fix changes.

    `versioned` is whether the client takes edits that say for which version of a text they are.
    """
    for finding in findings:
        if finding.source.path != document.path or finding.fix is None or not can_apply(finding):
            continue
        own_spans = [edit.span for edit in finding.fix.edits if edit.source is finding.source]
        if not any(_touches(span, wanted) for span in (finding.span, *own_spans)):
            continue
        edit = workspace_edit(_by_source(finding.fix.edits), documents, document.positions.encoding, versioned)
        if edit is not None:
            is_safe = finding.fix.applicability is Applicability.SAFE
            yield types.CodeAction(
                title=_title(finding.fix),
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[diagnostic_of(finding, document, documents)],
                is_preferred=is_safe,
                edit=edit,
            )


def fix_all(
    document: OpenDocument, documents: OpenDocuments, checker: Checker, *, versioned: bool
) -> types.CodeAction | None:
    """Return the action that does what `kaitoc check --fix` does, None when that is nothing; raises `KaitocError`."""
    engine = checker.engine(documents.beside(document), document)
    if not engine.library.is_given_path(document.path):
        return None
    fixed = fix_until_stable(engine, engine.check([document.path]), Applicability.SAFE)
    edits = {source: changed_lines(source, text) for source, text in fixed.texts.items()}
    edit = workspace_edit(edits, documents, document.positions.encoding, versioned)
    if not edits or edit is None:
        return None
    return types.CodeAction(title="Fix all safe kaitoc findings", kind=FIX_ALL, edit=edit)


def changed_lines(source: Source, text: str) -> list[Edit]:
    """Return edits of whole lines that turn a source's text into another."""
    before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [
        Edit(source, Span(starts[i1], starts[i2]), "".join(after[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def workspace_edit(
    edits: dict[Source, list[Edit]], documents: OpenDocuments, encoding: str, versioned: bool
) -> types.WorkspaceEdit | None:
    """Return edits as the protocol's, None when one is to a text that is no file."""
    by_uri: dict[str, list[types.TextEdit]] = {}
    for source, source_edits in edits.items():
        uri = documents.uri_of(source.path)
        if uri is None:
            return None
        positions = PositionMap(source, encoding)
        by_uri[uri] = [types.TextEdit(positions.range(edit.span), edit.replacement) for edit in source_edits]
    if not versioned:
        return types.WorkspaceEdit(changes=by_uri)
    return types.WorkspaceEdit(
        document_changes=[
            types.TextDocumentEdit(
                types.OptionalVersionedTextDocumentIdentifier(uri, _version(uri, documents)), [*list_]
            )
            for uri, list_ in by_uri.items()
        ]
    )


def _version(uri: str, documents: OpenDocuments) -> int | None:
    document = documents.get(uri)
    return document.version if document is not None else None


def _by_source(edits: Iterable[Edit]) -> dict[Source, list[Edit]]:
    by_source: dict[Source, list[Edit]] = {}
    for edit in edits:
        by_source.setdefault(edit.source, []).append(edit)
    return by_source


def _touches(span: Span, wanted: Span) -> bool:
    return span.start <= wanted.end and wanted.start <= span.end


def _title(fix: Fix) -> str:
    return fix.title if fix.applicability is Applicability.SAFE else f"{fix.title} (may change the result)"
