"""`make messages` lists what commits change of messages and help texts without showing both forms in their message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "changed_messages.py"
MODULE = '''"""Things that are checked."""
def fault(name: str) -> str:
    """Describe a fault that nobody sees."""
    return {text}
'''
OLD = 'f"`{name}` lies beside the model" " and is not read"'
NEW = 'f"`{name}` is next to the model" " and is not read"'


class Project:
    """A repository with one rule, whose message the commits change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "rules").mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit(OLD, "Find what is not read")
        self.git("branch", "start")

    def git(self, *words: str) -> None:
        identity = ("-c", "user.name=kaitoc", "-c", "user.email=kaitoc@example.org")
        subprocess.run(["git", *identity, *words], cwd=self.folder, check=True)

    def commit(self, text: str, message: str, path: str = "rules/rule.py") -> None:
        (self.folder / path).write_text(MODULE.replace("{text}", text), encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def listed(self, *words: str) -> tuple[int, list[str]]:
        command = [sys.executable, str(SCRIPT), *words, "start..HEAD"]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert not result.stderr
        return result.returncode, result.stdout.splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_change_that_the_message_does_not_show_is_listed_whole(project: Project) -> None:
    project.commit(NEW, "Say where it is")
    code, lines = project.listed()
    assert code == 1
    assert lines[-3:] == [
        "- `{}` lies beside the model and is not read",
        "+ `{}` is next to the model and is not read",
        "1 texts changed in 1 commits; 1 not shown in a commit message",
    ]


@pytest.mark.parametrize("name", ["{name}", "{}", "adapter"])
def test_a_change_is_shown_by_both_forms_with_any_placeholder_and_line_break(project: Project, name: str) -> None:
    before = f"`{name}` lies beside the\n  model and is not read"
    after = f"`{name}` is next to the model and is not read"
    project.commit(NEW, f'Say where it is\n\n- "{before}" / "{after}"')
    assert project.listed() == (0, ["1 texts changed in 1 commits; 0 not shown in a commit message"])


def test_half_of_a_change_is_not_shown(project: Project) -> None:
    project.commit(NEW, "Say where it is\n\n- lies beside -> `x` is next to the model and is not read")
    assert project.listed()[0] == 1


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (OLD.replace("name", "title"), "rules/rule.py"),  # another variable
        (OLD.replace('" "', ""), "rules/rule.py"),  # joined
        (OLD + ' if name == "the one that is new" else ""', "rules/rule.py"),  # compared with
        ('"no adapter was found in any folder of these"', "rules/other.py"),  # new
    ],
)
def test_what_reads_as_before_or_is_new_is_no_change(project: Project, text: str, path: str) -> None:
    project.commit(text, "Change the code")
    assert project.listed() == (0, ["0 texts changed in 1 commits; 0 not shown in a commit message"])


def test_a_message_that_moves_is_no_change(project: Project) -> None:
    (project.folder / "rules" / "rule.py").unlink()
    project.commit(OLD, "Move the rule", "rules/moved.py")
    assert project.listed()[0] == 0


def test_a_help_text_is_the_docstring_of_a_command(project: Project) -> None:
    command = '""\n@click.command()\ndef lint() -> None:\n    """Find {} in manifests."""'
    project.commit(command.format("what is wrong"), "Add a command", "rules/command.py")
    project.commit(command.format("mistakes"), "Say it shorter", "rules/command.py")
    assert project.listed()[1][-2:-4:-1] == ["+ Find mistakes in manifests.", "- Find what is wrong in manifests."]


def test_a_later_commit_shows_in_net_what_the_changing_ones_did_not(project: Project) -> None:
    project.commit(NEW, "Say where it is")
    project.commit(NEW.replace("read", "loaded"), "Say what is not done with it")
    assert project.listed("--net")[1][-2:-4:-1] == [
        "+ `{}` is next to the model and is not loaded",
        "- `{}` lies beside the model and is not read",
    ]
    shown = "`{}` lies beside the model and is not read -> `{}` is next to the model and is not loaded"
    project.commit('""', f"Show what changed\n\n{shown}", "rules/other.py")
    assert project.listed("--net")[0] == 0


def test_a_message_that_is_as_it_was_has_no_net_change(project: Project) -> None:
    project.commit(NEW, "Say where it is")
    project.commit(OLD, "Say it as before")
    assert project.listed("--net") == (0, ["0 texts changed in 2 commits; 0 not shown in a commit message"])
