"""A docstring names what it is about: no riddle of "what", "how" or "where", and no sentence of the module's again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("compiler", "kaitoc", "rules", "runtime", "schemas", "tools")
RIDDLE = re.compile(r'"""Returns? (?:what|that|which|how|where|whatever|in words|None|nothing)\b[^\n]*')
DOCSTRING = re.compile(r'^ *"""(.+?)(?:"""|$)', re.MULTILINE)
FILES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def problems_in(text: str) -> list[str]:
    """The docstrings of a module that are riddles, and those whose first line is that of the module."""
    module, *others = DOCSTRING.findall(text) if text.startswith('"""') else ["", *DOCSTRING.findall(text)]
    return [*RIDDLE.findall(text), *(line for line in others if line == module)]


def test_no_docstring_is_a_riddle_or_says_again_what_the_module_says() -> None:
    found = {str(file.relative_to(ROOT)): problems_in(file.read_text(encoding="utf-8")) for file in FILES}
    assert len(found) > 500
    assert {path: problems for path, problems in found.items() if problems} == {}


@pytest.mark.parametrize(
    "text",
    [
        '"""Peaks."""\ndef peak() -> int:\n    """Return what a step takes."""\n',
        '"""Peaks."""\ndef peak() -> int:\n    """Return how many bytes a step takes.\n\n    In one run.\n    """\n',
        '"""Sum a step\'s bytes."""\ndef peak() -> int:\n    """Sum a step\'s bytes."""\n',
    ],
)
def test_riddles_and_repetitions_are_found(text: str) -> None:
    assert problems_in(text)
