"""`kaitoc estimate` with the lengths of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

TINY = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 8000, "max_position_embeddings": 2048,
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    path = tmp_path_factory.mktemp("model") / "config.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    return "--model-config", str(path), "--stack", "transformers-5"


def estimate(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["estimate", *arguments])


def lengths_of(result: Result) -> Any:
    found: Any = json.loads(result.stdout)["jobs"][0]["lengths"]
    return found


def test_assumed_lengths_are_replayed_as_an_interval(small: tuple[str, ...]) -> None:
    result = estimate(*small, "--batch", "2", "--lengths", "20,60,128", "--format", "json")

    found = lengths_of(result)
    assert (found["p50"], found["p90"], found["max"], found["batching"]) == (20, 60, 128, "random")
    assert found["reserved"]["low"] <= found["reserved"]["high"]
    assert json.loads(result.stdout)["jobs"][0]["seq_len"] == 128


def test_the_text_says_what_would_change_them(small: tuple[str, ...]) -> None:
    result = estimate(*small, "--batch", "2", "--lengths", "20,60,128")

    assert "lengths vary: 200 batches of 2 rows (tokens per row: p50 20, p90 60, max 128)" in result.stdout
    assert "with expandable segments" in result.stdout
    assert "with batches of similar length (group_by_length)" in result.stdout


def test_data_is_replayed_as_it_is(small: tuple[str, ...], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "x" * length}) + "\n" for length in (30, 90, 300)), encoding="utf-8")

    found = lengths_of(estimate(*small, "--data", str(rows), "--format", "json"))
    assert (found["p50"], found["max"]) == (30, 100)


def test_lengths_of_which_nothing_is_known_are_spread_evenly_up_to_where_rows_are_cut(small: tuple[str, ...]) -> None:
    found = lengths_of(estimate(*small, "--seq-len", "1000", "--batch", "2", "--lengths", "cap", "--format", "json"))

    assert (found["p50"], found["p90"], found["max"]) == (500, 900, 1000)


def test_packed_rows_fill_the_cap(small: tuple[str, ...]) -> None:
    result = estimate(*small, "--seq-len", "512", "--lengths", "20,60,128", "--batching", "packed", "--format", "json")

    assert json.loads(result.stdout)["jobs"][0]["seq_len"] == 512
    assert [other["change"] for other in lengths_of(result)["alternatives"]] == ["expandable segments"]


def test_packed_data_fills_the_cap_however_short_its_rows_are(small: tuple[str, ...], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "short"}\n' * 9, encoding="utf-8")

    result = estimate(*small, "--data", str(rows), "--batching", "packed", "--format", "json")
    assert json.loads(result.stdout)["jobs"][0]["seq_len"] == 1024
    assert lengths_of(result)["max"] == 2


@pytest.mark.parametrize("lengths", ["20,60,128", "cap"])
def test_rows_would_be_packed_up_to_the_cap_however_short_they_are(small: tuple[str, ...], lengths: str) -> None:
    asked = (*small, "--lengths", lengths, "--format", "json")
    alternatives = lengths_of(estimate(*asked))["alternatives"]
    packed = lengths_of(estimate(*asked, "--batching", "packed"))

    assert alternatives[-1]["change"] == "rows packed up to 1,024 tokens"
    assert alternatives[-1]["reserved"] <= packed["reserved"]["high"]


def test_shards_are_estimated_without_it(small: tuple[str, ...]) -> None:
    result = estimate(*small, "--gpus", "2", "--sharding", "fsdp2", "--lengths", "20,60,128", "--format", "json")

    assert result.exit_code == 0
    assert lengths_of(result) is None
    assert "note: varying lengths are not replayed for sharded runs" in result.stderr


def test_a_trace_of_the_longest_batch_is_estimated_beside_the_replay(small: tuple[str, ...]) -> None:
    pytest.importorskip("torch")

    result = estimate(*small, "--trace", "--lengths", "20,60,128", "--format", "json")
    assert lengths_of(result) is not None
    assert "not replayed" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--task", "dpo", "--stack", "trl-chunked", "--lengths", "20,60,128"),
            "not replayed for preference (dpo) runs",
        ),
        (("--dora", "--lengths", "20,60,128"), "with varying lengths and DoRA reserved memory is approximate"),
    ],
)
def test_what_the_replay_leaves_out_is_noted(small: tuple[str, ...], arguments: tuple[str, ...], words: str) -> None:
    assert words in estimate(*small, *arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lengths", "60,20,128"), "must not decrease"),
        (("--lengths", "0,0,0"), "at least 1 token"),
        (("--lengths", "20,60"), "p50,p90,max"),
        (("--lengths", "Cap"), "or `cap` for any up to where rows are cut"),
        (("--lengths", "20,60,1280000"), "longer than"),
        (("--seq-len", "64", "--lengths", "20,60,128"), "exceeds the 64 tokens"),
        (("--data", "nowhere.jsonl", "--lengths", "20,60,128"), "--lengths and --data are mutually exclusive"),
        (("--data", "empty.jsonl"), "no rows"),
        (("--holds-outputs", "--loss", "chunked"), "use the full loss"),
    ],
)
def test_what_no_run_can_have_is_said_in_one_line(
    small: tuple[str, ...], arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    result = estimate(*small, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tuning}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {torch_dtype: bfloat16}
      LoraConfig: {r: 8, target_modules: [query_key_value, dense]}
      TrainingArguments: {per_device_train_batch_size: 4, max_length: 1400}
"""
A10 = ("--model", "falcon-7b", "--gpu", "A10-24GB")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("manifest") / "tuning.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return str(path)


