"""An editor for tests: a real LSP client and a real server process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.client import LanguageClient

T = TypeVar("T")

WAIT_SECONDS = 20


class Editor:
    """An editor as a user has it: a real client that talks to `kaitoc lsp` over its standard input and output."""

    def __init__(self, *arguments: str, encodings: list[str] | None = None, edits_by_version: bool = True) -> None:
        self._loop = asyncio.new_event_loop()
        self.client = LanguageClient("test", "1")
        self.published: dict[str, types.PublishDiagnosticsParams] = {}
        self.messages: list[str] = []
        self.registered: list[str] = []
        self._versions: dict[str, int] = {}

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params

        @self.client.feature(types.WINDOW_SHOW_MESSAGE)
        def shown(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)

        @self.client.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(params: types.RegistrationParams) -> None:
            self.registered += [registration.method for registration in params.registrations]

        command = "from kaitoc.compiler.cli import main; main()"
        self._run(self.client.start_io(sys.executable, "-c", command, "lsp", "--stdio", *arguments))
        watching = types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True)
        workspace = types.WorkspaceClientCapabilities(
            workspace_edit=types.WorkspaceEditClientCapabilities(document_changes=edits_by_version),
            did_change_watched_files=watching,
        )
        general = types.GeneralClientCapabilities(position_encodings=list(encodings or []) or None)
        capabilities = types.ClientCapabilities(workspace=workspace, general=general)
        request = types.InitializeParams(capabilities=capabilities)
        self.server = self._run(self.client.initialize_async(request))
        self.client.initialized(types.InitializedParams())

    def _run(self, awaited: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(awaited, WAIT_SECONDS))

    def open(self, path: Path | str, text: str | None = None) -> str:
        """Open a file, or a text that was never saved, and return its URI."""
        uri = path.as_uri() if isinstance(path, Path) else path
        content = path.read_text(encoding="utf-8") if text is None and isinstance(path, Path) else text or ""
        self._versions[uri] = 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "yaml", 1, content))
        )
        return uri

    def change(self, uri: str, text: str) -> None:
        """Type: the document has a new text, not saved."""
        self._versions[uri] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self._versions[uri], uri),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    def save(self, uri: str) -> None:
        self.client.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close(self, uri: str) -> None:
        self.published.pop(uri, None)
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close_all(self) -> None:
        for uri in list(self._versions):
            self.close(uri)
        self._versions.clear()
        self.published.clear()
        self.messages.clear()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Let messages come in until a condition holds; fails after a while."""

        async def poll() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        self._run(poll())

    def diagnostics(self, uri: str) -> list[types.Diagnostic]:
        """Return the diagnostics of a document's newest version."""
        newest = self._versions[uri]
        self.wait(lambda: uri in self.published and self.published[uri].version == newest)
        return list(self.published.pop(uri).diagnostics)

    def codes(self, uri: str) -> list[str]:
        return sorted(str(diagnostic.code) for diagnostic in self.diagnostics(uri))

    def hover(self, uri: str, position: types.Position) -> str:
        params = types.HoverParams(types.TextDocumentIdentifier(uri), position)
        found = self._run(self.client.text_document_hover_async(params))
        return found.contents.value if found is not None else ""

    def completions(self, uri: str, position: types.Position) -> list[types.CompletionItem]:
        params = types.CompletionParams(types.TextDocumentIdentifier(uri), position)
        return self._run(self.client.text_document_completion_async(params)) or []

    def actions(self, uri: str, at: types.Range, only: list[str] | None = None) -> list[types.CodeAction]:
        context = types.CodeActionContext(diagnostics=[], only=list(only) if only is not None else None)
        params = types.CodeActionParams(types.TextDocumentIdentifier(uri), at, context)
        return self._run(self.client.text_document_code_action_async(params)) or []

    def file_changed(self, path: Path) -> None:
        event = types.FileEvent(path.as_uri(), types.FileChangeType.Changed)
        self.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))

    def quit(self) -> int | None:
        """Shut the server down as an editor does, and return its exit code."""
        self._run(self.client.shutdown_async(None))
        self.client.exit(None)
        process = self.client._server
        code = self._run(process.wait()) if process is not None else None
        self._run(self.client.stop())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        return code


def at(text: str, marked: str, shift: int = 0) -> types.Position:
    """Return the position of a piece of a text, in UTF-16 code units."""
    offset = text.index(marked) + shift
    before = text[:offset]
    line = before.count("\n")
    return types.Position(line, len(before.rpartition("\n")[2].encode("utf-16-le")) // 2)


def apply(text: str, edits: list[types.TextEdit]) -> str:
    """Return a text as an editor has it after edits, whose columns are UTF-16 code units."""
    lines = [*text.splitlines(keepends=True), ""]

    def offset(position: types.Position) -> int:
        units = lines[position.line].encode("utf-16-le")[: 2 * position.character]
        return sum(map(len, lines[: position.line])) + len(units.decode("utf-16-le"))

    for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text
