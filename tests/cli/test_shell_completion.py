"""What a shell offers while a command is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.cli import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations" / "completion.md"


def answer(**environment: str) -> str:
    """Return what the command answers to a shell, which asks by environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "kaitoc.compiler"],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


def offered(*words: str) -> list[str]:
    """Return what is offered for the last of some words."""
    complete = ShellComplete(cli, {}, "kaitoc", "_KAITOC_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_commands_are_completed() -> None:
    assert offered("che") == ["check"]


def test_a_gpu_or_an_instance_type_is_completed_in_any_case() -> None:
    assert offered("check", "--gpu", "a100") == ["A100-40GB", "A100-80GB"]
    assert "Standard_NC24ads_A100_v4" in offered("check", "--gpu", "standard_nc24")


def test_models_are_completed() -> None:
    assert offered("estimate", "--model", "phi-3-mini-4k") == ["phi-3-mini-4k-instruct"]


def test_releases_and_stacks_are_completed() -> None:
    names = [release.name for release in all_releases() if release.name.startswith("v0.1")]
    assert offered("check", "--kaito-version", "v0.1") == names
    assert offered("estimate", "--stack", "trl") == ["trl-chunked"]


def test_rules_are_completed_by_code_and_name() -> None:
    assert offered("explain", "kt401") == ["KT401"]
    assert offered("explain", "unmatched-t") == ["unmatched-target-modules"]


@pytest.mark.parametrize(
    "words",
    [
        "baseline", "baseline -o", "admit", "admit --partners", "webhook --cert", "check", "check --baseline",
        "compile -o", "estimate --model-config", "run", "init -o",
    ],
)  # fmt: skip
def test_files_are_left_to_the_shell(words: str) -> None:
    complete = ShellComplete(cli, {}, "kaitoc", "_KAITOC_COMPLETE")
    (item,) = complete.get_completions(words.split(), "man")
    assert (item.type, item.value) == ("file", "man")


def test_report_formats_are_completed() -> None:
    assert offered("check", "--format", "j") == ["json", "junit"]


@pytest.mark.parametrize("value", ["text", "json", "sarif"])
def test_what_no_catalog_holds_is_not_offered_for_a_gpu(value: str) -> None:
    assert offered("check", "--gpu", value) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_of_the_page_gets_a_script_that_asks_for_completions(shell: str) -> None:
    assert f"_KAITOC_COMPLETE={shell}_source kaitoc" in PAGE.read_text(encoding="utf-8")

    assert f"_KAITOC_COMPLETE={shell}_complete" in answer(_KAITOC_COMPLETE=f"{shell}_source")


def test_the_command_answers_a_shell() -> None:
    told = answer(_KAITOC_COMPLETE="bash_complete", COMP_WORDS="kaitoc check --gpu A1", COMP_CWORD="3")

    assert told.split() == ["plain,A10-24GB", "plain,A100-40GB", "plain,A100-80GB", "plain,A10G-24GB", "plain,A16"]
