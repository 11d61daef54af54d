"""Gradients of earlier batches, held while later ones run."""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.workload import Lora, Workload

MODEL = find_model("llama-3.2-1b")
assert MODEL is not None
FULL = Workload(MODEL, None, 1, 1024, "transformers-5", gradient_checkpointing=True)


def _by_phase(workload: Workload) -> dict[Phase, int]:
    return {peak.phase: peak.allocated_bytes for peak in footprint(workload).phases}


def test_the_forward_pass_runs_beside_all_gradients() -> None:
    single, accumulating = _by_phase(FULL), _by_phase(replace(FULL, accumulates=True))
    gradients = plan_for(FULL).gradient_bytes
    assert accumulating[Phase.FORWARD] == single[Phase.FORWARD] + gradients
    assert accumulating[Phase.LOSS] == single[Phase.LOSS] + gradients


def test_loading_and_the_optimizer_step_are_the_same() -> None:
    single, accumulating = _by_phase(FULL), _by_phase(replace(FULL, accumulates=True))
    assert all(accumulating[phase] == single[phase] for phase in (Phase.LOAD, Phase.OPTIMIZER))


def test_gradients_of_an_adapter_are_small_beside_the_step() -> None:
    adapted = replace(FULL, lora=Lora())
    more = footprint(replace(adapted, accumulates=True)).allocated_bytes - footprint(adapted).allocated_bytes
    assert 0 < more <= plan_for(adapted).gradient_bytes < footprint(adapted).allocated_bytes // 50
