"""Commands, settings files and the Python API agree on bounds and words, and say what of a request they leave out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import kaitoc
from kaitoc.compiler.cli import cli
from kaitoc.compiler.memory.sharing import SharingRequest

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "examples/demo.yaml")
OUTGROWN = ("--model", "llama-3.1-8b", "--gpu", "L4-24GB", "--gpus", "2", "--seq-len", "8192", "--no-checkpointing")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def job_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("estimate", *arguments, "--format", "json").stdout)["jobs"][0]
    return found


def test_auto_that_cannot_split_what_outgrows_a_gpu_says_why() -> None:
    result = run("estimate", *OUTGROWN, "--stack", "trl-chunked", "--method", "qlora", "--quantization", "int8")

    assert "2 GPUs with ddp" in result.stdout
    assert (
        "note: auto keeps whole copies (ddp), although one outgrows the GPU: 8-bit weights cannot be sharded; use "
        "4-bit (nf4)" in result.stderr
    )


def test_whole_copies_that_fit_need_no_reason() -> None:
    small = ("--model", "qwen2.5-0.5b", "--gpu", "L4-24GB", "--gpus", "2", "--stack", "trl-chunked")

    assert "auto keeps" not in run("estimate", *small, "--method", "qlora", "--quantization", "int8").stderr


@pytest.mark.parametrize("quantization", ["int8", "gptq"])
def test_no_note_advises_shards_that_there_are_not(quantization: str) -> None:
    words = (*OUTGROWN, "--stack", "trl-chunked", "--method", "qlora", "--quantization", quantization)
    notes = run("estimate", *words, "--shard-group", "2").stderr

    assert "--shard-group 2 has no effect: each GPU holds a whole copy (ddp)" in notes
    assert "--sharding fsdp2" not in notes


@pytest.mark.parametrize("word", ["fsdp2", "fsdp"])
def test_fsdp2_on_a_stack_that_lacks_it_is_answered_with_a_note(word: str) -> None:
    result = run("estimate", *OUTGROWN, "--stack", "transformers-4.45", "--sharding", word)

    assert "2 GPUs with fsdp2" in result.stdout
    assert "note: accelerate 0.34 of transformers-4.45 has no FSDP2" in result.stderr


def test_stacks_without_fsdp2_are_advised_what_they_have() -> None:
    copies = run("estimate", *OUTGROWN, "--stack", "transformers-4.45").stdout
    group = run("estimate", *OUTGROWN, "--stack", "transformers-4.45", "--shard-group", "2")

    assert "shards instead of whole copies (fsdp1)" in copies
    assert "has no FSDP2" not in group.stderr


def test_the_change_that_saves_most_is_named_beside_options_of_shards() -> None:
    words = (*OUTGROWN, "--stack", "trl-chunked", "--method", "qlora", "--quantization", "int8")

    assert "GiB  gradient checkpointing" in run("estimate", *words, "--shard-group", "2").stdout


def test_one_process_holds_what_each_of_several_does_in_host_memory() -> None:
    alone, two = job_of("--model", "phi-4"), job_of("--model", "phi-4", "--gpus", "2")

    assert 2 * alone["host_bytes"] == two["host_bytes"]
    assert re.search(r"host memory +27\.\d+  in addition to the GPU", run("estimate", "--model", "phi-4").stdout)


@pytest.mark.parametrize("stated", ["margin = 91", "margin = -1", "gpu-memory = 0.5", "gpu-memory = 81920"])
def test_a_settings_file_takes_what_the_option_takes(stated: str, tmp_path: Path) -> None:
    settings = tmp_path / "kaitoc.toml"
    settings.write_text(f"{stated}\n")
    name, _, value = stated.partition(" = ")
    option = run("check", DEMO, f"--{name}={value}")
    file = run("check", DEMO, "--config", str(settings))

    assert option.exit_code == file.exit_code == 2
    assert f"{name}: expected a number" in option.stderr
    assert f"{name}: expected a number" in file.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin_percent", math.nan),
        ("margin_percent", 91),
        ("gpu_memory_gib", math.inf),
        ("gpu_memory_gib", -1),
        ("seq_len_tokens", 0),
        ("target", "aks"),
        ("attention", "fast"),
        ("prices", (("Standard_NC24ads_A100_v4", math.nan),)),
    ],
)
def test_the_api_refuses_what_no_option_takes_by_name(name: str, value: Any) -> None:
    overrides = kaitoc.Overrides(**{name: value})

    for ask in (kaitoc.check, kaitoc.compile, kaitoc.estimate):
        with pytest.raises(kaitoc.AssumptionError, match=name):
            ask(DEMO, assume=overrides)


def test_compile_sizes_a_run_by_the_rows_that_check_and_estimate_are_told_of() -> None:
    estimated = job_of(DEMO, "--lengths", "50,80,120", "--target", "bundled")
    compiled = run("compile", DEMO, "--lengths", "50,80,120", "--target", "bundled").stdout
    whole = run("compile", DEMO, "--target", "bundled").stdout
    needs = estimated["peak_bytes"]["device"] / 2**30

    assert f"peak   {needs:.1f} GiB -> " in compiled
    assert compiled != whole


def test_manifests_that_are_emitted_are_sized_without_rows() -> None:
    result = run("compile", DEMO, "--emit", "trainjob", "--lengths", "50,80,120")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--emit sizes the run by `max_length`; leave out --lengths" in result.stderr


def test_the_name_of_a_model_in_place_of_a_path_is_said_to_be_one() -> None:
    result = run("estimate", "phi-4", "--method", "lora")

    assert "phi-4: no such file; to estimate the model of that name, write --model phi-4" in result.stderr
    assert run("estimate", "--model", "phi-4", "--method", "lora").exit_code == 0


def test_the_speed_of_a_run_that_does_not_fit_is_not_promised() -> None:
    short = run("estimate", "--model", "llama-3.3-70b-instruct", "--gpu", "T4", "--samples", "100").stdout
    fitting = run("estimate", "--model", "phi-4", "--gpu", "A100-80GB", "--samples", "100").stdout

    assert "the run does not fit; if it did: " in short
    assert "if it did" not in fitting


def test_a_price_beside_a_size_that_is_solved_for_is_not_sent_to_an_option_that_is_refused() -> None:
    price = "Standard_NC24ads_A100_v4=3.67"
    result = run("estimate", "--model", "phi-4", "--solve", "gpus", "--price", price)

    assert "--solve gpus is incompatible with --price; leave one of them out" in result.stderr
    assert run("estimate", "--model", "phi-4", "--solve", "gpus").exit_code == 0


EMPTY = {"nothing.jsonl": "", "blank.txt": " \n", "header.csv": "text\n", "list.json": "[]\n"}


@pytest.mark.parametrize("name", EMPTY)
def test_no_plan_is_made_of_data_without_rows(name: str, tmp_path: Path) -> None:
    data = tmp_path / name
    data.write_text(EMPTY[name])
    result = run("run", DEMO, "--data", str(data), "--dry-run")

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{data}: there are no rows" in result.stderr


def test_no_plan_is_made_of_a_folder_without_data(tmp_path: Path) -> None:
    assert "no data file in it" in run("run", DEMO, "--data", str(tmp_path), "--dry-run").stderr


def test_a_plan_for_another_machine_names_data_that_is_not_on_this_one() -> None:
    result = run("run", DEMO, "--data", "/nowhere/rows.jsonl", "--dry-run")

    assert json.loads(result.stdout)["data"]["paths"] == ["/nowhere/rows.jsonl"]
    assert "note: --data: /nowhere/rows.jsonl: no such file or folder on this machine" in result.stderr


def test_data_that_is_downloaded_is_not_looked_for_here() -> None:
    result = run("run", DEMO, "--data", "https://example.com/rows.jsonl", "--dry-run")

    assert result.exit_code == 0
    assert "no such file" not in result.stderr


READ = ("docs", "rules", "compiler/cli", "compiler/report", "compiler/passes", "compiler/plan", "compiler/job",
        "runtime", "kaitoc", "schemas")  # fmt: skip
BRITISH = re.compile(r"\w*(?:quantis|colour|tokenis|optimis|normalis)\w*", re.IGNORECASE)


def test_what_users_read_is_spelled_as_the_field_spells_it() -> None:
    texts = [path for folder in READ for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py", ".json")]
    found = {str(path): words for path in texts if (words := BRITISH.findall(path.read_text()))}

    assert texts
    assert found == {}


@pytest.mark.parametrize(
    "words", [("--sharding", "fsdp1"), ("--sharding", "zero3"), ("--sharding", "fsdp2", "--no-reshard")]
)
def test_no_note_sends_to_kaitoc_run_for_what_it_does_not_do(words: tuple[str, ...]) -> None:
    notes = run("estimate", "--model", "phi-4", "--gpus", "8", *words).stderr

    assert f"`{words[1]}` needs another launcher" in notes
    assert "kaitoc run" not in notes


def test_activation_offload_under_shards_is_an_upper_bound_by_options_as_in_a_manifest() -> None:
    words = ("--model", "phi-4", "--gpus", "8", "--sharding", "fsdp2", "--target", "bundled")
    offloaded = run("estimate", *words, "--activation-offload")

    assert offloaded.stdout == run("estimate", *words).stdout
    assert "note: activation offload is not predicted for shards" in offloaded.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--method", "qlora", "--quantization", "int8"), "8-bit weights cannot be sharded; use 4-bit (nf4)"),
        (("--method", "full", "--task", "dpo"), "a fully fine-tuned model cannot be sharded with its reference (dpo)"),
        (("--method", "full", "--gpu", "T4"), "even over 64 T4 the model takes 1"),
        (("--method", "qlora", "--gpu", "T4"), "GiB of each while it is loaded; use larger GPUs"),
        (("--stack", "transformers-4.45", "--method", "full"), "`--sharding fsdp1` estimates shards"),
        (("--batch", "64", "--no-checkpointing", "--gpu", "H100-80GB"), "activations and logits are not divided"),
    ],
)
def test_what_keeps_any_number_of_gpus_from_being_enough_is_said(words: tuple[str, ...], why: str) -> None:
    target = () if "--stack" in words or "dpo" in words else ("--target", "bundled")
    gpu = () if "--gpu" in words else ("--gpu", "L4-24GB")
    result = run("estimate", "--model", "llama-3.3-70b-instruct", "--solve", "gpus", *target, *gpu, *words)

    assert result.exit_code == 1
    assert why in result.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", [(), ("--shard-group", "4"), ("--gpus", "1")])
def test_shards_on_machines_of_one_gpu_are_told_how_many_they_take(words: tuple[str, ...]) -> None:
    asked = ("estimate", "--model", "phi-4", "--gpu", "Standard_NC24ads_A100_v4", "--sharding", "fsdp2")
    refused = run(*asked, *words)
    nodes = re.search(r"Standard_NC24ads_A100_v4 has 1 GPU: add --nodes (\d+)", refused.stderr)

    assert refused.exit_code == 2
    assert nodes is not None, refused.stderr
    followed = [word for word in words if word not in ("--gpus", "1")]
    assert run(*asked, *followed, "--nodes", nodes[1]).exit_code == 0


def test_fewer_gpus_are_no_way_out_of_a_machine_that_has_too_few_to_share() -> None:
    words = ("estimate", "--model", "phi-4", "--gpu", "Standard_NC24ads_A100_v4", "--gpus", "2")

    assert "take --gpus 1" in run(*words).stderr
    shared = run(*words, "--sharding", "fsdp2")
    assert "2 need --nodes 2" in shared.stderr
    assert "take --gpus" not in shared.stderr
    assert run(*words, "--sharding", "fsdp2", "--nodes", "2").exit_code == 0


def test_an_epoch_of_seconds_is_told_in_seconds() -> None:
    words = ("estimate", "--model", "qwen2.5-0.5b", "--gpu", "H100-80GB", "--seq-len", "512")

    assert re.search(r"an epoch of 100 samples: \d+ s\b", run(*words, "--samples", "100").stdout)
    assert re.search(r"an epoch of 1,000,000 samples: [\d.]+ h\b", run(*words, "--samples", "1000000").stdout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "dora"),
        ("task", "grpo"),
        ("dtype", "float8"),
        ("optimizer", "lion"),
        ("quantization", "hqq"),
        ("sharing", SharingRequest("zero2")),
    ],
)
def test_a_description_in_python_is_refused_by_the_name_of_its_field(name: str, value: Any) -> None:
    with pytest.raises(kaitoc.EstimateError, match=rf"{name}: `\w+` is not one of"):
        kaitoc.estimate(kaitoc.FineTune(kaitoc.architecture("phi-4"), **{name: value}))


def test_assumptions_in_python_take_the_words_of_sharding() -> None:
    with pytest.raises(kaitoc.AssumptionError, match="sharing: `zero2` is not one of auto, ddp"):
        kaitoc.check(DEMO, assume=kaitoc.Overrides(sharing=SharingRequest("zero2")))


@pytest.mark.parametrize("stated", [{"sharding": "zero2"}, {"task": "grpo"}, {"samples": -1}, {"early_stopping": 0}])
def test_a_plan_in_python_is_refused_by_the_name_of_its_parameter(stated: dict[str, Any]) -> None:
    with pytest.raises(kaitoc.RunError, match=next(iter(stated))):
        kaitoc.plan(DEMO, **stated)


@pytest.mark.parametrize("kind", ["fsdp1", "zero3"])
@pytest.mark.parametrize("processes", [(), ("--num-processes", "1"), ("--num-processes", "8")])
def test_run_refuses_by_name_what_it_does_not_shard_with(kind: str, processes: tuple[str, ...]) -> None:
    result = run("run", DEMO, "--dry-run", "--sharding", kind, *processes)

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"the bundled runtime shards with fsdp2, not with {kind}" in result.stderr
