"""Sizes are worded in one way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaitoc.compiler.core.units import GIB, format_gib, gib

ROOT = Path(__file__).parents[2]
ROOMS = ("compiler", "rules", "runtime")
RECIPES = re.compile(r"1 ?<< ?30|2 ?\*\* ?30|1024 ?\*\* ?3|\bf}? GiB")


@pytest.mark.parametrize(
    ("num_bytes", "decimals", "text"),
    [(0, 1, "0.0"), (GIB, 1, "1.0"), (3 * GIB // 2, 2, "1.50"), (-GIB, 1, "-1.0"), (79.25 * GIB, 1, "79.2")],
)
def test_a_size_has_as_many_decimals_as_asked_for(num_bytes: float, decimals: int, text: str) -> None:
    assert gib(num_bytes, decimals) == text
    assert format_gib(num_bytes, decimals) == f"{text} GiB"


def test_no_other_module_makes_its_own_gibibyte() -> None:
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]

    assert len(modules) > 300
    assert [str(path.relative_to(ROOT)) for path in modules if RECIPES.search(path.read_text(encoding="utf-8"))] == [
        "compiler/core/units.py", "compiler/memory/data_lengths.py",
    ]  # fmt: skip
