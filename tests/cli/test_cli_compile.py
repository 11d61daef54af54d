"""`kaitoc compile` at the command line: exit codes, files, and what it refuses to touch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from checking import CONFIG_MAP, kaitoc
from click.testing import CliRunner

from kaitoc.compiler.cli import cli
from kaitoc.compiler.compile import output as compile_output

REFUSED = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: tune
resource:
  instanceType: Standard_NC12s_v3
  labelSelector:
    matchLabels:
      app: tune
tuning:
  preset:
    name: falcon-7b
  method: qlora
  input:
    urls: [https://example.com/train.jsonl]
  output:
    image: registry.example.com/adapters:v1
    imagePushSecret: push-secret
"""


def test_without_a_place_to_write_the_report_is_all_there_is(here: Path) -> None:
    result = kaitoc("compile", "cm.yaml")

    assert result.exit_code == 0
    assert "per_device_train_batch_size x gradient_accumulation_steps: 2 x 1 -> 1 x 2" in result.stdout
    assert (here / "cm.yaml").read_text(encoding="utf-8") == CONFIG_MAP


def test_a_folder_gets_the_files_under_their_names(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "other.yaml").write_text("kind: Service\n", encoding="utf-8")

    result = kaitoc("compile", ".", "-o", "out")

    assert result.exit_code == 0
    assert "gradient_accumulation_steps: 2" in (here / "out" / "cm.yaml").read_text(encoding="utf-8")
    assert (here / "out" / "sub" / "other.yaml").read_text(encoding="utf-8") == "kind: Service\n"
    assert (here / "cm.yaml").read_text(encoding="utf-8") == CONFIG_MAP


def test_compiling_in_place_settles(here: Path) -> None:
    first = kaitoc("compile", "cm.yaml", "--in-place")
    second = kaitoc("compile", "cm.yaml", "--diff")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.stdout == ""
    assert "per_device_train_batch_size: 1 # sequences" in (here / "cm.yaml").read_text(encoding="utf-8")


def test_a_diff_is_all_of_standard_output_and_fails(here: Path) -> None:
    result = kaitoc("compile", "cm.yaml", "--diff")

    assert result.exit_code == 1
    assert result.stdout.startswith("--- cm.yaml\n+++ cm.yaml\n@@")
    assert (here / "cm.yaml").read_text(encoding="utf-8") == CONFIG_MAP


def test_what_cannot_be_repaired_is_named_and_nothing_is_written(here: Path) -> None:
    (here / "ws.yaml").write_text(REFUSED, encoding="utf-8")

    result = kaitoc("compile", "ws.yaml", "cm.yaml", "-o", "out")

    assert result.exit_code == 1
    assert "falcon-7b" in result.stderr
    assert "Standard_NC12s_v3" in result.stderr
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compile", "cm.yaml", "--diff", "--in-place"), "are mutually exclusive"),
        (("compile", "cm.yaml", "--goal", "memory", "--goal", "throughput"), "are mutually exclusive"),
        (("compile", "cm.yaml", "second.yaml", "-o", "out.yaml"), "2 files cannot be written to one"),
        (("compile", "cm.yaml", "-o", "out.json"), "out.json: cm.yaml is YAML; name a file with that extension"),
        (("compile", "cm.yaml", "second.yaml", "-o", "-"), "2 files cannot be written to standard output"),
        (("compile", "-", "--in-place"), "--in-place needs files"),
        (("compile", "-", "cm.yaml"), "cannot be mixed"),
        (("compile", "cm.yaml", "--report", "report.txt"), "ends in .json, .md or .html"),
        (("compile", "missing.yaml"), "cannot be read"),
        (("compile", "cm.yaml", "--model", "phi-5000"), "not in the catalog"),
        (("compile", "cm.yaml", "cm.yaml/../cm.yaml", "-o", "out"), "cannot be read"),
    ],
)
def test_wrong_usage_is_told_without_a_traceback(here: Path, words: tuple[str, ...], message: str) -> None:
    (here / "second.yaml").write_text(CONFIG_MAP.replace("tune-params", "second"), encoding="utf-8")
    result = kaitoc(*words)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_read_only_file_is_told_before_anything_is_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "second.yaml").write_text(CONFIG_MAP.replace("tune-params", "second"), encoding="utf-8")
    real = compile_output.os.access

    # The tests may run as a user whom permission bits do not bind.
    monkeypatch.setattr(
        compile_output.os, "access", lambda path, mode: real(path, mode) and not str(path).endswith("second.yaml")
    )
    result = kaitoc("compile", "cm.yaml", "second.yaml", "--in-place")

    assert result.exit_code == 1
    assert "second.yaml: cannot be written: it is read-only" in result.stderr
    assert "nothing written" in result.stderr
    assert (here / "cm.yaml").read_text(encoding="utf-8") == CONFIG_MAP


def test_two_files_of_one_name_cannot_go_into_one_folder(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "cm.yaml").write_text(CONFIG_MAP.replace("tune-params", "second"), encoding="utf-8")

    result = kaitoc("compile", "cm.yaml", "sub/cm.yaml", "-o", "out")

    assert result.exit_code == 2
    assert "two of the given files would be written here" in result.stderr
    assert not (here / "out").exists()


