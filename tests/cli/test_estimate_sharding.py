"""`kaitoc estimate` for several GPUs: who shares what, what one process needs, and what no job can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

MODEL = ("--model", "llama-3.3-70b-instruct", "--checkpointing", "--seq-len", "2048")


def estimate(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["estimate", *arguments])


def job_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(estimate(*MODEL, "--format", "json", *arguments).stdout)["jobs"][0]
    return found


def test_a_70b_model_that_no_gpu_holds_fits_eight_that_share_it() -> None:
    alone = job_of("--stack", "trl-chunked", "--gpu", "H100-80GB")
    shared = job_of("--stack", "trl-chunked", "--gpu", "H100-80GB", "--gpus", "8")

    assert alone["fits"] is False
    assert alone["sharding"] is None
    assert shared["fits"] is True
    assert shared["sharding"] == {
        "kind": "fsdp2",
        "num_gpus": 8,
        "num_nodes": 1,
        "shard_group": 8,
        "reshard_after_forward": True,
        "offload": "none",
    }


def test_the_peaks_of_a_process_are_told_by_phase_and_the_hosts_memory_beside_them() -> None:
    job = job_of("--gpus", "8", "--nodes", "2", "--sharding", "fsdp2")
    one_node = job_of("--gpus", "8", "--sharding", "fsdp2")

    assert set(job["phase_bytes"]) == {"load", "forward", "loss", "backward", "optimizer", "save"}
    assert job["peak_bytes"]["allocated"] == max(job["phase_bytes"].values())
    assert one_node["host_bytes"] == job["host_bytes"] > 0, "one process of each node reads the model"


def test_auto_is_whole_copies_on_kaitos_image_and_in_a_plain_trainer_script() -> None:
    for stack in ("kaito-v0.12", "transformers-5"):
        assert job_of("--gpus", "8", "--stack", stack, "--gpu", "H100-80GB")["sharding"]["kind"] == "ddp"


def test_auto_of_the_bundled_runtime_keeps_whole_copies_that_fit() -> None:
    small = ("--model", "qwen2.5-0.5b", "--stack", "trl-chunked", "--gpu", "H100-80GB", "--gpus", "8")
    found = json.loads(estimate(*small, "--format", "json").stdout)

    assert found["jobs"][0]["sharding"]["kind"] == "ddp"


def test_what_kaitos_image_cannot_do_is_estimated_with_a_note() -> None:
    result = estimate(*MODEL, "--gpus", "8", "--sharding", "fsdp2")

    assert "note: the image of kaito-v0.12 runs whole copies only" in result.stderr
    assert "8 GPUs with fsdp2" in result.stdout


def test_the_earlier_word_for_fsdp2_still_means_it() -> None:
    assert job_of("--gpus", "8", "--sharding", "fsdp") == job_of("--gpus", "8", "--sharding", "fsdp2")


@pytest.mark.parametrize("kind", ["fsdp1", "fsdp2", "zero3"])
def test_offloaded_parameters_move_from_the_gpu_to_the_host(kind: str) -> None:
    here = job_of("--gpus", "8", "--sharding", kind)
    there = job_of("--gpus", "8", "--sharding", kind, "--offload", "parameters")

    assert there["peak_bytes"]["allocated"] < here["peak_bytes"]["allocated"]
    assert there["host_bytes"] > here["host_bytes"]


def test_weights_that_stay_gathered_and_smaller_groups_need_more() -> None:
    least = job_of("--gpus", "8", "--sharding", "fsdp2")["peak_bytes"]["allocated"]

    assert job_of("--gpus", "8", "--sharding", "fsdp2", "--no-reshard")["peak_bytes"]["allocated"] > 2 * least
    assert job_of("--gpus", "8", "--sharding", "fsdp2", "--shard-group", "2")["peak_bytes"]["allocated"] > 2 * least


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpus", "8", "--nodes", "3"), "2 nodes would work"),
        (("--gpus", "3", "--nodes", "2"), "1 node would work"),
        (("--gpus", "8", "--nodes", "0"), "--nodes: expected an integer of at least 1, got `0`"),
        (("--gpus", "8", "--no-reshard"), "have no gathered weights to keep; use fsdp2"),
        (("--gpus", "8", "--sharding", "fsdp2", "--shard-group", "16"), "the nearest size is 8"),
        (("--gpus", "8", "--shard-group", "4"), "use fsdp2"),
        (("--gpus", "8", "--offload", "parameters"), "use fsdp2"),
        (("--sharding", "fsdp2"), "at least 2 GPUs"),
        (("--gpus", "8", "--sharding", "fsdp2", "--quantization", "int8"), "use 4-bit (nf4), or ddp"),
        (("--gpus", "16", "--gpu", "Standard_NC24ads_A100_v4"), "need --nodes 16"),
    ],
)
def test_a_job_that_cannot_be_is_an_error_that_names_the_nearest(arguments: tuple[str, ...], message: str) -> None:
    result = estimate(*MODEL, *arguments)

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message", "followed"),
    [
        ("--gpus 8 --nodes 3", "2 nodes would work", "--gpus 8 --nodes 2"),
        ("--gpus 8 --shard-group 3", "use fsdp2 with groups of 2", "--gpus 8 --sharding fsdp2 --shard-group 2"),
        ("--shard-group 4", "use fsdp2 on at least 4 GPUs", "--gpus 4 --sharding fsdp2 --shard-group 4"),
        ("--shard-group 1", "at least 2 GPUs with groups of 2", "--gpus 2 --sharding fsdp2 --shard-group 2"),
        ("--sharding fsdp2 --shard-group 4", "at least 4 GPUs", "--gpus 4 --sharding fsdp2 --shard-group 4"),
        ("--gpus 8 --sharding zero3 --shard-group 3", "fsdp2 for shard groups of 2",
         "--gpus 8 --sharding fsdp2 --shard-group 2"),
        ("--gpus 8 --sharding zero3 --shard-group 16", "nearest size is 8",
         "--gpus 8 --sharding zero3 --shard-group 8"),
        ("--offload parameters", "use fsdp2 on at least 2 GPUs", "--gpus 2 --sharding fsdp2 --offload parameters"),
        ("--gpus 4 --offload optimizer", "use zero3", "--gpus 4 --sharding zero3 --offload optimizer"),
        ("--no-reshard", "use fsdp2 on at least 2 GPUs", "--gpus 2 --sharding fsdp2 --no-reshard"),
        ("--gpus 8 --sharding fsdp2 --shard-group 4 --quantization int8", "use 4-bit (nf4)\n",
         "--gpus 8 --sharding fsdp2 --shard-group 4 --quantization nf4"),
        ("--gpus 7 --nodes 2 --gpu Standard_NC48ads_A100_v4", "--nodes 7, or take --gpus 4",
         "--gpus 4 --nodes 2 --gpu Standard_NC48ads_A100_v4"),
    ],
)  # fmt: skip
def test_the_nearest_that_an_error_names_works(arguments: str, message: str, followed: str) -> None:
    refused, answered = estimate(*MODEL, *arguments.split()), estimate(*MODEL, *followed.split())

    assert refused.exit_code == 2
    assert answered.exit_code < 2, answered.stderr
    assert message in refused.stderr


def test_an_instance_type_brings_all_its_gpus_unless_others_are_stated() -> None:
    def sharing_of(*words: str) -> tuple[int, int]:
        found = json.loads(estimate(*MODEL, *words, "--format", "json").stdout)["jobs"][0]["sharding"]
        return (found["num_gpus"], found["num_nodes"]) if found is not None else (1, 1)

    assert sharing_of("--gpu", "Standard_NC96ads_A100_v4") == (4, 1)
    assert sharing_of("--gpu", "Standard_NC96ads_A100_v4", "--nodes", "2") == (8, 2)
    assert sharing_of("--gpu", "Standard_NC96ads_A100_v4", "--gpus", "1") == (1, 1)
    assert sharing_of("--gpu", "A100-80GB", "--nodes", "2") == (2, 2)
    assert sharing_of("--gpu", "A100-80GB") == (1, 1)


@pytest.mark.parametrize("number", ["1000000000", "99999999999999999999"])
def test_more_gpus_than_any_job_has_are_refused_at_once(number: str) -> None:
    words = ("--gpus", number, "--nodes", "3", "--sharding", "fsdp2", "--shard-group", "3")

    for gpu in ("H100-80GB", "Standard_ND96isr_H100_v5"):
        result = estimate(*MODEL, *words, "--gpu", gpu)
        assert result.exit_code == 2
        assert f"the number of GPUs must be at most 100,000, not {int(number):,}" in result.stderr


@pytest.mark.parametrize("option", [("--shard-group", "4"), ("--offload", "parameters"), ("--no-reshard",)])
def test_what_whole_copies_leave_without_effect_is_said(option: tuple[str, ...]) -> None:
    bundled = ("--model", "qwen2.5-0.5b", "--target", "bundled", "--gpus", "8", "--gpu", "H100-80GB")
    kept, split = estimate(*bundled, *option), estimate(*bundled, *option, "--sharding", "fsdp2")

    assert kept.exit_code == split.exit_code == 0
    assert f"{' '.join(option)} has no effect: each GPU holds a whole copy (ddp)" in kept.stderr
    assert "no effect" not in split.stderr


def test_links_that_are_not_known_widen_the_interval_and_are_named() -> None:
    def width_of(*gpu: str) -> tuple[int, str]:
        result = estimate("--model", "qwen2.5-0.5b", "--gpus", "2", *gpu, "--format", "json")
        found = json.loads(result.stdout)["jobs"][0]["interval_bytes"]
        return found["high"] - found["low"], result.stderr

    known, unknown = width_of("--gpu", "A10-24GB"), width_of("--gpu-memory", "22")

    assert unknown[0] > known[0] + (200 << 20)
    assert "the link between the GPUs is not known; assuming PCIe" in unknown[1]
    assert "not known" not in known[1]


def test_a_group_that_no_number_of_gpus_helps_is_named_as_the_reason() -> None:
    options = ("--model", "llama-3.3-70b-instruct", "--method", "full", "--target", "bundled", "--solve", "gpus")
    result = estimate(*options, "--gpu", "H100-80GB", "--sharding", "fsdp2", "--shard-group", "8")

    assert result.exit_code == 1
    assert "a copy has to fit on 8 GPUs; leave --shard-group out, or make the groups larger" in result.stdout
