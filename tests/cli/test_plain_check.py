"""A plain `kaitoc check` is read without click, and just as click reads it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import kaitoc.compiler.cli as command_line
from kaitoc.compiler.cli.check import check
from kaitoc.compiler.cli.check_options import CheckOptions
from kaitoc.compiler.cli.option_records import GROUPS, record_of
from kaitoc.compiler.cli.plain_check import plain_check

pytestmark = pytest.mark.skipif(os.name == "nt", reason="click reads every command line on Windows")

EXAMPLE = Path(__file__).parents[2] / "examples" / "demo.yaml"
NAMES = [name for parameter in check.params for name in parameter.opts if name.startswith("-")]
words = st.sampled_from(
    ["a.yaml", "-", "--", "", "json", "text=out.txt", "KT5", "12", "-1", "--help", "-h", "--stric", "check"]
)
arguments = st.one_of(words, st.sampled_from(NAMES), st.builds("{}={}".format, st.sampled_from(NAMES), words))


def as_click_reads(given_arguments: list[str]) -> CheckOptions | None:
    """Return what click makes of the arguments, None where it ends with help or an error."""
    try:
        parameters = check.make_context("check", list(given_arguments)).params
    except (click.ClickException, click.exceptions.Exit):
        return None
    return record_of(CheckOptions, dict(parameters), GROUPS)


@pytest.fixture
def collector() -> Iterator[None]:
    """Leave the collector as it was; the command line sets it for a process that ends."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@given(st.lists(arguments, max_size=6))
@example(["--format", "json", "--format=text=out", "a.yaml", "--strict", "-"])
@example(["--select", "--strict"])
@example(["--model="])
def test_what_it_reads_click_reads_alike(given_arguments: list[str]) -> None:
    read = plain_check(["check", *given_arguments], {})

    assert read is None or read == as_click_reads(given_arguments)


@pytest.mark.parametrize(
    "given_arguments",
    [
        [],
        ["-"],
        ["a.yaml", "b"],
        ["--isolated", "a.yaml"],
        ["a.yaml", "--strict", "--require", "--exit-zero", "--statistics"],
        ["--format", "json", "--format=sarif=out.sarif", "--output-file", "out"],
        ["--select", "KT1", "--ignore=KT2", "--baseline", "b.json"],
        ["--model=phi-4", "--gpu", "A100-80GB", "--kaito-version", "v0.12"],
    ],
)
def test_it_reads_flags_and_texts(given_arguments: list[str]) -> None:
    read = plain_check(["check", *given_arguments], {})

    assert read is not None
    assert read == as_click_reads(given_arguments)


@pytest.mark.parametrize(
    "command",
    [[], ["compile", "a.yaml"], ["--version"], ["check", "--help"], ["check", "--jobs", "2"], ["check", "--fix"]],
)
def test_other_commands_are_clicks_to_read(command: list[str]) -> None:
    assert plain_check(command, {}) is None


def test_a_shell_that_asks_for_completions_gets_them_from_click() -> None:
    assert plain_check(["check", "a"], {"_KAITOC_COMPLETE": "bash_complete"}) is None


@pytest.mark.parametrize(
    ("ends_with", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "kaitoc: stopped by Ctrl-C\n"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (RecursionError(), 2, "kaitoc: the input is nested too deeply\n"),
        (ZeroDivisionError("x"), 2, "kaitoc: internal error (ZeroDivisionError: x); set KAITOC_DEBUG=1 to see where\n"),
    ],
)
@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("option", ["--strict", "--jobs=1"])
def test_it_ends_as_under_click(
    ends_with: BaseException,
    code: int,
    told: str,
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(_: CheckOptions) -> int:
        raise ends_with

    monkeypatch.setattr("kaitoc.compiler.cli.check_options.run_check", end)
    monkeypatch.setattr("kaitoc.compiler.cli.check.run_check", end)
    monkeypatch.setattr("sys.argv", ["kaitoc", "check", option])
    with pytest.raises(SystemExit) as ended:
        command_line.main()

    assert ended.value.code == code
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("option", ["--strict", "--jobs=1"])
def test_a_mistake_is_told_as_under_click(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["kaitoc", "check", option, "--format", "xyz", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("kaitoc: `xyz` is not a format (")


@pytest.mark.parametrize("path", [EXAMPLE, EXAMPLE.with_name("missing.yaml")], ids=["findings", "missing"])
def test_a_process_ends_with_all_of_its_output(path: Path, tmp_path: Path) -> None:
    """Its objects are not taken apart; what it wrote and its exit code are those of a process whose objects are."""
    ended = []
    for option in ("--strict", "--jobs=1"):
        with (tmp_path / "out").open("w+") as out:
            command = [sys.executable, "-m", "kaitoc", "check", "--isolated", "--strict", option, str(path)]
            run = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
            out.seek(0)
            ended.append((run.returncode, out.read(), run.stderr))

    assert ended[0] == ended[1]
    assert ended[0][1] or ended[0][2]


def test_a_reader_that_has_gone_is_no_error() -> None:
    command = [sys.executable, "-m", "kaitoc", "check", "--isolated", str(EXAMPLE)]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        run = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)

    assert (run.returncode, run.stderr) == (141, b"")


def test_a_name_that_the_command_line_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'commands'"):
        command_line.commands  # noqa: B018  # the access is what is tested
