"""`kaitoc upgrade`: what breaks, what drifts, and how a run is kept as it is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upgrade_cases import PAIRS, WORKSPACE, disagreements, engine, kept, random_config, upgraded

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.baseline import baseline_of
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.release_difference import difference
from kaitoc.compiler.check.upgrade import Upgrade
from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.schemas import read_json


def config_map(**options: str) -> str:
    lines = "".join(
        f"        {name}: {value}\n"
        for name, value in {"output_dir": "/mnt/results", "per_device_train_batch_size": "1", **options}.items()
    )
    return (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: params\ndata:\n  training_config.yaml: |\n"
        "    training_config:\n      ModelConfig:\n        torch_dtype: bfloat16\n"
        "      LoraConfig:\n        target_modules: [o_proj]\n      TrainingArguments:\n" + lines
    )


def options_of(found: Upgrade) -> set[str]:
    return {change.option for change in found.changes}


def test_every_default_that_differs_between_releases_is_in_the_catalog() -> None:
    """A new release cannot bring a drift that nobody has looked at."""
    catalog = read_json("catalog/default_drift")
    for old, new in PAIRS:
        for name, section in release_arguments(old).sections.items():
            newer = release_arguments(new).sections[name]
            for option in section.arguments.keys() & newer.arguments.keys():
                values = [table.defaults[option].value for table in (section, newer)]
                if values[0] != values[1]:
                    equal = catalog["equal"].get(name, {}).get(option, [])
                    is_known = option in catalog["effects"].get(name, {}) or all(value in equal for value in values)
                    assert is_known, (old, new, name, option, values)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_each_removed_and_each_new_option_is_listed(old: str, new: str) -> None:
    older, newer = (release_arguments(name).sections for name in (old, new))
    names = [{f"{name}.{option}" for name in table for option in table[name].arguments} for table in (older, newer)]
    releases = {release.name: release for release in all_releases()}
    found = difference(releases[old], releases[new])

    assert set(found.options_gone) == names[0] - names[1]
    assert set(found.options_new) == names[1] - names[0]


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_the_defaults_that_libraries_choose_are_listed_where_they_differ(old: str, new: str) -> None:
    """The weight type follows transformers 5, the cap SFTConfig (both v0.11), the loss TRL's chunks (v0.12)."""
    releases = {release.name: release for release in all_releases()}
    numbers = [releases[name].number for name in (old, new)]
    found = {default.option: default for default in difference(releases[old], releases[new]).defaults}

    def is_crossed(name: str) -> bool:
        return numbers[0] < releases[name].number <= numbers[1]

    assert ("torch_dtype" in found, "max_length" in found) == (is_crossed("v0.11"), is_crossed("v0.11"))
    assert ("loss_type" in found) == is_crossed("v0.12")
    if is_crossed("v0.11"):
        assert (found["max_length"].before, found["max_length"].after) == ("min(tokenizer's maximum, 1024)", 1024)


@pytest.mark.parametrize("stated", [{}, {"max_length": "512"}, {"max_seq_length": "512"}])
def test_the_cap_of_1024_tokens_is_no_change_of_a_run(stated: dict[str, str]) -> None:
    """TRL 0.11 cut at 1,024 too; a cap that v0.10 refuses has no run to compare, and `max_seq_length` is no key."""
    _, found = upgraded(WORKSPACE + "---\n" + config_map(**stated), "v0.10", "v0.12")

    assert "max_length" not in options_of(found)
    assert [job.ran_before for job in found.jobs] == [not stated]
    assert [finding.code for finding in found.mended] == (["KT202"] if "max_length" in stated else [])


def test_what_is_left_out_and_drifts_is_told() -> None:
    _, found = upgraded(WORKSPACE + "---\n" + config_map(), "v0.10", "v0.12")

    assert options_of(found) == {
        "bf16", "gradient_checkpointing", "learning_rate", "logging_steps", "loss_type", "report_to"
    }  # fmt: skip
    assert not found.breaks


