"""Path patterns mean what they mean in a .gitignore."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.path_patterns import matches_path

ROOT = os.path.abspath("repository")


def matches(pattern: str, path: str) -> bool:
    return matches_path(pattern, os.path.join(ROOT, *path.split("/")), ROOT)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.yaml", "a/b/ws.yaml"),
        ("tests", "a/tests/ws.yaml"),
        ("tests/", "tests/ws.yaml"),
        ("a/*.yaml", "a/ws.yaml"),
        ("./a/ws.yaml", "a/ws.yaml"),
        ("/a", "a/b/ws.yaml"),
        ("a/**/ws.yaml", "a/ws.yaml"),
        ("a/**/ws.yaml", "a/b/c/ws.yaml"),
        ("**/b/*.yaml", "a/b/ws.yaml"),
        ("a/**", "a/b/c"),
        ("ws?.yaml", "ws1.yaml"),
        ("ws[0-9].yaml", "ws1.yaml"),
        ("ws[!0-9].yaml", "wsa.yaml"),
        ("a[", "a["),
        ("a.b+c", "a.b+c"),
        ("größe/速い*", "größe/速い.yaml"),
    ],
)
def test_pattern_matches(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a/*.yaml", "a/b/ws.yaml"),
        ("a/b", "c/a/b"),
        ("/a", "b/a"),
        ("ws.yaml", "ws-yaml"),
        ("ws.yaml", "xws.yaml"),
        ("ws?.yaml", "ws/.yaml"),
        ("ws[!0-9].yaml", "ws1.yaml"),
        ("ws[!a]yaml", "ws/yaml"),
        ("*", "../outside.yaml"),
        ("**", ".."),
        ("*", "."),
    ],
)
def test_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_every_text_is_a_pattern(pattern: str) -> None:
    assert matches(pattern, "a/ws.yaml") in (True, False)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1))
def test_a_plain_name_matches_itself(name: str) -> None:
    assert matches(name, f"a/{name}")
