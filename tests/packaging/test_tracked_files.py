"""The repository holds sources and recorded data: what a build, a run or an editor leaves behind is not tracked."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = {".gitignore", "Dockerfile", "LICENSE", "Makefile", "py.typed"}
SUFFIXES = {
    ".csv", ".go", ".html", ".json", ".jsonl", ".md", ".py", ".sh", ".svg", ".toml", ".txt", ".xml", ".yaml", ".yml",
}  # fmt: skip
SCRIPTS = {".ci/run"}


def is_source(path: str) -> bool:
    name = PurePosixPath(path).name
    return name in NAMES or PurePosixPath(name).suffix in SUFFIXES or path in SCRIPTS


def git(*arguments: str) -> list[str]:
    """The paths that a git command lists."""
    listed = subprocess.run(["git", "-C", str(ROOT), *arguments, "-z"], capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.split("\0") if path]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_only_sources_are_tracked_and_none_that_is_ignored() -> None:
    tracked = git("ls-files")
    assert "pyproject.toml" in tracked
    assert [path for path in tracked if not is_source(path)] == []
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard") == []


@pytest.mark.parametrize("path", ["kaitoc-0.1.0-py3-none-any.whl", "soak.log", "results/adapter.safetensors"])
def test_what_a_build_or_a_run_writes_is_no_source(path: str) -> None:
    assert not is_source(path)
