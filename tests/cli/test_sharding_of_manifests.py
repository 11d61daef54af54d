"""`kaitoc estimate` and `check` take the GPUs of a job and their sharding for manifests too; `--solve gpus`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types
from kaitoc.compiler.cli import cli
from kaitoc.compiler.job.possible import lacking_gpus
from kaitoc.compiler.memory.closed_form.validation import nearest_divisor

SHARED = ("--gpus", "8", "--sharding", "fsdp2")
LARGE = ("--model", "llama-3.3-70b-instruct", "--checkpointing", "--seq-len", "2048")
JOB = """apiVersion: v1
kind: ConfigMap
metadata: {name: params}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {torch_dtype: bfloat16}
      LoraConfig: {r: 16, lora_alpha: 16, target_modules: [q_proj, v_proj]}
      TrainingArguments:
        output_dir: /mnt/results
        max_length: 512
        per_device_train_batch_size: 1
        gradient_checkpointing: true
        bf16: true
      DatasetConfig: {train_test_split: 1}
      DataCollator: {mlm: false}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tune}
resource:
  instanceType: INSTANCE
  labelSelector: {matchLabels: {app: tune}}
tuning:
  preset: {name: llama-3.3-70b-instruct}
  method: lora
  config: params
  input: {urls: ["https://example.com/data.json"]}
  output: {image: example.com/tuned:1, imagePushSecret: secret}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def job_in(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["jobs"][0]
    return found


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Return a LoRA of a 70B model on a node of four A100."""
    path = tmp_path / "tune.yaml"
    path.write_text(JOB.replace("INSTANCE", "Standard_NC96ads_A100_v4"))
    return str(path)


def test_the_gpus_of_a_manifest_share_the_model_as_asked_for(manifest: str) -> None:
    stated = job_in(run("estimate", manifest, "--format", "json").stdout)
    shared = job_in(run("estimate", manifest, "--format", "json", *SHARED, "--nodes", "2").stdout)

    assert (stated["sharding"]["kind"], stated["sharding"]["num_gpus"], stated["fits"]) == ("ddp", 4, False)
    assert (shared["sharding"]["kind"], shared["sharding"]["num_gpus"], shared["fits"]) == ("fsdp2", 8, True)


def test_nodes_alone_take_all_gpus_of_the_instance_type(manifest: str) -> None:
    job = job_in(run("estimate", manifest, "--format", "json", "--nodes", "3").stdout)

    assert (job["sharding"]["num_gpus"], job["sharding"]["num_nodes"]) == (12, 3)


@pytest.mark.parametrize(
    ("gpu", "num_gpus"),
    [("Standard_NC48ads_A100_v4", 2), ("Standard_ND96isr_H100_v5", 8), ("A100-80GB", 4), ("H100-80GB", 4)],
)
def test_an_assumed_instance_type_brings_its_own_gpus_and_a_gpu_alone_does_not(
    gpu: str, num_gpus: int, manifest: str
) -> None:
    job = job_in(run("estimate", manifest, "--format", "json", "--gpu", gpu).stdout)

    assert job["sharding"]["num_gpus"] == num_gpus


def test_an_epoch_costs_what_as_many_gpus_as_the_priced_machine_has_take(manifest: str) -> None:
    words = ("--gpu", "Standard_NC24ads_A100_v4", "--samples", "1000", "--price", "Standard_NC24ads_A100_v4=4")
    assumed = job_in(run("estimate", manifest, "--format", "json", *words).stdout)
    stated = job_in(run("estimate", manifest, "--format", "json", *words, "--gpus", "1").stdout)

    assert assumed["sharding"] is None
    assert assumed["epoch"] == stated["epoch"]
    assert assumed["epoch"]["usd"] == pytest.approx(4 * assumed["epoch"]["hours"])


@pytest.mark.parametrize("sharing", [("--gpus", "1"), (), ("--sharding", "fsdp2"), ("--sharding", "fsdp1")])
@pytest.mark.parametrize("saved", [None, "lm_head"])
def test_options_of_the_bundled_runtime_are_answered_as_its_manifest_is(
    sharing: tuple[str, ...], saved: str | None, manifest: str
) -> None:
    path = Path(manifest)
    text = path.read_text().replace("max_length: 512", "max_length: 512\n        gradient_accumulation_steps: 4")
    path.write_text(text if saved is None else text.replace("{r: 16,", f"{{r: 16, modules_to_save: [{saved}],"))
    options = (
        *("--model", "llama-3.3-70b-instruct", "--seq-len", "512", "--accumulation", "4", "--rank", "16"),
        *("--targets", "q_proj,v_proj", "--gpu", "Standard_NC96ads_A100_v4", "--optimizer", "adamw_fused"),
        *(() if saved is None else ("--modules-to-save", saved)),
    )
    described, written = (
        job_in(run("estimate", *words, *sharing, "--target", "bundled", "--format", "json").stdout)
        for words in (options, (manifest,))
    )

    for part in ("footprint", "peak_bytes", "interval_bytes", "phase_bytes", "host_bytes", "sharding", "verdict"):
        assert described[part] == written[part], part


def test_check_judges_memory_by_the_sharding_that_is_assumed(manifest: str) -> None:
    def codes(*options: str) -> set[str]:
        found = json.loads(run("check", manifest, "--format", "json", "--isolated", *options).stdout)
        return {finding["code"] for finding in found["findings"]} & {"KT501", "KT509"}

    assert codes() == {"KT509"}
    assert codes("--sharding", "fsdp2") == set()
    assert codes("--target", "bundled") == set(), "the bundled runtime shards by itself"


@pytest.mark.parametrize("command", ["estimate", "check"])
def test_kaitos_image_is_said_to_run_whole_copies_only(command: str, manifest: str) -> None:
    note = "whole copies only (ddp); `fsdp2` needs `kaitoc run`"

    assert note in run(command, manifest, *SHARED, "--nodes", "2").stderr
    assert note not in run(command, manifest, *SHARED, "--nodes", "2", "--target", "bundled").stderr


NOTES = {
    "a shard group of whole copies": (
        "--shard-group",
        "4",
        "--gpu",
        "H200-141GB",
        "--gpus",
        "8",
        "--model",
        "llama-3.1-8b-instruct",
    ),
    "shards kept gathered and parameters on the host": (
        *SHARED,
        "--nodes",
        "2",
        "--no-reshard",
        "--offload",
        "parameters",
    ),
    "DeepSpeed": ("--sharding", "zero3"),
    "links that are not known": ("--gpu-memory", "80"),
    "lengths of shards": ("--lengths", "100,200,500"),
    "offload on one GPU": ("--gpus", "1", "--offload", "parameters"),
    "none": (),
}


@pytest.mark.parametrize("options", NOTES.values(), ids=NOTES)
@pytest.mark.parametrize("has_offload", [False, True], ids=["", "activations on the host"])
def test_check_and_compile_assume_what_estimate_assumes(
    options: tuple[str, ...], has_offload: bool, manifest: str
) -> None:
    if has_offload:
        text = Path(manifest).read_text()
        Path(manifest).write_text(text.replace("bf16: true", "bf16: true\n        activation_offloading: true"))
    notes = notes_in(run("estimate", manifest, "--target", "bundled", *options))

    assert notes_in(run("check", manifest, "--isolated", "--target", "bundled", *options)) == notes
    assert len(notes) >= bool(options)
    if options in ((), NOTES["links that are not known"]):
        assert notes_in(run("compile", manifest, "--isolated", "--target", "bundled", "-o", "-", *options)) == notes


def notes_in(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("kaitoc: note: ")]


def test_what_another_launcher_has_to_do_is_said(manifest: str) -> None:
    (note,) = notes_in(run("check", manifest, "--target", "bundled", *SHARED, "--nodes", "2", "--no-reshard"))

    assert "`kaitoc run` does not support --no-reshard; use another launcher for it" in note


def test_a_note_on_many_manifests_is_said_once(manifest: str) -> None:
    path = Path(manifest)
    path.with_name("other.yaml").write_text(path.read_text().replace("tune", "other").replace("params", "more"))

    assert len(notes_in(run("check", str(path.parent), "--gpu-memory", "80"))) == 1


BAD = [
    (("--gpus", "16"), "need --nodes 4, or take --gpus 4"),
    (("--gpus", "4", "--gpu", "Standard_NC48ads_A100_v4"), "need --nodes 2, or take --gpus 2"),
    (("--gpus", "8", "--nodes", "3"), "2 nodes would work"),
    (("--gpus", "10", "--nodes", "3"), "need --nodes 5, or take --gpus 12"),
    (("--gpus", "1", "--nodes", "2"), "1 GPU cannot be spread evenly over 2 nodes; 1 node would work"),
    (("--gpus", "1", "--sharding", "fsdp2"), "fsdp2 needs at least 2 GPUs"),
    (("--sharding", "fsdp2", "--offload", "optimizer"), "use parameters, or zero3"),
    (("--sharding", "zero3", "--shard-group", "2"), "use fsdp2 for shard groups of 2"),
    (("--sharding", "fsdp2", "--shard-group", "16"), "the nearest size is 4"),
    (("--sharding", "ddp", "--offload", "parameters"), "use fsdp2"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_gpus_that_a_manifest_cannot_have_are_an_error_that_names_the_nearest(
    options: tuple[str, ...], message: str, manifest: str
) -> None:
    estimated = run("estimate", manifest, *options)
    checked = run("check", manifest, "--isolated", "--format", "json", *options)
    (found,) = (one for one in json.loads(checked.stdout)["findings"] if one["code"] == "KT516")

    assert (estimated.exit_code, message in estimated.stderr) == (2, True)
    assert (checked.exit_code, message in found["message"]) == (1, True)


def test_8_bit_weights_that_a_manifest_splits_are_refused_by_every_command(manifest: str) -> None:
    text = Path(manifest).read_text().replace("bf16: true", "bf16: true\n        fsdp: full_shard")
    Path(manifest).write_text(
        text.replace("      LoraConfig", "      QuantizationConfig: {load_in_8bit: true}\n      LoraConfig")
    )
    bundled = (manifest, "--isolated", "--target", "bundled")
    checked = run("check", *bundled, "--format", "json")

    assert "KT516" in {finding["code"] for finding in json.loads(checked.stdout)["findings"]}
    assert run("compile", *bundled, "-o", "-").exit_code == 1
    assert (
        run("estimate", *bundled).exit_code == run("run", *bundled, "--dry-run", "--num-processes", "4").exit_code == 2
    )
    assert run("run", *bundled, "--dry-run", "--num-processes", "1").exit_code == 0, "one process splits nothing"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([one for one in all_instance_types() if one.gpu is not None]), st.integers(1, 70), st.integers(1, 9)
)
def test_the_nearest_gpus_and_nodes_are_possible(instance: InstanceType, num_gpus: int, num_nodes: int) -> None:
    told = lacking_gpus(instance, num_gpus, num_nodes)
    if not told:
        nearest = nearest_divisor(num_gpus, num_nodes)
        assert num_gpus <= instance.num_gpus * nearest, "which is what an uneven division names"
        return
    nodes, gpus = map(int, re.findall(r"--(?:nodes|gpus) (\d+)", told))

    assert num_gpus % nodes == 0
    assert not lacking_gpus(instance, num_gpus, nodes)
    assert gpus % num_nodes == 0
    assert not lacking_gpus(instance, gpus, num_nodes)


def test_the_fewest_gpus_that_fit_are_found_with_the_instance_type_that_has_them() -> None:
    result = run("estimate", *LARGE, "--target", "bundled", "--solve", "gpus", "--gpu", "A100-80GB")
    job = job_in(
        run("estimate", *LARGE, "--target", "bundled", "--solve", "gpus", "--gpu", "A100-80GB", "-f", "json").stdout
    )

    assert result.exit_code == 0
    assert "smallest that fits: 3 GPUs, A100-80GB (3 nodes of Standard_NC24ads_A100_v4)" in result.stdout
    assert (job["instance_type"], job["sharding"]["num_gpus"], job["verdict"]) == (
        "Standard_NC24ads_A100_v4",
        3,
        "fits",
    )
    fewer = job_in(
        run("estimate", *LARGE, "--target", "bundled", "--gpu", "A100-80GB", "--gpus", "2", "-f", "json").stdout
    )
    assert fewer["verdict"] != "fits"


def test_a_named_instance_type_is_taken_whole() -> None:
    node = ("--solve", "gpus", "--gpu", "Standard_NC96ads_A100_v4")

    assert "4 GPUs, A100-80GB (1 node of" in run("estimate", *LARGE, "--target", "bundled", *node).stdout


def test_where_no_number_fits_the_exit_code_and_the_verdict_say_so() -> None:
    whole = run("estimate", *LARGE, "--solve", "gpus", "--gpu", "A100-80GB")
    small = run(
        "estimate", *LARGE, "--sharding", "fsdp2", "--batch", "8", "--solve", "gpus", "--gpu", "T4-16GB", "-f", "json"
    )

    assert (whole.exit_code, small.exit_code) == (1, 1)
    assert "no number of GPUs certainly fits: each GPU holds a whole copy (ddp); `--sharding fsdp2`" in whole.stdout
    assert job_in(small.stdout)["verdict"] == "does-not-fit"
    assert job_in(small.stdout)["instance_type"] is None


def test_a_manifest_is_solved_for_too(manifest: str) -> None:
    result = run("estimate", manifest, "--target", "bundled", "--solve", "gpus", "--gpu", "H100-80GB")

    assert result.exit_code == 0
    assert "smallest that fits: " in result.stdout


def test_what_no_number_of_gpus_makes_possible_is_an_error() -> None:
    result = run("estimate", *LARGE, "--sharding", "fsdp2", "--quantization", "int8", "--solve", "gpus")

    assert result.exit_code == 2
    assert "use 4-bit (nf4), or ddp" in result.stderr