def errors_of_check(*arguments: str) -> list[str]:
    result = CliRunner().invoke(cli, ["check", "--isolated", "--format", "json", "--select", "KT501,KT515", *arguments])
    return [finding["code"] for finding in json.loads(result.stdout)["findings"]]


@pytest.mark.parametrize(
    ("lengths", "codes"),
    [("150,300,400", []), ("150,600,1280", ["KT515"]), ("150,600,1400", ["KT501"]), ("150,600,9999", ["KT501"])],
)
def test_check_finds_what_estimate_says_does_not_fit(manifest: str, lengths: str, codes: list[str]) -> None:
    options = (manifest, *A10, "--lengths", lengths)

    assert errors_of_check(*options) == codes
    assert estimate(*options).exit_code == bool(codes)


@pytest.mark.parametrize(("longest", "severity"), [(400, None), (1264, "warning"), (1280, "error")])
def test_check_has_the_verdict_and_the_lengths_of_estimate(manifest: str, longest: int, severity: str | None) -> None:
    options = (manifest, *A10, "--lengths", f"150,{min(600, longest)},{longest}", "--format", "json")
    (estimated,) = json.loads(estimate(*options).stdout)["jobs"]
    report = json.loads(CliRunner().invoke(cli, ["check", "--isolated", *options]).stdout)
    (checked,) = report["jobs"]

    assert (checked["verdict"], checked["lengths"]) == (estimated["verdict"], estimated["lengths"])
    assert [one["severity"] for one in report["findings"] if one["code"] == "KT515"] == [severity] * (
        severity is not None
    )


def test_data_is_cut_where_the_manifest_cuts_it(manifest: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = ["x" * length for length in (30, 90, 3 * 1280, 3 * 5000)]

    def seq_len(num_rows: int) -> int:
        rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:num_rows]), encoding="utf-8")
        result = estimate(manifest, "--model", "falcon-7b", "--data", str(rows), "--format", "json")
        found: int = json.loads(result.stdout)["jobs"][0]["seq_len"]
        return found

    assert [seq_len(2), seq_len(3), seq_len(4)] == [30, 1280, 1400]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--batching", "packed"), "set `packing` or `group_by_length` in the manifest"),
        (("--holds-outputs",), "neither Kaito nor `kaitoc run` keeps a step's outputs"),
        (("--batch", "4"), "--batch cannot be combined with manifests"),
        (("--no-checkpointing",), "--no-checkpointing cannot be combined with manifests"),
        (("--stack", "transformers-5"), "--stack cannot be combined with manifests"),
        (
            ("--task", "serve", "--batching", "packed"),
            "--batching applies to a fine-tune only",
        ),
        (
            ("--task", "serve", "--holds-outputs"),
            "--holds-outputs applies to a fine-tune only",
        ),
        (("--data", "nowhere.jsonl", "--lengths", "20,60,128"), "--lengths and --data are mutually exclusive"),
    ],
)
def test_what_a_manifest_answers_is_refused(manifest: str, options: tuple[str, ...], told: str) -> None:
    result = estimate(manifest, "--model", "falcon-7b", *options)

    assert result.exit_code == 2
    assert told in result.stderr


def test_a_size_is_solved_for_by_the_longest_batch_alone(small: tuple[str, ...]) -> None:
    options = (*small, "--lengths", "20,60,128", "--gpu", "T4", "--solve", "batch", "--format", "json")
    result = estimate(*options)

    assert result.exit_code == 0
    assert lengths_of(result) is None
    assert "--solve assumes the longest batch" in result.stderr
