"""The optimizer in the backward pass: each parameter stepped over once its gradient is there, which is dropped then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import covering

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Optimizer, Workload, WorkloadError

MODEL = find_model("qwen2.5-0.5b")
UNTIED = find_model("phi-3-mini-4k-instruct")
assert MODEL is not None
assert UNTIED is not None


WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "tied head": ("qwen2.5-0.5b", {}),
    "Liger over a tied head": ("qwen2.5-0.5b", {"loss": Loss.LIGER}),
    "untied head in float32": ("phi-3-mini-4k-instruct", {"dtype": Dtype.FLOAT32}),
    "LoRA": ("qwen2.5-0.5b", {"lora": Lora(rank=64)}),
}


def _shallow(name: str) -> Workload:
    model = find_model(name)
    assert model is not None
    config = {**model.config, "model_type": model.model_type, "num_hidden_layers": 5}
    return Workload(
        from_config("shallow", config), None, 1, 256, "transformers-5", gradient_checkpointing=True,
        steps_in_backward=True,
    )  # fmt: skip


@pytest.mark.runtime
@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("way", "optimizer"), covering(list(WAYS), [Optimizer.ADAMW_FUSED, Optimizer.ADAMW, Optimizer.ADAFACTOR])
)
def test_both_engines_agree(way: str, optimizer: Optimizer) -> None:
    pytest.importorskip("torch")
    from kaitoc.compiler.memory.trace.run import trace

    name, changes = WAYS[way]
    step = replace(_shallow(name), optimizer=optimizer, **changes)

    for found, derived in zip(trace(step).phases, footprint(step).phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=0.02), found.phase


def test_no_gradient_outlives_its_step() -> None:
    step = _shallow("phi-3-mini-4k-instruct")
    after, before = (footprint(replace(step, steps_in_backward=steps)) for steps in (False, True))

    largest = max(UNTIED.vocab_size, UNTIED.intermediate_size * 2) * UNTIED.hidden_size * 2
    assert before.peak.categories.gradients <= largest
    assert after.peak.categories.gradients > 2 * largest
    assert Phase.OPTIMIZER not in {phase.phase for phase in before.phases}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"accumulates": True}, "accumulates"), ({"num_gpus": 2}, "one GPU")],
)
def test_runs_that_need_their_gradients_later_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(WorkloadError, match=reason):
        footprint(replace(_shallow("qwen2.5-0.5b"), **changes))
