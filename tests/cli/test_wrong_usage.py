"""A wrong command line ends with code 2 and one line that names the option, whatever is wrong and in every command."""

from __future__ import annotations

from pathlib import Path

import pytest
from wrong_usage import WORDS, answer, complaint, drawn_lines, enter, wrong_lines

from kaitoc.compiler.cli import COMMANDS


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    enter(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_named_that_is_misspelled_lacks_its_value_or_has_a_wrong_one(command: str) -> None:
    found = {" ".join(words): said for name, words in wrong_lines(command) if (said := complaint(words, name))}
    assert found == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chek"], "there is no command `chek`; did you mean `check`?"),
        (["zzz"], "there is no command `zzz` (`kaitoc --help` lists them)"),
        (["--bogus"], "`kaitoc` has no option `--bogus` (see `kaitoc --help`)"),
        (["check", "--fixx"], "`kaitoc check` has no option `--fixx`; did you mean `--fix`?"),
        (["check", "--target", "kiato"], "--target: `kiato` is not one of kaito, bundled; did you mean `kaito`?"),
        (["check", "--exclude"], "--exclude needs a value"),
        (["check", "--fix=yes"], "--fix takes no value"),
        (["check", "--jobs", "-1"], "--jobs: expected an integer of at least 0, got `-1`"),
        (["init", "--rank", "x"], "--rank: expected an integer of at least 1, got `x`"),
        (["estimate", "--margin", "91"], "--margin: expected a number from 0 to 90, got `91`"),
        (["run", "--grace-seconds", "0"], "--grace-seconds: expected a number above 0 and at most 86400, got `0`"),
        (["compile"], "`kaitoc compile` needs PATHS (see `kaitoc compile --help`)"),
        (["gpus", "H100"], "`kaitoc gpus`: unexpected argument `H100` (see `kaitoc gpus --help`)"),
    ],
)  # fmt: skip
def test_what_is_said_of_each_kind(words: list[str], message: str) -> None:
    assert answer(words) == (2, "", f"kaitoc: {message}\n")


def test_drawn_options_and_values_never_end_in_several_lines_or_a_traceback() -> None:
    assert {" ".join(words): said for words in drawn_lines(60, 1) if (said := complaint(words))} == {}


def test_every_command_has_a_line_that_works() -> None:
    assert WORDS.keys() == COMMANDS.keys()
    assert {name for name, words in WORDS.items() if answer([name, *words])[0] == 2} == {"admit", "webhook"}
