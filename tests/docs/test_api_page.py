"""The examples of docs/api.md run as they are printed, and its table of errors is the whole of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kaitoc

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
MANIFEST = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
ALL_EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(ALL_EXAMPLES)))
def test_an_example_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MANIFEST is not None
    monkeypatch.chdir(tmp_path)
    Path("tuning.yaml").write_text(MANIFEST[1], encoding="utf-8")
    exec(compile(ALL_EXAMPLES[number], f"docs/api.md, example {number + 1}", "exec"), {})  # noqa: S102  (our own page)


def test_every_error_class_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    errors = {name for name in kaitoc.__all__ if name.endswith(("Error", "Failure"))}
    assert described == errors - {"KaitocError"}
    assert all(issubclass(getattr(kaitoc, name), kaitoc.KaitocError) for name in errors)


def test_every_public_function_has_an_example() -> None:
    functions = [name for name in kaitoc.__all__ if name.islower() and not name.startswith("_")]
    code = "".join(ALL_EXAMPLES)
    assert [name for name in functions if f"kaitoc.{name}(" not in code] == []
