"""A folder below `suites/` with a `review.yaml` and an `expected.yaml` is a test; so it is for users."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.admission.suite import read_suite
from kaitoc.compiler.cli import cli

SUITES = Path(__file__).parent / "suites"
CASES = sorted(path.parent.name for path in SUITES.glob("*/review.yaml"))


def run_suite(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["admit", "--isolated", "--suite", str(folder), *options])


@pytest.mark.parametrize("case", CASES)
def test_a_review_is_answered_as_expected(case: str) -> None:
    result = run_suite(SUITES / case)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"ok  {case}\n")


@pytest.mark.parametrize("case", CASES)
def test_every_case_says_which_codes_it_expects(case: str) -> None:
    (read,) = read_suite(str(SUITES / case))
    assert read.expected.codes is not None


def test_all_cases_of_a_folder_are_run() -> None:
    result = run_suite(SUITES)
    assert result.stdout.splitlines()[-1] == f"{len(CASES)} of {len(CASES)} reviews were answered as expected"


def test_another_answer_than_expected_is_told_and_fails(tmp_path: Path) -> None:
    shutil.copytree(SUITES / "config-map-with-a-misspelt-key", tmp_path / "case")
    (tmp_path / "case" / "expected.yaml").write_text("allowed: true\ncodes: [KT401]\n")
    result = run_suite(tmp_path)
    assert result.exit_code == 1
    assert "expected allowed, got refused" in result.stdout
    assert "expected the codes KT401, got KT202" in result.stdout


def test_options_of_the_command_hold_for_every_case() -> None:
    assert run_suite(SUITES / "config-map-with-a-misspelt-key", "--ignore", "KT202").exit_code == 1


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        ("allowed: maybe", "must say `allowed: true` or `allowed: false`"),
        ("allowed: true\ncode: [KT401]", "`code` is not one of"),
        ("allowed: true\ncodes: KT401", "`codes` must be a list"),
        ("allowed: [", "is not YAML"),
    ],
)
def test_a_malformed_expectation_is_named(tmp_path: Path, expected: str, complaint: str) -> None:
    (tmp_path / "review.yaml").write_text("{}")
    (tmp_path / "expected.yaml").write_text(expected)
    result = run_suite(tmp_path)
    assert result.exit_code == 2
    assert f"expected.yaml: {complaint}" in result.stderr


def test_a_folder_without_reviews_is_an_error(tmp_path: Path) -> None:
    result = run_suite(tmp_path)
    assert result.exit_code == 2
    assert "no folder with a `review.yaml` in it" in result.stderr


def test_a_case_without_its_expectation_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "review.yaml").write_text("{}")
    result = run_suite(tmp_path)
    assert result.exit_code == 2
    assert "expected.yaml" in result.stderr
