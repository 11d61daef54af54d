"""`kaitoc estimate --solve seq-len|batch|rank` and `--samples`: the largest that fits, and the time of an epoch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

INSTANCE = "Standard_NV36ads_A10_v5"
QLORA = ("--model", "phi-4", "--method", "qlora", "--gpu", INSTANCE)


def estimate(*words: str) -> Result:
    return CliRunner().invoke(cli, ["estimate", *words])


def job_of(result: Result) -> dict[str, Any]:
    (job,) = json.loads(result.stdout)["jobs"]
    return dict(job)


@pytest.mark.parametrize("size", ["seq-len", "batch", "rank"])
def test_the_largest_fits_and_the_next_does_not(size: str) -> None:
    solved = job_of(estimate(*QLORA, "--solve", size, "-f", "json"))["solved"]
    value = solved["value"]

    assert solved == {"size": size, "value": value}
    assert job_of(estimate(*QLORA, f"--{size}", str(value), "-f", "json"))["verdict"] == "fits"
    assert job_of(estimate(*QLORA, f"--{size}", str(value + 1), "-f", "json"))["verdict"] != "fits"


def test_the_estimate_is_that_of_the_largest() -> None:
    result = estimate(*QLORA, "--solve", "seq-len", "-f", "json")
    job = job_of(result)

    assert result.exit_code == 0
    assert job["seq_len"] == job["solved"]["value"]


def test_the_text_names_the_option_to_write() -> None:
    result = estimate(*QLORA, "--solve", "batch")

    assert "largest that certainly fits A10-24GB: --batch " in result.stdout


def test_what_fits_with_no_size_exits_with_1() -> None:
    result = estimate("--model", "phi-4", "--method", "lora", "--gpu", INSTANCE, "--solve", "seq-len", "-f", "json")

    assert result.exit_code == 1
    assert job_of(result)["solved"] == {"size": "seq-len", "value": 0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "phi-4", "--solve", "batch"), "--solve batch needs a GPU as its limit"),
        (("--model", "gpt2", "--method", "full", "--gpu", INSTANCE, "--solve", "rank"), "full fine-tuning has no rank"),
        ((*QLORA, "--solve", "batch", "--sweep", "batch=1:4"), "incompatible with --sweep"),
        ((*QLORA, "--solve", "concurrency"), "--task serve"),
        (("--model", "phi-4", "--samples", "10"), "name one with --gpu"),
        ((*QLORA, "--samples", "10", "--price", "A10=3"), "cannot set a price for `A10`"),
    ],
)
def test_contradictions_are_one_line_and_exit_code_2(words: tuple[str, ...], message: str) -> None:
    result = estimate(*words)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_epoch_is_tokens_over_speed_and_costs_hours_times_price() -> None:
    epoch = job_of(
        estimate(*QLORA, "--seq-len", "512", "--samples", "10000", "--price", f"{INSTANCE}=3", "-f", "json")
    )["epoch"]

    assert epoch["samples"] == 10000
    assert epoch["hours"] == pytest.approx(10000 * 512 / epoch["tokens_per_second"] / 3600)
    assert epoch["usd"] == pytest.approx(3 * epoch["hours"])


def test_an_epoch_without_a_price_costs_nothing_known() -> None:
    result = estimate(*QLORA, "--samples", "10000")

    assert "an epoch of 10,000 samples: " in result.stdout
    assert "USD" not in result.stdout
    assert job_of(estimate(*QLORA, "-f", "json"))["epoch"] is None


def test_an_epoch_on_several_machines_has_an_interval_and_says_what_it_assumes() -> None:
    model = ("--model", "llama-3.1-8b-instruct", "--stack", "trl-chunked", "--seq-len", "2048", "--samples", "10000")
    shared = ("--gpus", "8", "--nodes", "2", "--sharding", "fsdp2", "--price", "Standard_NC96ads_A100_v4=14")
    words = (*model, *shared, "--gpu", "Standard_NC96ads_A100_v4")
    epoch = job_of(estimate(*words, "-f", "json"))["epoch"]
    interval, text = epoch["tokens_per_second_interval"], estimate(*words).stdout

    assert epoch["usd"] == pytest.approx(2 * 14 * epoch["hours"])
    assert interval["low"] < epoch["tokens_per_second"] < interval["high"]
    assert len(epoch["assumptions"]) == 2
    assert all(assumption in text for assumption in epoch["assumptions"])
    assert f"(between {interval['low']:,.0f} and {interval['high']:,.0f})" in text


def test_a_run_that_nearly_fills_its_gpu_may_be_slower() -> None:
    no_margin = (*QLORA, "--margin", "0")
    room = job_of(estimate(*no_margin, "--solve", "seq-len", "-f", "json"))["solved"]["value"]
    jobs = [
        job_of(estimate(*no_margin, "--seq-len", str(size), "--samples", "10", "-f", "json"))
        for size in (room, room + 1)
    ]
    roomy, full = (job["epoch"] for job in jobs)

    assert [job["verdict"] for job in jobs] == ["fits", "tight"]
    assert (roomy["assumptions"], roomy["tokens_per_second_interval"]["low"]) == ([], roomy["tokens_per_second"])
    assert "nearly full" in full["assumptions"][0]
    assert full["tokens_per_second_interval"]["low"] < full["tokens_per_second"]


def test_a_sweep_says_why_reserved_memory_falls() -> None:
    falling = estimate("--model", "gpt2", "--method", "full", "--seq-len", "512", "--sweep", "batch=1:4")
    rising = estimate("--model", "gpt2", "--seq-len", "512", "--sweep", "batch=2:4")

    assert "reserved memory falls where larger blocks leave fewer gaps" in falling.stdout
    assert "falls" not in rising.stdout


def test_a_gpu_that_is_known_by_its_memory_alone_has_an_assumed_speed_and_links_that_may_be_faster() -> None:
    words = ("--model", "phi-3-mini-4k-instruct", "--target", "bundled", "--gpus", "8", "--sharding", "fsdp2")
    epochs = [
        job_of(estimate(*words, "--samples", "1000", "-f", "json", *gpu))["epoch"]
        for gpu in (("--gpu-memory", "80"), ("--gpu", "A100-80GB"))
    ]
    unknown, listed = (epoch["tokens_per_second_interval"] for epoch in epochs)

    assert epochs[0]["assumptions"] == [
        "PCIe is assumed between the GPUs",
        "A100-80GB speed is assumed for the 80 GiB GPU",
    ]
    assert epochs[1]["assumptions"] == ["NVLink is assumed between the GPUs"]
    assert unknown["high"] > 0.9 * listed["high"] > 2 * epochs[0]["tokens_per_second"]


@pytest.mark.parametrize(
    ("words", "headline"),
    [
        ("--stack trl-chunked --activation-offload", "fused loss, activations on the host"),
        ("--method full --optimizer-in-backward", "optimizer in backward"),
        ("--loss liger --liger-version 0.5.2", "liger loss of liger-kernel 0.5.2"),
        ("--gpus 4 --sharding fsdp2 --no-reshard", "4 GPUs with fsdp2, weights kept gathered"),
    ],
)
def test_the_headline_states_what_was_asked_for(words: str, headline: str) -> None:
    assert headline in estimate("--model", "qwen2.5-0.5b", *words.split()).stdout.splitlines()[0]