def test_weights_without_a_type_drift_from_float32() -> None:
    text = config_map().replace("        torch_dtype: bfloat16\n", "        trust_remote_code: false\n")
    _, found = upgraded(WORKSPACE + "---\n" + text, "v0.10", "v0.11")
    change = next(change for change in found.changes if change.option == "torch_dtype")

    assert (change.before, change.after) == ("float32", "bfloat16")


def test_a_stated_option_does_not_drift() -> None:
    text = config_map(learning_rate="1.0e-4", bf16="true", logging_steps="5")
    _, found = upgraded(WORKSPACE + "---\n" + text, "v0.10", "v0.12")

    assert options_of(found) == {"gradient_checkpointing", "loss_type", "report_to"}


def test_half_precision_keeps_bfloat16_off_as_before() -> None:
    _, found = upgraded(WORKSPACE + "---\n" + config_map(fp16="true"), "v0.10", "v0.12")

    assert "bf16" not in options_of(found)


def test_quantized_weights_are_checkpointed_by_both_releases() -> None:
    quantized = config_map().replace(
        "      LoraConfig", "      QuantizationConfig:\n        load_in_4bit: true\n      LoraConfig"
    )
    _, found = upgraded(WORKSPACE + "---\n" + quantized, "v0.10", "v0.12")

    assert "gradient_checkpointing" not in options_of(found)


def test_releases_that_are_alike_change_nothing() -> None:
    _, found = upgraded(WORKSPACE + "---\n" + config_map(), "v0.9", "v0.10")

    assert not found.changes
    assert not found.breaks
    assert not found.warnings


def test_an_option_that_is_gone_breaks_the_run() -> None:
    _, found = upgraded(WORKSPACE + "---\n" + config_map(group_by_length="true"), "v0.10", "v0.11")

    assert [(finding.code, finding.severity) for finding in found.breaks] == [("KT202", Severity.ERROR)]


def test_what_the_older_release_refuses_has_no_run_to_keep() -> None:
    _, found = upgraded(WORKSPACE + "---\n" + config_map(max_length="512"), "v0.10", "v0.12")

    assert [job.ran_before for job in found.jobs] == [False]
    assert not found.changes
    assert [finding.code for finding in found.mended] == ["KT202"]


def test_keeping_writes_the_values_of_before_and_nothing_else() -> None:
    text = WORKSPACE + "---\n" + config_map()
    after = kept(text, "v0.10", "v0.12")
    lines = after.removeprefix(text).splitlines()

    assert after.startswith(text)
    assert sorted(line.strip() for line in lines) == [
        "bf16: false", "gradient_checkpointing: false", "learning_rate: 5.0e-05", "logging_steps: 500",
        "loss_type: nll", "report_to: all",
    ]  # fmt: skip


VALUES = {
    "learning_rate": st.sampled_from(["1.0e-4", "2.0e-5"]),
    "logging_steps": st.sampled_from(["1", "500"]),
    "bf16": st.sampled_from(["true", "false"]),
    "gradient_checkpointing": st.sampled_from(["true", "false"]),
    "group_by_length": st.sampled_from(["true", "false"]),
    "report_to": st.sampled_from(["none", "all"]),
}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pair=st.sampled_from(PAIRS),
    stated=st.sets(st.sampled_from(sorted(VALUES))).flatmap(
        lambda names: st.fixed_dictionaries({name: VALUES[name] for name in sorted(names)})
    ),
)
def test_an_upgrade_is_the_difference_of_two_checks(pair: tuple[str, str], stated: dict[str, str]) -> None:
    old, new = pair
    text = WORKSPACE + "---\n" + config_map(**stated)
    _, found = upgraded(text, old, new)
    checks = [engine(release, text).check(["tune.yaml"]).findings for release in pair]
    added = baseline_of(checks[0], "baseline.json").new_among(checks[1])

    assert [finding.sort_key for finding in found.breaks] == [
        finding.sort_key for finding in added if finding.severity is Severity.ERROR
    ]
    assert not options_of(found) & stated.keys()
    older, newer = (release_arguments(release).sections["TrainingArguments"] for release in pair)
    for change in found.changes:
        if change.option != "loss_type":
            assert older.defaults[change.option].value != newer.defaults[change.option].value


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pair=st.sampled_from(PAIRS),
    stated=st.sets(st.sampled_from(sorted(VALUES.keys() - {"group_by_length"}))).flatmap(
        lambda names: st.fixed_dictionaries({name: VALUES[name] for name in sorted(names)})
    ),
)
def test_what_is_kept_has_the_values_of_before(pair: tuple[str, str], stated: dict[str, str]) -> None:
    old, new = pair
    text = WORKSPACE + "---\n" + config_map(**stated)
    new_engine = engine(new, kept(text, old, new))

    assert effective_values(new_engine) == effective_values(engine(old, text))


