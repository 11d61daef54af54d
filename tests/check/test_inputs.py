"""Which files a check of folders takes; what git ignores is held to git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaitoc.compiler.check.ignored_files import IgnoredFiles
from kaitoc.compiler.check.inputs import find_files
from kaitoc.compiler.job.neighbours import files_of_kaito_in
from kaitoc.compiler.job.settings import SettingsFinder

KAITOS_JSON = '{"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace"}'


def write(root: Path, *names: str, text: str = "a: 1\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def found_in(root: Path, *paths: str) -> list[str]:
    given_paths = [str(root / path) for path in paths or ("",)]
    return [os.path.relpath(path, root) for path in find_files(given_paths, SettingsFinder())]


def test_yaml_files_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.yml", "a/c.yaml", "a/readme.md")

    assert found_in(tmp_path) == ["b.yml", "a/c.yaml"]


def test_json_is_found_where_it_names_something_of_kaitos(tmp_path: Path) -> None:
    write(tmp_path, "workspace.json", text=KAITOS_JSON)
    write(tmp_path, "package.json", text='{"name": "other"}')

    assert found_in(tmp_path) == ["workspace.json"]


def test_pipes_in_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    os.mkfifo(tmp_path / "pipe.json")

    assert found_in(tmp_path) == ["a.yaml"]
    assert list(files_of_kaito_in(str(tmp_path), lambda _: False)) == []


def test_a_link_to_nothing_is_found_so_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nothing.yaml")

    assert found_in(tmp_path) == ["a.yaml"]


def test_json_that_is_named_is_taken_whatever_it_holds(tmp_path: Path) -> None:
    write(tmp_path, "package.json", text='{"name": "other"}')

    assert found_in(tmp_path, "package.json") == ["package.json"]


@pytest.mark.parametrize("folder", ["node_modules", "vendor", ".git", ".terraform", "a/vendor"])
def test_folders_of_others_are_passed_over(tmp_path: Path, folder: str) -> None:
    write(tmp_path, f"{folder}/ws.yaml", "mine.yaml")

    assert found_in(tmp_path) == ["mine.yaml"]


def test_a_folder_of_others_that_is_named_is_searched(tmp_path: Path) -> None:
    write(tmp_path, "vendor/ws.yaml")

    assert found_in(tmp_path, "vendor") == ["vendor/ws.yaml"]


def test_what_git_ignores_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/ws.yaml", "kept.yaml", "a/local.yaml")
    write(tmp_path, ".gitignore", text="/build/\nlocal.yaml\n")

    assert found_in(tmp_path) == ["kept.yaml"]


def test_outside_a_repository_a_gitignore_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, "build/ws.yaml")
    write(tmp_path, ".gitignore", text="build/\n")

    assert found_in(tmp_path) == ["build/ws.yaml"]


def test_an_ignored_folder_that_is_named_is_searched(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/ws.yaml")
    write(tmp_path, ".gitignore", text="build/\n")

    assert found_in(tmp_path, "build") == ["build/ws.yaml"]


def test_settings_can_take_what_git_ignores(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "build/ws.yaml")
    write(tmp_path, ".gitignore", text="build/\n")
    write(tmp_path, "kaitoc.toml", text="respect-gitignore = false\n")

    assert found_in(tmp_path) == ["build/ws.yaml"]


def test_a_pattern_that_git_cannot_read_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, ".git/HEAD", "a.yaml", "b.yaml")
    write(tmp_path, ".gitignore", text="!\nb.yaml\n")

    assert found_in(tmp_path) == ["a.yaml"]


_NAMES = st.sampled_from(["a", "b", "c.yaml", "d.yaml"])
_PATTERNS = st.sampled_from(
    ["a", "a/", "/a", "*.yaml", "!c.yaml", "!a/", "b/*", "b/**", "**/c.yaml", "a/c.yaml", "/d.yaml", "!/d.yaml", "# a",
     "", "\\!c.yaml", "a/**/d.yaml", "[cd].yaml", "c.y?ml"]
)  # fmt: skip


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.sets(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8),
    outer=st.lists(_PATTERNS, max_size=4),
    inner=st.lists(_PATTERNS, max_size=3),
)
def test_files_are_ignored_as_git_ignores_them(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], outer: list[str], inner: list[str]
) -> None:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for name in sorted(files):
        path = root / name
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            write(root, name)
    (root / ".gitignore").write_text("\n".join(outer) + "\n", encoding="utf-8")
    if (root / "a").is_dir():
        (root / "a" / ".gitignore").write_text("\n".join(inner) + "\n", encoding="utf-8")
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    ).stdout.splitlines()

    assert set(found_in(root)) == {name for name in listed if name.endswith(".yaml")}
    assert not IgnoredFiles().ignores(str(root / "unmatched.txt"))
