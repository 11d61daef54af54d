"""What batches of different lengths reserve, and what changes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaitoc.compiler.catalog.gpus import custom_gpu
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.batches import assumed_lengths
from kaitoc.compiler.memory.closed_form.footprint import footprint, verdict
from kaitoc.compiler.memory.closed_form.replay import replay_batches
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.variation import Drawing, variation
from kaitoc.compiler.memory.workload import Allocator, Lora, Workload

MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
SHALLOW = from_config("shallow", {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": 5})
STEP = Workload(SHALLOW, Lora(), batch_size=4, seq_len_tokens=1024, stack="transformers-5", is_padded=True)
DRAWING = Drawing(assumed_lengths(150, 500, 1024, 1024, 160), num_batches=40)
RISING = [BatchShape(4, number_of_tokens) for number_of_tokens in range(200, 1001, 100)]


def test_lengths_that_vary_reserve_far_more_than_the_longest_batch() -> None:
    varied = variation(STEP, None, DRAWING)

    assert varied.reserved_low_bytes <= varied.reserved_high_bytes
    assert varied.reserved_high_bytes > 1.3 * footprint(STEP).reserved_bytes
    assert varied.allocated_high_bytes < 1.02 * footprint(STEP).allocated_bytes


def test_expandable_segments_grouping_and_packing_reserve_less() -> None:
    varied = variation(STEP, None, DRAWING)

    words = [other.words.split()[0] for other in varied.alternatives]
    assert words == ["expandable", "batches", "rows"]
    assert all(other.reserved_bytes < varied.reserved_high_bytes for other in varied.alternatives)


def test_a_cache_that_is_emptied_carries_nothing_from_step_to_step() -> None:
    emptied = replace(STEP, empty_cache_each_step=True)

    alone = replay_batches(emptied, RISING[-1:] * 2)
    assert replay_batches(emptied, RISING).reserved_bytes <= 1.01 * alone.reserved_bytes


def test_batches_in_rising_order_need_new_segments_each_time() -> None:
    falling = replay_batches(STEP, RISING[::-1])

    assert replay_batches(STEP, RISING).reserved_bytes > 1.5 * falling.reserved_bytes


def test_a_full_device_takes_back_what_is_unused_before_it_gives_up() -> None:
    unlimited = replay_batches(STEP, RISING)
    limited = replay_batches(STEP, RISING, capacity_bytes=int(unlimited.allocated_bytes * 1.2))

    assert limited.fits
    assert limited.num_retries > 0
    assert limited.reserved_bytes < unlimited.reserved_bytes


def test_variation_makes_a_run_not_fit_whose_longest_batch_does() -> None:
    predicted = footprint(STEP)
    gpu = custom_gpu((predicted.allocated_bytes + predicted.context_bytes) * 1.03 / GIB)

    assert verdict(predicted, gpu, 0.0) is not Verdict.DOES_NOT_FIT
    assert variation(STEP, gpu, DRAWING).fits is False
    assert variation(replace(STEP, allocator=Allocator.EXPANDABLE), gpu, DRAWING).fits is True


def test_gradients_of_an_accumulation_stay_from_its_first_batch_on() -> None:
    full = replace(STEP, lora=None, accumulates=True)

    once = replay_batches(full, RISING[-1:] * 8, accumulation_steps=1)
    kept = replay_batches(full, RISING[-1:] * 8, accumulation_steps=4)
    assert once.allocated_bytes < kept.allocated_bytes
    assert kept.allocated_bytes == pytest.approx(
        footprint(replace(full, seq_len_tokens=1000)).allocated_bytes, rel=0.01
    )


def test_outputs_held_through_the_next_step_cost_their_logits_and_cache() -> None:
    held = replace(STEP, holds_outputs=True)

    logits = SHALLOW.vocab_size * 4 * 1024 * 2
    cache = 2 * 5 * SHALLOW.num_kv_heads * SHALLOW.head_dim * 4 * 1024 * 2
    before = {peak.phase.value: peak.allocated_bytes for peak in footprint(STEP).phases}
    after = {peak.phase.value: peak.allocated_bytes for peak in footprint(held).phases}
    assert after["optimizer"] - before["optimizer"] == logits + cache
    assert after["loss"] - before["loss"] >= logits + cache
