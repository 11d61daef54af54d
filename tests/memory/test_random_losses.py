"""Losses that never hold all logits: the closed form against the trace, where chunks and tiles change and at random."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "memory"))

from random_steps import draw_loss, name_of

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.footprint import footprint, phase_peaks
from kaitoc.compiler.memory.result import Phase, PhasePeak
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Workload
from kaitoc.compiler.memory.workload_key import liger_chunk_tokens, of_any_size

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4000, "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}  # fmt: skip
TINY = from_config("tiny", CONFIG)
STEP = Workload(TINY, Lora(), 2, 300, "trl-1.13", loss=Loss.CHUNKED, gradient_checkpointing=True)
LOSS_PHASES = (Phase.LOSS, Phase.BACKWARD)
STEP_PHASES = (Phase.FORWARD, *LOSS_PHASES, Phase.OPTIMIZER)


def assert_phases_agree(step: Workload, rel: float = 0.015) -> None:
    derived = {peak.phase: peak.allocated_bytes for peak in phase_peaks(step)}
    for found in trace(step).phases:
        if found.phase in LOSS_PHASES:
            assert derived[found.phase] == pytest.approx(found.allocated_bytes, rel=rel), found.phase


@pytest.mark.parametrize("stack", ["kaito-v0.12", "trl-1.13"])
@pytest.mark.parametrize(("batch_size", "length"), [(1, 17), (1, 129), (3, 40), (2, 129), (1, 257), (1, 258)])
def test_a_chunk_has_no_more_tokens_than_the_batch(batch_size: int, length: int, stack: str) -> None:
    assert_phases_agree(replace(STEP, batch_size=batch_size, seq_len_tokens=length, stack=stack), rel=0.001)


def test_sizes_below_one_chunk_are_priced_each_by_itself() -> None:
    sizes = [(1, 20), (5, 20), (1, 200), (2, 100), (60, 5)]
    steps = [replace(STEP, batch_size=rows, seq_len_tokens=length) for rows, length in sizes]
    priced = [footprint(step).allocated_bytes for step in steps]

    assert [footprint(step).allocated_bytes for step in reversed(steps)] == priced[::-1]
    assert len(set(priced)) == len(sizes)


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_the_softcap_of_a_model_is_that_of_its_configuration_class(softcap: float | None) -> None:
    """Gemma 2 caps logits at 30 unless its configuration says otherwise."""
    gemma = from_config("gemma", {**CONFIG, "model_type": "gemma2", "head_dim": 16, "final_logit_softcapping": softcap})
    unsaid = from_config("gemma", {**CONFIG, "model_type": "gemma2", "head_dim": 16})

    assert_phases_agree(replace(STEP, architecture=gemma))
    assert_phases_agree(replace(STEP, architecture=unsaid))


@pytest.mark.parametrize("stack", ["kaito-v0.12", "trl-1.13"])
@pytest.mark.parametrize("autocast", [None, Dtype.BFLOAT16])
def test_gradients_of_a_head_that_are_views_meet_in_a_third(stack: str, autocast: Dtype | None) -> None:
    assert_phases_agree(replace(STEP, lora=None, dtype=Dtype.FLOAT32, autocast=autocast, stack=stack), rel=0.005)


@pytest.mark.parametrize("loss", [Loss.FUSED, Loss.LIGER])
@pytest.mark.parametrize("length", [100, 4096, 5000])
def test_one_row_of_any_length_is_derived_as_one(loss: Loss, length: int) -> None:
    step = replace(STEP, loss=loss, batch_size=1, seq_len_tokens=length, stack="trl-chunked")

    assert of_any_size(step).batch_size == 1


def test_logits_of_a_vocabulary_that_is_no_larger_than_the_layers_are_scored_at_once() -> None:
    narrow = from_config("narrow", {**CONFIG, "vocab_size": 60})

    assert liger_chunk_tokens(narrow, 700) == 700
    assert_phases_agree(replace(STEP, architecture=narrow, loss=Loss.LIGER, seq_len_tokens=700))


@pytest.mark.parametrize("version", ["0.6.0", "0.8.5"])
def test_liger_brings_the_factors_of_a_head_gradient_to_one_type(version: str) -> None:
    step = replace(STEP, loss=Loss.LIGER, lora=None, dtype=Dtype.FLOAT32, autocast=Dtype.BFLOAT16)

    assert_phases_agree(replace(step, liger_version=version), rel=0.005)


@pytest.mark.parametrize("loss", [Loss.CHUNKED, Loss.FUSED])
def test_variables_hold_hidden_states_through_the_loss(loss: Loss) -> None:
    """Layer norms save their input, not what they return, which `forward` of TRL's patched model still refers to."""
    starcoder = from_config("starcoder", {**CONFIG, "model_type": "starcoder2", "vocab_size": 500})
    step = replace(STEP, architecture=starcoder, loss=loss, autocast=Dtype.BFLOAT16, seq_len_tokens=1024)

    derived, found = (_at(Phase.LOSS, peaks) for peaks in (phase_peaks(step), trace(step).phases))
    assert derived == pytest.approx(found, rel=0.002)


@pytest.mark.parametrize("job", [draw_loss(random.Random(seed)) for seed in range(6)], ids=name_of)
def test_both_engines_agree_on_the_losses_of_random_jobs(job: Workload) -> None:
    derived, found = phase_peaks(job), trace(job).phases

    assert _at(Phase.LOSS, derived) == pytest.approx(_at(Phase.LOSS, found), rel=0.015)
    highest, traced = (
        max(peak.allocated_bytes for peak in peaks if peak.phase in STEP_PHASES) for peaks in (derived, found)
    )
    assert highest == pytest.approx(traced, rel=0.05)  # layers are held closer elsewhere


def _at(phase: Phase, peaks: Iterable[PhasePeak]) -> int:
    return next(peak.allocated_bytes for peak in peaks if peak.phase is phase)
