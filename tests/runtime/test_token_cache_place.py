"""Where tokens are cached."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.runtime.data import cache

pytestmark = pytest.mark.runtime


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"KAITOC_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/kaitoc"),
        ({"XDG_CACHE_HOME": "relative"}, "~/.cache/kaitoc"),
        ({}, "~/.cache/kaitoc"),
    ],
)
def test_the_cache_lies_where_caches_do(environment: dict[str, str], folder: str) -> None:
    assert cache._root(environment) == Path(folder).expanduser()
