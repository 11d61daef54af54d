"""Memory before and after a run: what is compared with the device, and what the device is said to have taken."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from datasets import Dataset
from test_sharding import FOOTPRINT

from kaitoc.compiler.memory.closed_form.replay import Replayed
from kaitoc.compiler.plan.plan import Plan, QuantizationPlan, preferring
from kaitoc.runtime.data.row_lengths import row_lengths
from kaitoc.runtime.failures import OutOfMemory
from kaitoc.runtime.launch.preflight import check_lengths, check_memory
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.load import load_config
from kaitoc.runtime.observe.device import device_bytes, held_bytes
from kaitoc.runtime.observe.prediction import notes_on_batches, replayed_batches, with_lengths
from kaitoc.runtime.world import grow_segments

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


@pytest.fixture
def predicted(make_plan: MakePlan) -> Plan:
    """A plan with a prediction of 1,000 bytes, whatever its model."""
    return make_plan().model_copy(update={"predicted": FOOTPRINT})


@pytest.fixture
def _gpu_of_3000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's and NVML's answers for a GPU on which others hold 500 bytes and this process 1,300, of which 200 are
    its context."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_memory_used", lambda _: 500 + 1300)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 1100)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 2000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (999, 3000))


@pytest.mark.usefixtures("_gpu_of_3000_bytes")
def test_a_run_that_needs_more_than_is_free_is_stopped_before_weights_are_loaded(predicted: Plan) -> None:
    with pytest.raises(OutOfMemory, match="the run needs"):
        check_memory(predicted, "cuda")
    check_memory(predicted, "cpu")


@pytest.mark.usefixtures("_gpu_of_3000_bytes")
def test_4_bit_weights_that_are_whole_until_they_are_split_are_named_where_they_need_most(predicted: Plan) -> None:
    provenance = predicted.provenance.model_copy(update={"preset": "llama-3.3-70b-instruct"})
    model = predicted.model.model_copy(update={"path": "/mnt/model"})
    quantization = QuantizationPlan(method="nf4")
    many = {"num_processes": 8, "sharding": "fsdp2", "provenance": provenance, "model": model}
    shared = predicted.model_copy(update={**many, "quantization": quantization})

    with pytest.raises(OutOfMemory, match="loading the model, whole until it is split, needs"):
        check_memory(shared, "cuda")
    with pytest.raises(OutOfMemory, match="the run needs"):
        check_memory(predicted.model_copy(update=many), "cuda")


ROWS = [3, 17, 40, 61, 64] * 8


def check_with_free(plan: Plan, free_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_bytes, 1 << 34))
    check_lengths(plan, load_config(plan), ROWS, "cuda")


def test_batches_that_do_not_fit_in_turn_are_told_before_weights_are_loaded(
    predicted: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(predicted)
    replayed = replayed_batches(predicted, config, ROWS, 1 << 40)
    assert replayed is not None

    check_with_free(predicted, replayed.reserved_bytes, monkeypatch)
    assert capsys.readouterr().err == ""
    with pytest.raises(OutOfMemory, match="rows with 3 to 64 tokens fragment the GPU's memory"):
        check_with_free(predicted, replayed.allocated_bytes - 1, monkeypatch)
    check_lengths(predicted, config, ROWS, "cpu")


def test_memory_that_is_given_back_again_and_again_is_told(
    predicted: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed = Replayed(allocated_bytes=10, reserved_bytes=20, num_retries=7, fits=True)
    monkeypatch.setattr("kaitoc.runtime.launch.preflight.replayed_batches", lambda *_: replayed)
    check_with_free(predicted, 20, monkeypatch)

    assert "frees cached blocks about 7 times in 200 batches" in capsys.readouterr().err


def test_shards_and_pairs_are_not_replayed(predicted: Plan) -> None:
    config = load_config(predicted)
    shared = predicted.model_copy(update={"num_processes": 2, "sharding": "fsdp2"})

    assert replayed_batches(shared, config, ROWS, 1 << 40) is None
    assert [*notes_on_batches(shared, config, ROWS)] == [
        "varying lengths are not replayed for sharded runs; every batch is taken to be as long as the longest"
    ]
    assert [*notes_on_batches(predicted, config, ROWS)] == []
    assert replayed_batches(preferring(predicted), config, ROWS, 1 << 40) is None


def test_rows_are_taken_evenly_and_the_longest_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.from_dict({"input_ids": [[0] * length for length in range(1, 10)]}).shuffle(seed=1)

    assert sorted(row_lengths(dataset, 9)) == list(range(1, 10))
    monkeypatch.setattr("kaitoc.runtime.data.row_lengths.MOST_ROWS", 4)
    taken = row_lengths(dataset, 9)
    assert len(taken) == 6
    assert taken[-1] == 9


@pytest.mark.usefixtures("_gpu_of_3000_bytes")
def test_a_process_takes_what_it_reserved_at_most_and_its_context() -> None:
    assert held_bytes("cuda") == 1800
    assert device_bytes("cuda", 500) == 2000 + 200
    assert device_bytes("cuda", None) is None


def test_a_cpu_has_no_device_memory_to_tell() -> None:
    assert held_bytes("cpu") is None
    assert device_bytes("cpu", None) is None


def test_the_longest_row_of_the_data_replaces_the_length_that_was_assumed(predicted: Plan) -> None:
    config = load_config(predicted)
    short, long = (with_lengths(predicted, config, length).predicted for length in (16, 256))

    assert short is not None
    assert long is not None
    assert short.activations < long.activations
    assert short.weights == long.weights


def test_nothing_is_predicted_for_a_plan_that_predicts_nothing(make_plan: MakePlan) -> None:
    assert with_lengths(make_plan(), load_config(make_plan()), 16).predicted is None


@pytest.mark.parametrize("stated", [None, ALLOCATOR, "PYTORCH_ALLOC_CONF"])
def test_segments_grow_unless_the_user_configured_the_allocator(
    monkeypatch: pytest.MonkeyPatch, stated: str | None
) -> None:
    for name in (ALLOCATOR, "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if stated is not None:
        monkeypatch.setenv(stated, "max_split_size_mb:64")
    grow_segments()

    expected = {None: "expandable_segments:True", ALLOCATOR: "max_split_size_mb:64"}
    assert os.environ.get(ALLOCATOR) == expected.get(stated)


def test_a_run_gives_sigterm_back_to_whoever_had_it(make_plan: MakePlan) -> None:
    def mine(*_: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        run_plan(make_plan(training={"max_steps": 1}), RunOptions("cpu", show_progress=False))
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_plan_beside_the_result_says_which_weights_it_is_for(make_plan: MakePlan) -> None:
    plan = make_plan(training={"max_steps": 1})
    report = run_plan(plan, RunOptions("cpu", show_progress=False))
    kept = Plan.model_validate_json((Path(report.adapter_folder) / "kaitoc-plan.json").read_text())

    assert len(kept.provenance.base_fingerprint) == 64
