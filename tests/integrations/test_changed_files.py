"""Which files git says have changed: the same ones from every folder and with every configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kaitoc.compiler.check.changed_files import changed_since

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a changed and a new file in each of two folders."""
    for folder in ("deploy", "tools"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old.yaml").write_text("a: 1\n")
        (tmp_path / folder / "same.yaml").write_text("a: 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*GIT, *command], cwd=tmp_path, check=True)
    for folder in ("deploy", "tools"):
        (tmp_path / folder / "old.yaml").write_text("a: 2\n")
        (tmp_path / folder / "new.yaml").write_text("a: 1\n")
    return tmp_path


@pytest.mark.parametrize("relative", ["true", "false"])
@pytest.mark.parametrize("folder", [".", "tools"])
def test_the_folder_it_is_asked_from_does_not_matter(
    repository: Path, monkeypatch: pytest.MonkeyPatch, folder: str, relative: str
) -> None:
    subprocess.run(["git", "config", "diff.relative", relative], cwd=repository, check=True)
    monkeypatch.chdir(repository / folder)
    root = os.path.realpath(repository)

    assert changed_since("HEAD") == {f"{root}/{where}/{name}.yaml" for where in ("deploy", "tools")
                                     for name in ("old", "new")}  # fmt: skip
