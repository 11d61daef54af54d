"""`kaitoc check` as a user meets it: exit codes, streams, formats, fixes, and what it says to bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from checking import CLEAN, SEED, SEED_OPTIONS, WORKSPACE, check
from click.testing import CliRunner

from kaitoc.compiler.cli import cli
from kaitoc.compiler.manifest import object_faults, object_schemas, object_shape


def test_the_seed_s_config_map_is_found_to_train_o_proj_only(seed: Path) -> None:
    result = check(str(seed), *SEED_OPTIONS, "--format", "json")

    report = json.loads(result.stdout)
    (finding,) = [finding for finding in report["findings"] if finding["code"] == "KT401"]
    assert finding["span"]["start"]["line"] == 19
    assert SEED[finding["span"]["start"]["offset"] : finding["span"]["end"]["offset"]] == "target_modules"
    assert "only `o_proj` will be trained" in finding["message"]
    assert finding["pointer"] == "/data/training_config.yaml/training_config/LoraConfig/target_modules"
    assert report["jobs"][0]["fits"] is True


def test_warnings_fail_only_a_strict_run(seed: Path) -> None:
    assert check(str(seed), *SEED_OPTIONS, "--select", "KT401").exit_code == 0
    assert check(str(seed), *SEED_OPTIONS, "--select", "KT401", "--strict").exit_code == 1
    assert check(str(seed), *SEED_OPTIONS, "--select", "KT401", "--strict", "--exit-zero").exit_code == 0


def test_an_error_fails_the_run(tmp_path: Path) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(CLEAN.replace("r: 8", "r: 8.0"))

    result = check(str(path))

    assert result.exit_code == 1
    assert "KT203" in result.stdout


def test_a_clean_manifest_says_so_and_exits_0(tmp_path: Path) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(CLEAN)

    result = check(str(path), *SEED_OPTIONS, "--select", "KT1,KT2,KT401")

    assert result.exit_code == 0
    assert "fits" in result.stdout


def test_fix_changes_only_the_named_text(seed: Path) -> None:
    result = check(str(seed), *SEED_OPTIONS, "--fix", "--select", "KT401")

    assert result.exit_code == 0
    assert seed.read_text() == CLEAN
    assert "fixed 1 finding" in result.stderr


def test_diff_shows_the_fix_and_changes_nothing(seed: Path) -> None:
    result = check(str(seed), *SEED_OPTIONS, "--diff", "--select", "KT401")

    assert result.exit_code == 1
    assert '+        target_modules: ["qkv_proj", "o_proj"]  # attention' in result.stdout
    assert seed.read_text() == SEED


def test_a_file_named_twice_is_checked_once(seed: Path) -> None:
    once = check(str(seed)).stdout
    assert "in 1 file" in once
    assert check(str(seed), str(seed.parent), f"{seed.parent}/./{seed.name}").stdout == once


def test_standard_input_is_checked(tmp_path: Path) -> None:
    result = check("-", *SEED_OPTIONS, "--format", "concise", "--select", "KT401", stdin=SEED)

    assert result.stdout.startswith("<stdin>:19:9: KT401")


def test_several_formats_at_once(seed: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.sarif"

    result = check(str(seed), *SEED_OPTIONS, "--format", "concise", "--format", f"sarif={out}")

    assert "KT401" in result.stdout
    assert json.loads(out.read_text())["version"] == "2.1.0"


def test_an_ignored_rule_is_silent(seed: Path) -> None:
    assert "KT401" not in check(str(seed), *SEED_OPTIONS, "--ignore", "unmatched-target-modules").stdout


def test_a_suppression_with_a_reason_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(SEED.replace("# attention", "# kaitoc: ignore[KT401] on purpose"))

    result = check(str(path), *SEED_OPTIONS, "--format", "concise", "--select", "KT401,KT109")

    assert "KT401" not in result.stdout
    assert "KT109" not in result.stdout


def test_an_unused_suppression_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(CLEAN.replace("# attention", "# kaitoc: ignore[KT401] on purpose"))

    assert "KT109" in check(str(path), *SEED_OPTIONS, "--format", "concise").stdout


def test_statistics_count_by_rule(seed: Path) -> None:
    assert "1  KT401" in check(str(seed), *SEED_OPTIONS, "--statistics").stdout


def test_the_partner_is_found_in_the_folder(seed: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(WORKSPACE)

    for given in (workspace, seed):
        result = check(str(given), "--format", "concise", "--select", "KT401")
        assert f"{seed}:19:9: KT401" in result.stdout


def test_a_neighbour_is_context_and_not_judged(seed: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(WORKSPACE.replace("Standard_NC24ads_A100_v4", "nonsense"))

    assert "KT320" not in check(str(seed), "--format", "concise").stdout


def test_a_namespace_that_differs_is_another_config_map(seed: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(WORKSPACE.replace("namespace: kaito", "namespace: other"))

    assert "KT301" in check(str(workspace), "--format", "concise").stdout


def test_objects_of_a_list_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    items = "".join(f"- {text}".replace("\n", "\n  ").rstrip() + "\n" for text in (SEED, WORKSPACE))
    path.write_text(f"apiVersion: v1\nkind: List\nitems:\n{items}")

    result = check(str(path), "--format", "json", "--select", "KT401")

    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["pointer"].startswith("/items/0/data/")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"\xff\xfe\x00", 2, "not UTF-8"),
        (b"a: \x00", 0, "no Kaito object"),
        (b"kind: Deployment\napiVersion: apps/v1\n", 0, "no Kaito object"),
        (b"[" * 10_000, 0, "nested deeper"),
        (b"", 0, "no Kaito object"),
        (b"\xef\xbb\xbf", 0, "no Kaito object"),
    ],
)
def test_input_that_is_no_manifest_gets_one_clear_message(
    tmp_path: Path, content: bytes, code: int, words: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)

    result = check(str(path))

    assert result.exit_code == code
    assert words in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_require_fails_when_there_is_no_kaito_object(tmp_path: Path) -> None:
    assert check(str(tmp_path), "--require").exit_code == 2
    assert check(str(tmp_path)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "phi-33-mini"], "did you mean `phi-3"),
        (["--gpu", "A100-80"], "did you mean `A100-80GB`"),
        (["--kaito-version", "v9.9"], "not known (known: v0.8"),
        (["--format", "jsn"], "did you mean `json`"),
        (["--select", "KT999"], "`kaitoc rules`"),
    ],
)
def test_a_wrong_option_value_names_the_closest(seed: Path, arguments: list[str], words: str) -> None:
    result = check(str(seed), *arguments)

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_missing_file_does_not_hide_the_others(seed: Path) -> None:
    result = check("none.yaml", str(seed), *SEED_OPTIONS, "--format", "concise")

    assert result.exit_code == 2
    assert "none.yaml: cannot be read" in result.stderr
    assert "KT401" in result.stdout


def test_a_key_that_the_bundled_runtime_lacks_is_said_in_words(seed: Path) -> None:
    seed.write_text(
        seed.read_text(encoding="utf-8").replace("TrainingArguments:", "TrainingArguments:\n        learn_rate: 1")
    )
    result = check(str(seed), *SEED_OPTIONS, "--target", "bundled", "--format", "concise")

    assert "TrainingArguments has no key `learn_rate` in the bundled runtime; " in result.stdout


@pytest.mark.parametrize("options", [(), ("--statistics",), ("--fix",), ("--diff",)])
def test_where_no_file_can_be_read_the_errors_stand_alone(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xff")
    result = check("none.yaml", str(tmp_path / "binary.yaml"), *options)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["kaitoc", "kaitoc"]


def test_a_diff_of_fixes_names_the_file_that_it_could_not_read(seed: Path) -> None:
    result = check("none.yaml", str(seed), *SEED_OPTIONS, "--diff")

    assert result.exit_code == 2
    assert "none.yaml: cannot be read" in result.stderr
    assert result.stdout.startswith("--- ")


def test_a_file_that_cannot_be_written_is_a_clear_error(seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(seed))

    monkeypatch.setattr("kaitoc.compiler.cli.fix.write_atomically", refuse)
    result = check(str(seed), *SEED_OPTIONS, "--fix")

    assert result.exit_code == 2
    assert "cannot be written: Permission denied" in result.stderr
    assert seed.read_text() == SEED


BROKEN_SCHEMAS = [
    "{",
    "[]",
    '{"schemas": {}}',
    '{"schemas": {"ConfigMap": {"type": 5}, "ObjectMeta": {}}}',
    '{"schemas": {"ConfigMap": {"properties": {"kind": {"format": "none"}}}, "ObjectMeta": {}}}',
]


@pytest.mark.parametrize("content", BROKEN_SCHEMAS)
def test_a_broken_schema_is_told_in_one_line(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cm.yaml"
    path.write_text(CLEAN)
    for function in (object_schemas._file, object_schemas.object_schema, object_schemas.served_kinds):
        function.cache_clear()
        monkeypatch.setattr(object_schemas, function.__name__, lru_cache(function.__wrapped__))
    monkeypatch.setattr(object_shape, "object_schema", object_schemas.object_schema)
    monkeypatch.setattr(object_faults, "object_shape", lru_cache(object_shape.object_shape.__wrapped__))
    monkeypatch.setattr(object_schemas, "read_json", lambda _: json.loads(content))

    result = check(str(path))

    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("kaitoc: ")
    assert result.stderr.count("\n") == 1
    assert "reinstall kaitoc" in result.stderr


def test_a_baseline_leaves_only_new_findings(seed: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    written = CliRunner().invoke(cli, ["baseline", "--isolated", str(seed), *SEED_OPTIONS, "-o", str(baseline)])
    assert written.exit_code == 0

    assert "KT401" not in check(str(seed), *SEED_OPTIONS, "--baseline", str(baseline), "--format", "concise").stdout
    seed.write_text(SEED.replace("r: 8", "r: 8.0"))
    new = check(str(seed), *SEED_OPTIONS, "--baseline", str(baseline), "--format", "concise")
    assert new.exit_code == 1
    assert "KT203" in new.stdout


def test_only_files_changed_since_a_revision_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    (tmp_path / "old.yaml").write_text(SEED)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "new.yaml").write_text(SEED)

    result = check(".", *SEED_OPTIONS, "--changed-since", "HEAD", "--format", "concise", "--select", "KT401")

    assert "new.yaml" in result.stdout
    assert "old.yaml" not in result.stdout
    assert check(".", "--changed-since", "nonsense").exit_code == 2


def test_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"cm{number}.yaml").write_text(SEED.replace("optimized-phi3-tuning", f"cm-{number}"))
        (tmp_path / f"ws{number}.yaml").write_text(WORKSPACE.replace("optimized-phi3-tuning", f"cm-{number}"))

    one = check(str(tmp_path), "--format", "json")
    two = check(str(tmp_path), "--format", "json", "--jobs", "2")

    assert json.loads(one.stdout)["findings"] == json.loads(two.stdout)["findings"]
    assert json.loads(one.stdout)["findings"]


def test_a_path_with_a_dot_names_the_file_that_lies_beside_its_partner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cm.yaml").write_text(SEED)
    result = check("./cm.yaml", *SEED_OPTIONS, "--format", "concise", "--select", "KT401")

    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["cm.yaml"]


def test_a_reader_that_goes_away_is_no_error(seed: Path) -> None:
    text = seed.read_text()
    for number in range(200):  # more than a pipe holds
        (seed.parent / f"m{number}.yaml").write_text(text.replace("optimized-phi3-tuning", f"tuning-{number}"))
    command = [sys.executable, "-m", "kaitoc.compiler", "check", "--isolated", "--format", "json", str(seed.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
