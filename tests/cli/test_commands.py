"""The small commands: rules, explain, estimate, version, and the way to a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler import __version__
from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.cli import cli
from kaitoc.compiler.plan.plan import PLAN_VERSION
from kaitoc.rules import RULES


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_rules_lists_every_rule() -> None:
    listed = json.loads(run("rules", "--format", "json").stdout)

    assert [entry["code"] for entry in listed] == [rule.CODE for rule in RULES]
    assert all(entry["url"].endswith(entry["code"]) for entry in listed)
    assert len(run("rules").stdout.splitlines()) == len(RULES) + len(["headings"])


@pytest.mark.parametrize("name", ["KT401", "kt401", "unmatched-target-modules"])
def test_explain_shows_the_page(name: str) -> None:
    assert run("explain", name).stdout.startswith("# unmatched-target-modules (KT401)")


def test_explain_suggests_the_closest_rule() -> None:
    result = run("explain", "unmatched-target-module")

    assert result.exit_code == 2
    assert "did you mean `unmatched-target-modules`" in result.stderr


def test_a_misspelled_command_names_the_closest() -> None:
    result = run("chekc")

    assert result.exit_code == 2
    assert "did you mean `check`?" in result.stderr


def test_version_names_the_releases_and_the_parser() -> None:
    text = run("--version").stdout

    assert ", ".join(release.name for release in all_releases()) in text
    assert "YAML parser: libyaml" in text


SEED = ["estimate", "--model", "phi-3-mini-128k-instruct", "--gpu", "A100-80GB"]


def gib(*arguments: str) -> float:
    report = json.loads(run(*SEED, *arguments, "--format", "json").stdout)
    return float(report["jobs"][0]["peak_bytes"]["device"]) / (1 << 30)


def test_an_estimate_says_where_the_peak_is_and_what_lowers_it() -> None:
    result = run(*SEED, "--stack", "transformers-4.45", "--attention", "eager", "--seq-len", "3500",
                 "--no-checkpointing", "--targets", "o_proj", "--phase")  # fmt: skip

    assert result.exit_code == 1
    assert "does not fit" in result.stdout
    assert "in the backward phase" in result.stdout
    assert "gradient checkpointing" in result.stdout


def test_qlora_needs_less_than_lora() -> None:
    assert gib("--method", "qlora") < gib("--method", "lora")


def test_a_sweep_grows_and_can_be_plotted(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"

    result = run(*SEED, "--sweep", "seq-len=256:4096", "--plot", str(plot))

    assert result.exit_code == 0
    assert "4,096" in result.stdout
    assert plot.read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rank", "0"], "--rank: expected an integer of at least 1, got `0`"),
        (["--batch", "0"], "--batch: expected an integer of at least 1, got `0`"),
        (["--seq-len", "-5"], "--seq-len: expected an integer from 1 to 100,000,000, got `-5`"),
        (["--seq-len", "999999"], "longer than"),
        (["--stack", "kaito-v9"], "did you mean"),
        (["--targets", "nonsense"], "none of the target modules"),
        (["--sweep", "depth=1:2"], "--sweep: expected batch, seq-len or rank"),
        (["--plot", "x.svg"], "--plot needs --sweep"),
    ],
)
def test_an_impossible_estimate_is_a_clear_error(arguments: list[str], words: str) -> None:
    result = run(*SEED, *arguments)

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_model_config_stands_in_for_the_catalog(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
              "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
              "max_position_embeddings": 2048, "tie_word_embeddings": False}  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))

    own = json.loads(run("estimate", "--model-config", str(path), "--format", "json").stdout)
    listed = json.loads(run("estimate", "--model", "tinyllama-1.1b", "--format", "json").stdout)

    assert own["jobs"][0]["peak_bytes"] == listed["jobs"][0]["peak_bytes"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a model's config.json"),
        ('{"model_type": "lama"}', "nearest known is `llama`"),
        ('{"model_type": "llama", "hidden_size": 2048}', "has no `num_hidden_layers`"),
        ('{"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 3, '
         '"vocab_size": 8, "max_position_embeddings": 8}', "cannot be split into 3 heads"),
    ],
)  # fmt: skip
def test_a_model_config_that_no_model_has_is_a_clear_error(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)

    result = run("estimate", "--model-config", str(path))

    assert result.exit_code == 2
    assert words in result.stderr


def test_the_version_names_the_engine_the_schemas_and_the_releases() -> None:
    engine, schemas, releases, _ = run("--version").output.splitlines()
    assert engine == f"kaitoc {__version__}"
    assert schemas.startswith(f"Schemas: report 1, plan {PLAN_VERSION}, ")
    assert releases.split(": ")[1].split(", ") == [release.name for release in all_releases()]
