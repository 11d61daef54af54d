"""The open documents, and the check of those that lie in one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pygls.uris import from_fs_path, to_fs_path

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, all_rules
from kaitoc.compiler.check.rule_set import names_of_rules
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import MAX_SOURCE_BYTES, Source
from kaitoc.compiler.language_server.positions import PositionMap, source_of_text


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """An open document at one version; its text is the editor's, saved or not."""

    uri: str
    version: int
    positions: PositionMap

    @property
    def source(self) -> Source:
        """Return the editor's present text as a source, whether or not it was saved."""
        return self.positions.source

    @property
    def path(self) -> str:
        """Return the path of its file, or the URI of a document that has none."""
        return self.source.path

    @property
    def is_too_large(self) -> bool:
        """Return whether its text is larger than a file may be."""
        return len(self.source.text) > MAX_SOURCE_BYTES

    @property
    def folder(self) -> str:
        """Return the folder it lies in, empty for a document without file."""
        return os.path.dirname(self.path) if os.path.isabs(self.path) else ""


def read_document(uri: str, version: int, text: str, encoding: str) -> OpenDocument:
    """Return an editor's document."""
    path = to_fs_path(uri)
    source = source_of_text(os.path.normpath(path) if path else uri, text)
    return OpenDocument(uri, version, PositionMap(source, encoding))


@dataclass(slots=True)
class OpenDocuments:
    """The open documents by URI."""

    _by_uri: dict[str, OpenDocument] = field(default_factory=dict)

    def put(self, document: OpenDocument) -> None:
        """Take an opened or changed document."""
        self._by_uri[document.uri] = document

    def remove(self, uri: str) -> OpenDocument | None:
        """Forget a closed document, and return it."""
        return self._by_uri.pop(uri, None)

    def get(self, uri: str) -> OpenDocument | None:
        """Return the document of a URI, None when it is not open."""
        return self._by_uri.get(uri)

    def beside(self, document: OpenDocument) -> tuple[OpenDocument, ...]:
        """Return the open documents of a document's folder, itself included when it is open."""
        return tuple(other for other in self._by_uri.values() if other.folder == document.folder)

    def folders(self) -> tuple[tuple[OpenDocument, ...], ...]:
        """Group the open documents by folder, the unit of a check."""
        groups: dict[str, list[OpenDocument]] = {}
        for document in self._by_uri.values():
            groups.setdefault(document.folder, []).append(document)
        return tuple(map(tuple, groups.values()))

    def of_path(self, path: str) -> OpenDocument | None:
        """Return the open document of a file, None when it is not open."""
        return next((document for document in self._by_uri.values() if document.path == path), None)

    def uri_of(self, path: str) -> str | None:
        """Return the URI of a file: that of its open document, else its own; None for what is no file."""
        document = self.of_path(path)
        if document is not None:
            return document.uri
        return from_fs_path(path) if os.path.isabs(path) else None


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks documents as `kaitoc check` checks files, with what the command line states."""

    options: EngineOptions = EngineOptions()

    def check(self, documents: Iterable[OpenDocument]) -> list[Finding]:
        """Return the findings in the documents of one folder; raises `KaitocError`.

        The files of the folder are searched for partners. Settings files are read anew, so that a change to one holds
        at once; a document that they exclude is context only.
        """
        documents = tuple(documents)
        engine = self.engine(documents)
        return engine.check(doc.path for doc in documents if engine.library.is_given_path(doc.path)).findings

    def engine(
        self,
        documents: Iterable[OpenDocument],
        subject: OpenDocument | None = None,
        names_sought: tuple[str, ...] = (),
    ) -> Engine:
        """Return an engine that has read the documents of one folder; raises `KaitocError`.

        Those that are not excluded are given, or only `subject` is and the others are its context. Partners of
        `names_sought` are looked for in the folder, all that it holds where that is empty.
        """
        options = self.options
        engine = Engine(
            all_rules(),
            options.overrides,
            options.settings,
            select=options.select,
            ignore=options.ignore,
        )
        engine.library.names_sought = names_sought
        for document in documents:
            if document.is_too_large:
                continue
            settings = engine.settings_for(document.path)
            settings.refuse_unknown_selectors(names_of_rules)
            engine.library.add_source(document.source)
            if settings.excludes(document.path):
                continue
            if subject is None or document is subject:
                engine.library.add_given(document.path)
            else:
                engine.library.add_context(document.path)
        return engine
