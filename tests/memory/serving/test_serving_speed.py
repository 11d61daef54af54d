"""The roofline of servers: its laws, and its published error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from bench_scripts import load_bench

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.memory.serving.footprint import serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.speed import Passes, RequestShape, ServingSpeed, serving_speed, shape_within
from kaitoc.compiler.memory.serving.weights import pass_bytes, stage_weights_bytes
from kaitoc.compiler.memory.serving.workload import ServingWorkload

ROOT = Path(__file__).resolve().parents[3]
A100 = find_gpu("A100-80GB")
SHAPE = RequestShape()


def workload(name: str = "llama-3.1-8b-instruct", **values: int) -> ServingWorkload:
    model = served_model(name)
    assert model is not None
    return replace(ServingWorkload(model, "0.25.1", max_length_tokens=8192), **values)  # type: ignore[arg-type]


def speed(serving: ServingWorkload) -> ServingSpeed:
    assert A100 is not None
    found = serving_speed(serving_footprint(serving, A100), A100, None, SHAPE)
    assert found is not None
    return found


def passes(serving: ServingWorkload) -> Passes:
    assert A100 is not None
    return Passes(serving, A100, None)


@pytest.fixture(scope="module")
def score() -> ModuleType:
    return load_bench("serving/score.py")


def test_the_page_shows_the_scores_as_they_are(score: ModuleType) -> None:
    page = score.PAGE.read_text(encoding="utf-8")

    for line in score.table(score.scored_runs()):
        assert line in page, "docs/throughput.md is stale: run `make bench-throughput`"


def test_measured_servers_are_slower_by_what_is_said(score: ModuleType) -> None:
    ratios = [run.ratio for run in score.scored_runs()]

    assert 1.2 <= min(ratios) <= max(ratios) <= 3.1


def test_ranks_shorten_a_request_and_copies_answer_more() -> None:
    copies, ranks = speed(workload(data_parallel=2)), speed(workload(tensor_parallel=2))

    assert ranks.request_seconds < copies.request_seconds
    assert copies.tokens_per_second > ranks.tokens_per_second


def test_one_token_reads_all_weights_but_the_embedding() -> None:
    serving = workload()
    (stage,) = passes(serving).stages
    model = serving.model

    embedding = 2 * model.hidden_size * model.vocab_size

    assert pass_bytes(serving, stage, 1) == pytest.approx(stage_weights_bytes(serving, stage) - embedding, rel=1e-3)


def test_a_mixture_reads_more_of_its_experts_the_more_tokens_there_are() -> None:
    serving = workload("qwen3-30b-a3b") if served_model("qwen3-30b-a3b") else workload("gpt-oss-20b")
    (stage,) = passes(serving).stages

    few, more, many = (pass_bytes(serving, stage, number) for number in (1, 8, 4096))

    assert few < 0.5 * many
    assert few < more < many <= stage_weights_bytes(serving, stage)


def test_longer_contexts_and_more_requests_take_longer() -> None:
    server = passes(workload())

    assert server.round_seconds(1, 1000) < server.round_seconds(1, 100_000)
    assert server.round_seconds(1, 1000) < server.round_seconds(64, 1000) < 64 * server.round_seconds(1, 1000)
    assert server.prompt_seconds(1000, 2048) < server.prompt_seconds(4000, 2048)


def test_a_server_that_holds_no_such_request_has_no_speed() -> None:
    assert A100 is not None
    short = serving_footprint(replace(workload(), max_length_tokens=1024), A100)

    assert serving_speed(short, A100, None, SHAPE) is None
    assert serving_speed(short, A100, None, shape_within(1024)) is not None


@pytest.mark.parametrize("length", [2, 9, 1024, 2304, 100_000])
def test_requests_are_shortened_to_the_context_in_proportion(length: int) -> None:
    shape = shape_within(length)

    assert shape.context_tokens <= max(length, 2)
    assert min(shape.prompt_tokens, shape.output_tokens) >= 1
