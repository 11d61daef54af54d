from __future__ import annotations

from collections.abc import Iterator

import pytest
from lsp_editor import Editor


@pytest.fixture(scope="session")
def shared_editor() -> Iterator[Editor]:
    editor = Editor("--isolated")
    yield editor
    editor.quit()


@pytest.fixture
def editor(shared_editor: Editor) -> Iterator[Editor]:
    """An editor without settings; what a test opens is closed after it."""
    yield shared_editor
    shared_editor.close_all()