def test_one_file_is_written_to_a_path_that_ends_as_it_does(here: Path) -> None:
    into_folder = kaitoc("compile", "cm.yaml", "-o", "out")
    into_file = kaitoc("compile", "cm.yaml", "-o", "new/compiled.yaml")

    assert (into_folder.exit_code, into_file.exit_code) == (0, 0)
    assert (here / "new" / "compiled.yaml").read_bytes() == (here / "out" / "cm.yaml").read_bytes()


def test_standard_input_is_compiled_to_standard_output(here: Path) -> None:
    piped = CliRunner().invoke(cli, ["compile", "-"], input=CONFIG_MAP)
    from_file = kaitoc("compile", "cm.yaml", "-o", "-")
    kaitoc("compile", "cm.yaml", "-o", "out")

    assert piped.exit_code == 0
    assert piped.stdout == from_file.stdout == (here / "out" / "cm.yaml").read_text(encoding="utf-8")
    assert "gradient_accumulation_steps" in piped.stderr


def test_a_diff_of_standard_input_is_a_diff(here: Path) -> None:
    piped = CliRunner().invoke(cli, ["compile", "-", "--diff"], input=CONFIG_MAP)

    assert piped.exit_code == 1
    assert piped.stdout.startswith("--- ")


def test_a_diff_is_colored_on_request(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = kaitoc("compile", "cm.yaml", "--diff").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    painted = kaitoc("compile", "cm.yaml", "--diff").stdout

    assert "\x1b[32m+" in painted
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain


def test_prices_of_both_machines_that_favour_the_present_one_are_said_to_be_compared(here: Path) -> None:
    present, other = "Standard_NC24ads_A100_v4", "Standard_NC40ads_H100_v5"
    workspace = kaitoc("init", "--model", "phi-4-mini-instruct", "--gpu", present).stdout
    (here / "priced.yaml").write_text(workspace, encoding="utf-8")
    prices = ("--price", f"{present}=1", "--price")

    dearer = kaitoc("compile", "priced.yaml", *prices, f"{other}=50").stdout
    cheaper = kaitoc("compile", "priced.yaml", *prices, f"{other}=0.1").stdout
    alone = kaitoc("compile", "priced.yaml", *prices[:2]).stdout

    assert "compared with 1 other instance type by price, each with `--goal cost`: none is cheaper than USD" in dearer
    assert "--goal cost --allow-workspace-edits switches to it" in cheaper
    assert "hint" not in alone


def test_a_price_gives_a_cost(here: Path) -> None:
    instance = "Standard_NC24ads_A100_v4"

    result = kaitoc("compile", "cm.yaml", "--model", "phi-4", "--gpu", instance, "--price", f"{instance}=3.67")

    assert result.exit_code == 0
    assert re.search(r"cost   USD \d+\.\d+ -> USD \d+\.\d+ per million tokens", result.stdout)


def test_a_price_doubled_doubles_the_cost(here: Path) -> None:
    def cost(price: str) -> float:
        instance = "Standard_NC24ads_A100_v4"
        arguments = ("cm.yaml", "--model", "phi-4", "--gpu", instance, "--report", "r.json")
        kaitoc("compile", *arguments, "--price", f"{instance}={price}")
        (job,) = json.loads((here / "r.json").read_text(encoding="utf-8"))["jobs"]
        return float(job["performance_after"]["price_per_million_tokens"])

    assert cost("7") == pytest.approx(2 * cost("3.5"))


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("3.67", "is not a price: write TYPE=USD"),
        ("Standard_NC24ads_A100_v4=", "is not a price"),
        ("Standard_NC24ads_A100_v4=-1", "is not a price"),
        ("Standard_NC24ads_A100_v4=inf", "is not a price"),
        ("Standard_NC24ads_A100_v5=3", "did you mean `Standard_NC24ads_A100_v4`"),
    ],
)
def test_a_price_that_is_none_is_one_line_and_exit_code_2(here: Path, price: str, words: str) -> None:
    result = kaitoc("compile", "cm.yaml", "--price", price)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_the_goal_of_cost_says_which_price_is_missing(here: Path) -> None:
    workspace = REFUSED.replace("Standard_NC12s_v3", "Standard_NC24ads_A100_v4").replace("falcon-7b", "phi-4")
    (here / "tuning.yaml").write_text(workspace, encoding="utf-8")

    result = kaitoc("compile", "tuning.yaml", "--goal", "cost", "--allow-workspace-edits")

    assert result.exit_code == 0
    assert "the price of Standard_NC24ads_A100_v4 is missing" in result.stderr


def test_reports_are_written_beside_the_result(here: Path) -> None:
    names = ("report.json", "report.md", "report.html")

    result = kaitoc("compile", "cm.yaml", *(word for name in names for word in ("--report", name)))

    assert result.exit_code == 0
    assert all((here / name).stat().st_size for name in names)
    assert json.loads((here / "report.json").read_text(encoding="utf-8"))["version"] == 1


def test_files_without_kaito_objects_are_no_error(here: Path) -> None:
    (here / "cm.yaml").write_text("kind: Service\n", encoding="utf-8")

    result = kaitoc("compile", "cm.yaml")

    assert result.exit_code == 0
    assert "no Kaito object" in result.stderr
