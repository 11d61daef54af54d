"""Speculative decoding and encoders in the memory of a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.catalog.encoders import find_encoder
from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.served_models import served_names
from kaitoc.compiler.cli import cli
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.encoders import takes_items
from kaitoc.compiler.memory.serving.footprint import ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.read_speculation import read_speculation
from kaitoc.compiler.memory.serving.speculation import Drafter
from kaitoc.compiler.memory.serving.uncounted import uncounted
from kaitoc.compiler.memory.serving.weights import format_of
from kaitoc.compiler.memory.serving.workload import ServingWorkload

A100 = "A100-80GB"
MTP = {"method": "mtp", "num_speculative_tokens": 1}


def server(
    name: str, config: dict[str, object] | None = None, vllm: str = "0.25.1", **changes: object
) -> ServingWorkload:
    model = served_model(name)
    assert model is not None
    drafts = read_speculation(config, model) if config is not None else None
    return replace(ServingWorkload(model, vllm, weight_format=format_of(model), speculation=drafts), **changes)


def footprint(name: str, config: dict[str, object] | None = None, **changes: object) -> ServingFootprint:
    return serving_footprint(server(name, config, **changes), find_gpu(A100))


@pytest.mark.parametrize(
    ("model", "config", "drafter"),
    [
        ("qwen3-8b", {"method": "ngram"}, Drafter.LOOKUP),
        ("qwen3-8b", {"model": "ngram"}, Drafter.LOOKUP),
        ("qwen3-8b", {"method": "suffix"}, Drafter.LOOKUP),
        ("qwen3.5-9b", {"method": "mtp"}, Drafter.OWN_LAYERS),
        ("qwen3.5-9b", {"method": "qwen3_5_mtp"}, Drafter.OWN_LAYERS),
        ("qwen3.5-9b", {"model": "Qwen/Qwen3.5-9B"}, Drafter.OWN_LAYERS),
        ("qwen3-8b", {"method": "mtp"}, Drafter.UNKNOWN),
        ("qwen3-8b", {"model": "Qwen/Qwen3-0.6B"}, Drafter.MODEL),
        ("qwen3-8b", {"method": "draft_model", "model": "qwen3-0.6b"}, Drafter.MODEL),
        ("qwen3-8b", {"method": "eagle3", "model": "AngelSlim/Qwen3-8B_eagle3"}, Drafter.UNKNOWN),
        ("qwen3-8b", {"model": "somebody/else"}, Drafter.UNKNOWN),
    ],
)
def test_a_drafter_is_known_by_its_method_and_its_model(
    model: str, config: dict[str, object], drafter: Drafter
) -> None:
    speculation = server(model, {"num_speculative_tokens": 2, **config}).speculation

    assert speculation is not None
    assert speculation.drafter is drafter


@pytest.mark.parametrize("number", [None, 0, True, "3"])
def test_without_a_number_of_tokens_nothing_is_drafted(number: object) -> None:
    model = served_model("qwen3.5-9b")
    assert model is not None

    assert read_speculation({"method": "mtp", "num_speculative_tokens": number}, model) is None


def test_multi_token_prediction_adds_a_layer_to_weights_and_to_the_cache() -> None:
    """As a public log of Qwen3.5-9B has it: 18.12 GiB are loaded, the groups have 9 layers, blocks 528 tokens."""
    alone, drafting = footprint("qwen3.5-9b", vllm="0.17.1"), footprint("qwen3.5-9b", MTP, vllm="0.17.1")
    groups = drafting.pool.layout.groups

    assert max(len(group.layers) for group in groups) == 9
    assert max(len(group.layers) for group in alone.pool.layout.groups) == 8
    assert {spec.block_tokens for group in groups for spec in group.specs} == {528}
    assert (drafting.tightest.weights_bytes + drafting.tightest.draft_bytes) / GIB == pytest.approx(18.12, rel=0.01)


def test_every_drafted_token_has_a_state_to_go_back_to() -> None:
    pages = [
        next(
            group.pages(4096, 2048)
            for group in footprint("qwen3.5-9b", {**MTP, "num_speculative_tokens": number}).pool.layout.groups
            if group.specs[0].state_pages
        )
        for number in (1, 2, 4)
    ]

    assert pages == [2, 3, 5]


def test_a_draft_model_takes_its_weights_and_a_cache_of_its_own() -> None:
    config: dict[str, object] = {"model": "qwen3-0.6b", "num_speculative_tokens": 3}
    alone, drafting, draft = footprint("qwen3-8b"), footprint("qwen3-8b", config), footprint("qwen3-0.6b")
    buffers = drafting.limits.tokens * 2 * 1024

    assert drafting.tightest.draft_bytes == draft.tightest.weights_bytes + buffers
    assert drafting.pool.layout.block_bytes == alone.pool.layout.block_bytes + draft.pool.layout.block_bytes


def test_lookups_take_neither_weights_nor_cache() -> None:
    config: dict[str, object] = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}
    alone, drafting = footprint("qwen3-8b"), footprint("qwen3-8b", config)

    assert drafting.tightest.draft_bytes == 0
    assert drafting.pool.layout == alone.pool.layout


def test_only_the_last_stage_drafts() -> None:
    drafting = serving_footprint(server("qwen3.5-9b", MTP, pipeline_parallel=2), find_gpu(A100))

    assert [rank.draft_bytes > 0 for rank in drafting.ranks] == [False, True]
    assert sum(len(group.layers) for rank in drafting.ranks for group in rank.layout.groups) == 33


def test_a_drafter_of_unknown_size_is_named_and_nothing_is_sure() -> None:
    drafting = footprint("qwen3-8b", {"method": "eagle3", "model": "a/head", "num_speculative_tokens": 3})

    assert drafting.verdict is Verdict.TIGHT
    assert list(uncounted(drafting)) == ["the drafter `a/head`, whose size no catalog has"]


def test_an_encoder_that_is_profiled_lowers_what_is_sure() -> None:
    seeing, blind = (footprint("qwen3.5-9b", profiles_encoder=sees) for sees in (True, False))

    assert seeing.tightest.available_bytes == blind.tightest.available_bytes
    assert seeing.tightest.low_available_bytes < blind.tightest.low_available_bytes
    assert [len(list(uncounted(one))) for one in (seeing, blind)] == [1, 0]


@pytest.mark.parametrize(
    ("limits", "takes"),
    [
        ({}, True),
        ({"image": 0}, True),
        ({"image": 0, "video": 0}, False),
        ({"image": {"count": 0}, "video": {"count": 0, "num_frames": 1}}, False),
        ({"image": 1, "video": 0}, True),
    ],
)
def test_limits_of_nothing_keep_the_encoder_out(limits: dict[str, object], takes: bool) -> None:
    assert takes_items(server("qwen3.5-9b"), limits) is takes


def test_every_multimodal_model_to_serve_has_an_encoder_of_known_widths() -> None:
    models = [model for name in served_names() if (model := served_model(name)) is not None and model.is_multimodal]

    assert len(models) > 10
    assert [model.name for model in models if find_encoder(model.model_type) is None] == []


def test_check_and_estimate_read_speculation_alike(tmp_path: Path) -> None:

    manifest = tmp_path / "server.yaml"
    manifest.write_text(
        """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: server}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {app: a}}}
inference:
  preset: {name: Qwen/Qwen3.5-9B}
  config: serving
---
apiVersion: v1
kind: ConfigMap
metadata: {name: serving}
data:
  inference_config.yaml: |
    vllm:
      speculative-config: '{"method": "mtp", "num_speculative_tokens": 2}'
      limit-mm-per-prompt: '{"image": 0, "video": 0}'
"""
    )
    options = ("estimate", "--task", "serve", "--format", "json")
    drafts, limits = '{"method": "mtp", "num_speculative_tokens": 2}', '{"image": 0, "video": 0}'
    described = ("--model", "qwen3.5-9b", "--gpu", "Standard_NC24ads_A100_v4", "--speculative-config", drafts,
                 "--limit-mm-per-prompt", limits)  # fmt: skip
    results = [CliRunner().invoke(cli, [*options, *more]) for more in ((str(manifest),), described)]
    found = [json.loads(result.stdout)["jobs"][0]["serving"] for result in results]

    assert found[0] == found[1]
    assert found[0]["rank_bytes"]["drafter"] > 0
    assert found[0]["uncounted"] == []
