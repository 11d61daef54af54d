"""What users of other linters expect of `kaitoc check`: what it reads, what it prints, and what settings may say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli
from kaitoc.compiler.report.formats.text import MOST_JOBS

ROOT = Path(__file__).parents[2]
DEMO = (ROOT / "examples/demo.yaml").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the demo, which has a warning with a safe fix, and an info where prices are stated."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").write_text(DEMO, encoding="utf-8")
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["check", *arguments])


def severities(result: Result) -> list[str]:
    return [finding["severity"] for finding in json.loads(result.stdout)["findings"]]


def test_severity_leaves_out_what_is_milder(folder: Path) -> None:
    prices = ("--price", "Standard_NC24ads_A100_v4=3.67", "--price", "Standard_NV36ads_A10_v5=0.5")

    assert severities(check("-f", "json", *prices)) == ["warning", "info"]
    assert severities(check("-f", "json", *prices, "--severity", "warning")) == ["warning"]
    assert severities(check("-f", "json", *prices, "--severity", "error")) == []


def test_what_is_left_out_fails_nothing(folder: Path) -> None:
    assert check("--strict").exit_code == 1
    assert check("--strict", "--severity", "error").exit_code == 0


def test_the_least_severity_is_a_setting_too(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('severity = "warning"\n', encoding="utf-8")

    assert severities(check("-f", "json")) == ["warning"]


def test_strict_and_format_are_settings_that_options_overrule(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('strict = true\nformat = "concise"\n', encoding="utf-8")

    assert check().exit_code == 1
    assert check().stdout.startswith("demo.yaml:")
    assert check("--no-strict").exit_code == 0
    assert json.loads(check("-f", "json").stdout)["version"] == 1


def test_a_format_of_the_settings_that_is_none_is_named(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('format = ["jsn"]\n', encoding="utf-8")
    result = check()

    assert result.exit_code == 2
    assert "`jsn` is not a format; did you mean `json`?" in result.stderr


def test_config_names_the_settings_that_hold(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('ignore = ["ALL"]\n', encoding="utf-8")
    (folder / "ci.toml").write_text('severity = "warning"\n', encoding="utf-8")

    assert severities(check("-f", "json", "--config", "ci.toml")) == ["warning"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "ci.toml", "--isolated"), "mutually exclusive"),
        (("--config", "absent.toml"), "absent.toml"),
        (("--quiet", "--verbose"), "--quiet and --verbose are mutually exclusive"),
        (("--show-fixes",), "--show-fixes needs --fix"),
    ],
)
def test_options_that_contradict_each_other_are_refused(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = check(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr


def test_excluded_files_are_not_searched(folder: Path) -> None:
    (folder / "old").mkdir()
    (folder / "old" / "demo.yaml").write_text(DEMO, encoding="utf-8")

    assert check("--show-files").stdout.splitlines() == ["demo.yaml", "old/demo.yaml"]
    assert check("--show-files", "--exclude", "old/").stdout.splitlines() == ["demo.yaml"]


def test_what_git_ignores_is_searched_on_request(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("*.yaml\n", encoding="utf-8")

    assert check("--show-files").stdout == ""
    assert check("--show-files", "--no-respect-gitignore").stdout == "demo.yaml\n"


def test_settings_are_shown_with_the_file_they_come_from(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('exclude = ["a"]\n[severity]\nKT401 = "error"\n', encoding="utf-8")
    result = check("--show-settings")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f".: {folder / 'kaitoc.toml'}"
    assert '  exclude = ["a"]' in result.stdout.splitlines()
    assert '  severity = {"KT401": "error"}' in result.stdout.splitlines()


def test_quiet_prints_findings_and_nothing_else(folder: Path) -> None:
    (folder / "none.yaml").write_text("a: [", encoding="utf-8")
    quiet, normal = check("--quiet"), check()

    assert quiet.stderr == ""
    assert normal.stdout.startswith(quiet.stdout)
    assert "Found" not in quiet.stdout


def test_verbose_says_what_is_read(folder: Path) -> None:
    assert check("--verbose").stderr.splitlines() == [
        "kaitoc: settings: none, so every default holds",
        "kaitoc: checking 1 file",
    ]


def test_many_jobs_are_folded_into_a_number(folder: Path) -> None:
    for number in range(MOST_JOBS + 1):
        (folder / f"{number:02}.yaml").write_text(DEMO, encoding="utf-8")

    assert "and 2 more jobs (`--verbose` lists all)" in check().stdout.splitlines()
    assert sum(": kaito-demo/" in line for line in check().stdout.splitlines()) == MOST_JOBS
    assert sum(": kaito-demo/" in line for line in check("--verbose").stdout.splitlines()) == MOST_JOBS + 2


def test_a_job_is_shown_with_its_file(folder: Path) -> None:
    assert any(line.startswith("demo.yaml: kaito-demo/") for line in check().stdout.splitlines())


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("name: phi-3-mini-4k-instruct", "name: someones-own-model", "the model is not known; name it with `--model`"),
        ("lora_alpha:", "lora_alhpa:", "Kaito stops at its training config"),
        ("lora_alpha:", "use_rslora: ${RS}\n        lora_alpha:", "a value that it depends on is not known"),
    ],
)
def test_a_job_that_is_not_estimated_says_why(folder: Path, before: str, after: str, reason: str) -> None:
    assert before in DEMO
    (folder / "demo.yaml").write_text(DEMO.replace(before, after), encoding="utf-8")

    assert f"is not estimated: {reason}" in check().stdout


def test_color_is_a_choice(folder: Path) -> None:
    assert "\x1b[" in check("--color", "always").stdout
    assert "\x1b[" not in check("--color", "never").stdout


def test_fixes_are_listed_on_request(folder: Path) -> None:
    assert (
        check("--fix", "--show-fixes").stderr.splitlines()[-1]
        == "kaitoc: demo.yaml: 1 x KT401 unmatched-target-modules"
    )


def test_a_rule_can_be_taken_out_of_fixing(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('unfixable = ["KT401"]\n', encoding="utf-8")

    assert check("--fix").exit_code == 0
    assert (folder / "demo.yaml").read_text(encoding="utf-8") == DEMO


def test_an_unsafe_fix_can_be_promoted(folder: Path) -> None:
    (folder / "demo.yaml").write_text(DEMO.replace("seed: 42", "seed: 42\n        fp16: true"), encoding="utf-8")
    check("--fix")
    assert "fp16: true" in (folder / "demo.yaml").read_text(encoding="utf-8")
    (folder / "kaitoc.toml").write_text('extend-safe-fixes = ["KT4"]\n', encoding="utf-8")
    check("--fix")

    assert "fp16: true" not in (folder / "demo.yaml").read_text(encoding="utf-8")


def test_the_version_has_a_short_option() -> None:
    runner = CliRunner()

    assert runner.invoke(cli, ["-V"]).stdout == runner.invoke(cli, ["--version"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fix", "--diff"], "--fix and --diff are mutually exclusive"),
        (["--unsafe-fixes"], "--unsafe-fixes needs --fix or --diff"),
        (["--show-fixes"], "--show-fixes needs --fix"),
        (["-q", "-v"], "--quiet and --verbose are mutually exclusive"),
        (["--show-files", "--fix"],
         "--show-files, --show-settings, --show-effective, --fix, --diff and --statistics are mutually exclusive"),
        (["--isolated", "--config", "kaitoc.toml"], "--isolated and --config are mutually exclusive"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_refused_in_one_line(
    folder: Path, arguments: list[str], message: str
) -> None:
    run = subprocess.run([sys.executable, "-m", "kaitoc", "check", *arguments], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"kaitoc: {message}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "-f", "json", "--output-file", "-"],
        ["check", "-f", "json=-"],
        ["init", "--model", "phi-4", "-o", "-"],
        ["baseline", "-o", "-"],
        ["compile", "demo.yaml", "-o", "-"],
    ],
)
def test_a_dash_is_standard_output_in_every_command(folder: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)

    assert result.exit_code == 0
    assert result.stdout.startswith(("{", "apiVersion", "# A QLoRA"))
    assert not (folder / "-").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('ignore = ["KT999"]', "`KT999` is not a rule's code"),
        ('severity = { KT999 = "off" }', "`KT999` is not a rule's code"),
        ('model = "nothing"', "the model `nothing` is not in the catalog"),
        ('gpu = "A1000"', "the GPU or instance type `A1000` is not in the catalog"),
        ('kaito-version = "v9.9"', "the Kaito release `v9.9` is not known"),
        ("prices = { NC24 = 3 }", "cannot set a price for `NC24`"),
    ],
)
def test_a_wrong_name_in_a_settings_file_is_told_with_the_file(folder: Path, setting: str, message: str) -> None:
    settings = folder / "below" / "kaitoc.toml"
    settings.parent.mkdir()
    (folder / "demo.yaml").rename(settings.parent / "demo.yaml")
    settings.write_text(setting, encoding="utf-8")
    assert check("below").stderr.startswith(f"kaitoc: {settings}: {message}")


def test_a_wrong_name_on_the_command_line_is_not_the_settings_files(folder: Path) -> None:
    (folder / "kaitoc.toml").write_text('gpu = "A100-80GB"\n', encoding="utf-8")
    assert check("--gpu", "A1000").stderr.startswith("kaitoc: the GPU or instance type `A1000`")
    assert check("--ignore", "KT999").stderr.startswith("kaitoc: `KT999` is not a rule's code")


def test_output_goes_to_a_new_folder_and_never_over_one(folder: Path) -> None:
    assert check("-q", "-o", "new/report.txt").exit_code == 0
    assert "KT401" in (folder / "new" / "report.txt").read_text(encoding="utf-8")
    assert check("-q", "-o", "new").stderr == "kaitoc: new: cannot be written: Is a directory\n"


def test_a_baseline_that_cannot_be_written_is_not_announced(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["baseline", "-o", "."])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "kaitoc: .: cannot be written: Is a directory\n"


def test_a_prefix_of_codes_is_no_rule_to_explain() -> None:
    result = CliRunner().invoke(cli, ["explain", "kt80"])
    assert result.exit_code == 2
    assert "`kt80` stands for 9 rules; name one, such as `KT801`" in result.stderr
