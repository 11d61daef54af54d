"""The house stays one that can be seen: few folders that hold code, and files that are read in one go."""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("compiler", "kaitoc", "rules", "runtime", "schemas", "tools")
DIVIDED = ("compiler/memory/", "compiler/report/", "runtime/")
"""Rooms whose own rooms are not counted."""

MAX_FOLDERS = 25
MAX_LINES = 350
MAX_MEDIAN_LINES = 110


@cache
def lengths() -> dict[str, int]:
    """Return the number of lines of each file of the product."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for top in PRODUCT
        for path in (ROOT / top).rglob("*.py")
    }


def test_few_folders_hold_code() -> None:
    folders = {file.rpartition("/")[0] for file in lengths()}

    counted = sorted(folder for folder in folders if not folder.startswith(DIVIDED))

    assert len(counted) <= MAX_FOLDERS, counted


def test_no_file_is_long_and_most_are_short() -> None:
    tests = {path.name: path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "tests").rglob("*.py")}

    assert {file: lines for file, lines in {**lengths(), **tests}.items() if lines > MAX_LINES} == {}
    assert statistics.median(lengths().values()) < MAX_MEDIAN_LINES