def test_random_configs_change_by_what_the_facts_of_both_releases_say() -> None:
    draw = random.Random(22)
    for text in [random_config(draw) for _ in range(4)]:
        for pair in PAIRS:
            assert list(disagreements(text, *pair)) == [], (pair, text)


def effective_values(made: Engine) -> list[object]:
    names = ("learning_rate", "logging_steps", "bf16", "gradient_checkpointing")
    jobs = list(made.jobs_of(made.library.add_given("tune.yaml")))
    return [job.value("TrainingArguments", name) for job in jobs for name in names]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["upgrade", *arguments])


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tune.yaml"
    path.write_text(config_map(group_by_length="true") + "---\n" + WORKSPACE, encoding="utf-8")
    return path


def test_the_command_exits_1_when_something_breaks(manifest: Path) -> None:
    result = run("--from", "v0.10", "--to", "v0.12", "tune.yaml")

    assert result.exit_code == 1
    assert "KT202" in result.stdout
    assert "TrainingArguments.learning_rate, which is not set: 5.0e-05 -> 2.0e-05 (result)" in result.stdout


def test_json_has_what_breaks_and_what_changes(manifest: Path) -> None:
    document: dict[str, Any] = json.loads(run("--from", "v0.10", "--to", "v0.12", "tune.yaml", "-f", "json").stdout)

    assert (document["from"], document["to"]) == ("v0.10", "v0.12")
    assert [finding["code"] for finding in document["breaks"]] == ["KT202"]
    assert "learning_rate" in [change["option"] for change in document["jobs"][0]["changes"]]


def test_a_diff_changes_no_file(manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    result = run("--from", "v0.10", "--to", "v0.12", "--diff", "tune.yaml")

    assert "+        learning_rate: 5.0e-05" in result.stdout.splitlines()
    assert manifest.read_text(encoding="utf-8") == text


def test_a_diff_is_colored_where_that_is_asked_for(manifest: Path) -> None:
    result = run("--from", "v0.10", "--to", "v0.12", "--diff", "--color", "always", "tune.yaml")

    assert "\x1b[32m+        learning_rate: 5.0e-05\x1b[0m" in result.stdout


def test_a_fix_writes_the_file(manifest: Path) -> None:
    run("--from", "v0.10", "--to", "v0.12", "--fix", "tune.yaml")

    assert "        learning_rate: 5.0e-05\n" in manifest.read_text(encoding="utf-8")


def test_without_paths_the_releases_are_compared() -> None:
    result = run("--from", "v0.10", "--to", "v0.11")

    assert result.exit_code == 0
    assert "    TrainingArguments.learning_rate 5.0e-05 -> 2.0e-05 (result)" in result.stdout.splitlines()
    assert "    transformers 4.57.6 -> 5.6.0" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "v0.12", "--to", "v0.10"), "--to v0.10 is not newer than --from v0.12"),
        (("--from", "v0.12", "--to", "v0.12"), "--to v0.12 is not newer than --from v0.12"),
        (("--from", "v0.7", "--to", "v0.12"), "the Kaito release `v0.7` is not known (known: v0.8, "),
        (("--from", "v0.10", "--to", "v0.12", "--fix"), "--fix and --diff need PATHS"),
    ],
)
def test_what_is_no_upgrade_is_refused_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
