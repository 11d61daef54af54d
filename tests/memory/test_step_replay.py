"""A step is replayed without the layers that do as the one before, and without loading the model again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form import replay
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.resident import loaded_allocator, resident_of
from kaitoc.compiler.memory.closed_form.script import Script
from kaitoc.compiler.memory.closed_form.step_replay import StepReplay
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.workload import Allocator, Dtype, Lora, Loss, Quantization, Workload
from kaitoc.compiler.memory.workload_key import key_of_step

MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
KAITO = Workload(
    MODEL, Lora(), 2, 1500, "kaito-v0.12", loss=Loss.CHUNKED, gradient_checkpointing=True,
    allocator=Allocator.EXPANDABLE, empty_cache_each_step=True,
)  # fmt: skip
QLORA = replace(KAITO, quantization=Quantization.NF4, kbit_prep=True)
LARGE_MODEL = find_model("llama-3.1-8b-instruct")
assert LARGE_MODEL is not None
LARGE = replace(KAITO, architecture=LARGE_MODEL, autocast=Dtype.BFLOAT16)
WAYS = {
    "LoRA": KAITO,
    "LoRA on a large model": LARGE,
    "QLoRA": QLORA,
    "QLoRA, accumulated": replace(QLORA, accumulates=True),
    "full": replace(KAITO, lora=None),
    "full, accumulated": replace(KAITO, lora=None, accumulates=True),
    "without checkpoints": replace(KAITO, gradient_checkpointing=False),
    "segments of a fixed size": replace(KAITO, allocator=Allocator.DEFAULT, empty_cache_each_step=False),
}


def deep(step: Workload, num_layers: int) -> Workload:
    config = {**step.architecture.config, "model_type": step.architecture.model_type, "num_hidden_layers": num_layers}
    return replace(step, architecture=from_config("deep", config))


def calls_of(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], *names: str) -> int:
    """Count the calls of the allocator's methods."""
    calls = []
    with monkeypatch.context() as patch:
        for name in names:
            method = getattr(CachingAllocator, name)

            def counted(*arguments: Any, method: Any = method) -> object:
                calls.append(1)
                return method(*arguments)

            patch.setattr(CachingAllocator, name, counted)
        work()
    return len(calls)


def forward_pass(step: Workload) -> StepReplay:
    settings = AllocatorSettings(expandable_segments=step.allocator is Allocator.EXPANDABLE)
    allocator = loaded_allocator(resident_of(step, None, has_states=True), settings)
    script = script_of(key_of_step(step), is_detailed=True)
    return StepReplay(allocator, script, script.num_bytes(step.batch_size, step.seq_len_tokens))


@pytest.mark.parametrize("way", ["LoRA", "QLoRA"])
def test_layers_forward_are_passed_over_but_for_a_few(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """One is run again where what is mapped of the growing end is used up."""
    shallow, many = (forward_pass(deep(WAYS[way], num_layers)) for num_layers in (12, 48))
    names = "allocate_rounded", "touch_rounded", "free"

    assert calls_of(monkeypatch, many.forward, *names) < 1.3 * calls_of(monkeypatch, shallow.forward, *names)


@pytest.mark.parametrize("length", [1501, 3001])
@pytest.mark.parametrize("way", WAYS)
def test_layers_that_repeat_one_change_nothing(monkeypatch: pytest.MonkeyPatch, way: str, length: int) -> None:
    step, shapes = WAYS[way], [BatchShape(2, length)] * 4
    passed = replay.replay_batches(step, shapes, accumulation_steps=2)
    script_of = replay.script_of

    def without_groups(*arguments: Any, **options: Any) -> Script:
        return replace(script_of(*arguments, **options), going_forward=())

    monkeypatch.setattr(replay, "script_of", without_groups)

    assert replay.replay_batches(step, shapes, accumulation_steps=2) == passed


@pytest.mark.parametrize("length", [1501, 3001])
@pytest.mark.parametrize("way", WAYS)
def test_large_blocks_of_layers_that_find_what_another_found_change_nothing(
    monkeypatch: pytest.MonkeyPatch, way: str, length: int
) -> None:
    step, shapes = WAYS[way], [BatchShape(2, length)] * 4
    passed = replay.replay_batches(step, shapes, accumulation_steps=2)
    monkeypatch.setattr(StepReplay, "_is_alone", lambda _self, _layers: False)

    assert replay.replay_batches(step, shapes, accumulation_steps=2) == passed


def test_a_layer_going_back_that_finds_what_another_found_runs_its_small_blocks_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> object:
        return replay.replay_batches(LARGE, [BatchShape(2, 1501)], has_states=True)

    names = "allocate_rounded", "touch_rounded", "free"
    work()  # loads the model
    alone = calls_of(monkeypatch, work, *names)
    monkeypatch.setattr(StepReplay, "_is_alone", lambda _self, _layers: False)

    assert alone < 0.6 * calls_of(monkeypatch, work, *names)


def test_another_size_loads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    footprint(KAITO)

    assert calls_of(monkeypatch, lambda: footprint(replace(KAITO, seq_len_tokens=1777)), "allocate") == 0
