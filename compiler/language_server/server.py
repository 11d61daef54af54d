"""The server: takes the editor's messages, checks in one thread and answers questions in another.

A question waits for no check, however many manifests that one is about.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from kaitoc.compiler import __version__
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.source import MAX_SOURCE_BYTES
from kaitoc.compiler.language_server.actions import FIX_ALL, fix_all, quick_fixes
from kaitoc.compiler.language_server.completion import TRIGGERS, completions_at
from kaitoc.compiler.language_server.diagnostics import complaint, diagnostics_of
from kaitoc.compiler.language_server.documents import Checker, OpenDocument, OpenDocuments, read_document
from kaitoc.compiler.language_server.focus import Focus, focus_at
from kaitoc.compiler.language_server.hover import hover_at
from kaitoc.compiler.language_server.warm_up import warm_up

T = TypeVar("T")

PAUSE_SECONDS = 0.15
"""How long typing must pause before a check."""
WATCHED = ("**/*.yaml", "**/*.yml", "**/kaitoc.toml", "**/pyproject.toml")


class KaitocServer(LanguageServer):
    """Keeps the open documents and publishes what is wrong with them.

    Texts are taken whole: manifests are small, and a missed or doubled edit cannot put server and editor apart.
    """

    def __init__(self, checker: Checker) -> None:
        super().__init__("kaitoc", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full)
        self.documents = OpenDocuments()
        self.checker = checker
        self._checking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kaitoc-check")
        self._answering = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kaitoc-answer")
        self._checks: dict[str, asyncio.Task[None]] = {}

    @property
    def encoding(self) -> str:
        """Return the code units that columns are counted in."""
        return str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding) or "utf-16")

    @property
    def takes_versions(self) -> bool:
        """Return whether the client takes edits that name the version of a text."""
        workspace = self.client_capabilities.workspace
        return bool(workspace and workspace.workspace_edit and workspace.workspace_edit.document_changes)

    def warm_up(self) -> None:
        """Load what the first answer needs while the user looks at what was opened."""
        self._answering.submit(warm_up, self.checker)

    async def answer(self, ask: Callable[[], T]) -> T | None:
        """Answer a question beside the checks; None where the user has to fix something, which diagnostics report."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._answering, ask)
        except (KaitocError, RecursionError):
            return None

    async def answer_at(
        self, params: types.HoverParams | types.CompletionParams, ask: Callable[[Focus], T | None]
    ) -> T | None:
        """Answer a question about a place in an open document beside the checks."""
        document = self.documents.get(params.text_document.uri)
        if document is None or document.is_too_large:
            return None
        beside = self.documents.beside(document)
        return await self.answer(lambda: ask(focus_at(document, document.positions.offset(params.position), beside)))

    def engine_of(self, focus: Focus) -> Engine:
        """Return an engine that has read what matters at a place; raises `KaitocError`."""
        return self.checker.engine(focus.beside, names_sought=focus.names)

    def put(self, uri: str, version: int, text: str, pause_seconds: float) -> None:
        """Take a document's text and check its folder after a pause."""
        document = read_document(uri, version, text, self.encoding)
        self.documents.put(document)
        self._answering.submit(lambda: document.source.line_starts)  # the first question about a place needs them
        self.schedule(document, pause_seconds)

    def schedule(self, document: OpenDocument, pause_seconds: float = 0.0) -> None:
        """Check the open documents of a document's folder; a check that waits already starts its pause anew."""
        waiting = self._checks.get(document.folder)
        if waiting is not None:
            waiting.cancel()
        self._checks[document.folder] = asyncio.ensure_future(self._check(document, pause_seconds))

    def schedule_all(self) -> None:
        """Check all open documents: a file beside them, or their settings, may have changed."""
        for documents in self.documents.folders():
            self.schedule(documents[0], PAUSE_SECONDS)

    async def _check(self, document: OpenDocument, pause_seconds: float) -> None:
        await asyncio.sleep(pause_seconds)
        checked = self.documents.beside(document)
        findings, problem = await asyncio.get_running_loop().run_in_executor(self._checking, self._findings, checked)
        for current in checked:
            if self.documents.get(current.uri) is current:
                self._publish(current, findings, problem)

    def _findings(self, checked: tuple[OpenDocument, ...]) -> tuple[list[Finding], str]:
        """Return the findings, and why a check failed; no document may end the server."""
        try:
            return self.checker.check(checked), ""
        except KaitocError as error:
            return [], str(error)
        except RecursionError:
            return [], "the document is nested too deeply"
        except Exception as error:
            if os.environ.get("KAITOC_DEBUG"):
                raise
            return [], f"internal error ({type(error).__name__}: {error}); set KAITOC_DEBUG=1 to see where"

    def _publish(self, document: OpenDocument, findings: list[Finding], problem: str) -> None:
        if document.is_too_large:
            problem = f"larger than {MAX_SOURCE_BYTES // 1_000_000} MB; no Kubernetes object is that large"
        diagnostics = diagnostics_of(document, findings, self.documents)
        if problem:
            diagnostics.append(complaint(document, problem))
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(document.uri, diagnostics, document.version)
        )

    def forget(self, uri: str) -> None:
        """Take back what was said of a closed document."""
        document = self.documents.remove(uri)
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))
        if document is not None and self.documents.beside(document):
            self.schedule(document)

    def actions(self, document: OpenDocument, params: types.CodeActionParams) -> list[types.CodeAction]:
        """Return the code actions for a range of a document; raises `KaitocError`."""
        wanted = document.positions.span(params.range)
        only = params.context.only
        actions: list[types.CodeAction] = []
        if _wants(only, types.CodeActionKind.QuickFix.value):
            findings = self.checker.check(self.documents.beside(document))
            actions += quick_fixes(document, findings, wanted, self.documents, versioned=self.takes_versions)
        if _wants(only, FIX_ALL):
            everything = fix_all(document, self.documents, self.checker, versioned=self.takes_versions)
            actions += [everything] if everything is not None else []
        return actions


