"""Questions about a place wait neither for checks nor for objects that have nothing to do with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from lsp_manifests import BOTH, CONFIG_MAP, WORKSPACE
from lsprotocol import types

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.language_server.documents import Checker, OpenDocument, read_document
from kaitoc.compiler.language_server.focus import LONG_CHARACTERS, focus_at
from kaitoc.compiler.language_server.hover import hover_at
from kaitoc.compiler.language_server.server import KaitocServer

NUM_JOBS = 60
LONG = "---\n".join(BOTH.replace("tune-phi-3", f"job-{number:02}") for number in range(NUM_JOBS))


def opened(text: str, path: str = "/nowhere/jobs.yaml") -> OpenDocument:
    return read_document(Path(path).as_uri(), 1, text, "utf-16")


def test_of_a_long_document_an_object_and_its_partner_are_left() -> None:
    assert len(LONG) > LONG_CHARACTERS
    document = opened(LONG)
    offset = LONG.index("r: 16", LONG.index("job-40-params"))

    focus = focus_at(document, offset, (document,))

    assert focus.names == ("job-40-params",)
    assert focus.document.source.text == BOTH.replace("tune-phi-3", "job-40")
    assert focus.document.source.text[focus.offset :].startswith("r: 16")


def test_names_that_only_begin_alike_are_of_other_objects() -> None:
    text = "---\n".join(BOTH.replace("tune-phi-3", f"job-{number}") for number in range(NUM_JOBS))
    document = opened(text)

    focus = focus_at(document, text.index("r: 16", text.index("job-4-params")), (document,))

    assert focus.document.source.text == BOTH.replace("tune-phi-3", "job-4")


def test_a_config_map_is_found_by_its_name_with_and_without_a_hash() -> None:
    hashed = CONFIG_MAP.replace("tune-phi-3-params", "tune-phi-3-params-5b7k9tm2f6")
    text = "---\n".join([LONG, hashed, WORKSPACE])
    document = opened(text)

    focus = focus_at(document, text.rindex("instanceType"), (document,))

    assert "tune-phi-3-params-5b7k9tm2f6" in focus.document.source.text


def test_a_workspace_keeps_the_config_map_that_it_names() -> None:
    document = opened(LONG)
    focus = focus_at(document, LONG.index("instanceType", LONG.index("name: job-07\n")), (document,))

    assert focus.names == ("job-07", "job-07-params")
    assert focus.document.source.text.count("kind: ConfigMap") == 1


def test_what_is_shown_is_what_the_whole_document_shows() -> None:
    document = opened(LONG)
    offset = LONG.index("max_length", LONG.index("job-31-params"))
    checker = Checker()

    focus = focus_at(document, offset, (document,))
    engine = checker.engine(focus.beside, names_sought=focus.names)
    narrow = hover_at(engine, focus.document, focus.beside, focus.offset, types.MarkupKind.Markdown)
    whole = hover_at(checker.engine((document,)), document, (document,), offset, types.MarkupKind.Markdown)

    assert narrow is not None
    assert whole is not None
    assert narrow.range is not None
    assert (narrow.contents, focus.whole(narrow.range)) == (whole.contents, whole.range)


def test_a_short_document_is_read_as_a_whole() -> None:
    document = opened(BOTH)
    assert focus_at(document, 10, (document,)).document is document


@pytest.mark.parametrize("place", [0, LONG.index("\n---") + 2, LONG.index("\n---") + 4, len(LONG)])
def test_any_place_has_a_focus(place: int) -> None:
    document = opened(LONG)
    focus = focus_at(document, place, (document,))
    assert LONG[:place].endswith(focus.document.source.text[: focus.offset])


def test_only_neighbours_that_mention_a_name_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workspace.yaml").write_text(WORKSPACE, encoding="utf-8")
    for number in range(5):
        (tmp_path / f"other{number}.yaml").write_text(BOTH.replace("tune-phi-3", f"other-{number}"), encoding="utf-8")
    document = opened(CONFIG_MAP, str(tmp_path / "config.yaml"))
    focus = focus_at(document, CONFIG_MAP.index("r: 16"), (document,))
    engine = Checker().engine(focus.beside, names_sought=focus.names)
    (job,) = engine.jobs_of(engine.library.load(document.path))

    assert job.workspace is not None
    read: list[str] = []
    load = Source.read
    monkeypatch.setattr(Source, "read", lambda path: read.append(path) or load(path))
    assert engine.library.load(str(tmp_path / "workspace.yaml"))
    assert read == []
    engine.library.load(str(tmp_path / "other0.yaml"))
    assert len(read) == 1


def test_a_question_is_answered_while_a_check_runs() -> None:
    asked, done = threading.Event(), threading.Event()

    class BusyChecker(Checker):
        def check(self, documents: Iterable[OpenDocument]) -> list[Finding]:
            asked.set()
            assert done.wait(60)
            return []

    async def hover_during_check() -> int | None:
        server = KaitocServer(BusyChecker())
        document = opened(BOTH)
        server.documents.put(document)
        server.schedule(document)
        while not asked.is_set():
            await asyncio.sleep(0.01)
        answer = await server.answer(lambda: 42)
        assert not done.is_set()
        server.documents.remove(document.uri)
        done.set()
        await server._checks[document.folder]
        return answer

    assert asyncio.run(hover_during_check()) == 42