def _wants(only: object, kind: str) -> bool:
    """Return whether a kind of action is asked for; kinds contain those that they begin."""
    if not isinstance(only, (list, tuple)):
        return True
    names = [str(getattr(name, "value", name)) for name in only]
    return any(kind == name or kind.startswith(f"{name}.") or not name for name in names)


def make_server(checker: Checker) -> KaitocServer:
    """Return a server that answers; `start_io` runs it on standard input and output."""
    server = KaitocServer(checker)
    _take_documents(server)
    _answer_requests(server)
    return server


def _take_documents(server: KaitocServer) -> None:
    @server.feature(types.INITIALIZED)
    def initialized(ls: KaitocServer, _params: types.InitializedParams) -> None:
        workspace = ls.client_capabilities.workspace
        watching = workspace.did_change_watched_files if workspace else None
        if watching and watching.dynamic_registration:
            watchers = [types.FileSystemWatcher(pattern) for pattern in WATCHED]
            options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
            method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
            ls.client_register_capability(types.RegistrationParams([types.Registration(method, method, options)]))
        ls.warm_up()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(ls: KaitocServer, params: types.DidOpenTextDocumentParams) -> None:
        opened = params.text_document
        ls.put(opened.uri, opened.version, opened.text, 0.0)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(ls: KaitocServer, params: types.DidChangeTextDocumentParams) -> None:
        changed = params.text_document
        whole = [
            change
            for change in params.content_changes
            if isinstance(change, types.TextDocumentContentChangeWholeDocument)
        ]
        if whole and ls.documents.get(changed.uri) is not None:
            ls.put(changed.uri, changed.version, whole[-1].text, PAUSE_SECONDS)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(ls: KaitocServer, params: types.DidSaveTextDocumentParams) -> None:
        document = ls.documents.get(params.text_document.uri)
        if document is not None:
            ls.schedule(document)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(ls: KaitocServer, params: types.DidCloseTextDocumentParams) -> None:
        ls.forget(params.text_document.uri)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def did_change_files(ls: KaitocServer, _params: types.DidChangeWatchedFilesParams) -> None:
        ls.schedule_all()


def _answer_requests(server: KaitocServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(ls: KaitocServer, params: types.HoverParams) -> types.Hover | None:
        def ask(focus: Focus) -> types.Hover | None:
            shown = hover_at(ls.engine_of(focus), focus.document, focus.beside, focus.offset, _markup(ls))
            if shown is not None and shown.range is not None:
                shown.range = focus.whole(shown.range)
            return shown

        return await ls.answer_at(params, ask)

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=list(TRIGGERS)))
    async def completion(ls: KaitocServer, params: types.CompletionParams) -> list[types.CompletionItem] | None:
        def ask(focus: Focus) -> list[types.CompletionItem]:
            items = completions_at(ls.engine_of(focus), focus.document, focus.beside, focus.offset)
            for item in items:
                for edit in (item.text_edit, *(item.additional_text_edits or ())):
                    if isinstance(edit, types.TextEdit):
                        edit.range = focus.whole(edit.range)
            return items

        return await ls.answer_at(params, ask)

    kinds = [types.CodeActionKind.QuickFix, FIX_ALL]

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=kinds))
    async def code_action(ls: KaitocServer, params: types.CodeActionParams) -> list[types.CodeAction] | None:
        document = ls.documents.get(params.text_document.uri)
        if document is None or document.is_too_large:
            return None
        return await ls.answer(lambda: ls.actions(document, params))


def _markup(server: KaitocServer) -> types.MarkupKind:
    """Return the markup that the client shows; Markdown unless it names others only."""
    client = server.client_capabilities.text_document
    formats = client.hover.content_format if client and client.hover else None
    return types.MarkupKind.Markdown if not formats or types.MarkupKind.Markdown in formats else formats[0]
