"""Packing is refused where a packed document sees the one before it, and costs nothing where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from short_plan import short_plan
from tiny_architectures import save_tiny, tiny_config

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.training.isolation import Isolation, measure_isolation, require_isolation

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]


def packed(**training: Any) -> Plan:
    return short_plan(Path("model"), Path("data"), Path("out"), data={"packing": True}, training=training)


def model_of(name: str) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(name, 512), dtype=torch.float32)


@pytest.mark.parametrize(("name", "precision"), [("phi3", {}), ("phi3", {"bf16": True}), ("mixtral", {})])
def test_documents_are_proven_apart(name: str, precision: dict[str, bool]) -> None:
    model = model_of(name)

    isolation = measure_isolation(model, packed(**precision))
    require_isolation(packed(**precision), model, "cpu")

    assert isolation.packed < 1e-3 * isolation.undivided
    assert model.training


@pytest.mark.parametrize(("name", "precision"), [("mpt", {}), ("falcon", {"bf16": True})])
def test_packing_is_refused_where_documents_leak(name: str, precision: dict[str, bool]) -> None:
    with pytest.raises(PlanFailure, match=r"a packed document sees the one before it; set `packing: false`"):
        require_isolation(packed(**precision), model_of(name), "cpu")


def test_batches_without_padding_are_packed_too() -> None:
    plan = short_plan(
        Path("model"), Path("data"), Path("out"), training={"extra_training_arguments": {"padding_free": True}}
    )
    with pytest.raises(PlanFailure, match=r"`padding_free` is refused: on mpt .*; set `padding_free: false`"):
        require_isolation(plan, model_of("mpt"), "cpu")


def test_documents_that_may_run_together_are_not_probed() -> None:
    plan = short_plan(Path("m"), Path("d"), Path("o"), data={"packing": True, "packing_strategy": "wrapped"})

    require_isolation(plan, model_of("mpt"), "cpu")


def test_a_model_that_does_not_take_packed_documents_is_named() -> None:
    model = model_of("phi3")
    model.base_model.forward = lambda input_ids, attention_mask=None: None

    with pytest.raises(PlanFailure, match="phi3 does not take packed documents"):
        require_isolation(packed(), model, "cpu")


@pytest.mark.parametrize(
    ("isolation", "is_proven"),
    [
        (Isolation(packed=0, undivided=1, shift=0, resolution=1e-6), True),
        (Isolation(packed=0.05, undivided=1, shift=0.05, resolution=1e-6), True),  # a mixture's kernels round
        (Isolation(packed=0, undivided=1, shift=0.5, resolution=1e-6), False),  # positions run on
        (Isolation(packed=0, undivided=0.01, shift=0.1, resolution=0.2), True),  # bfloat16 cannot tell
        (Isolation(packed=0.9, undivided=1, shift=0, resolution=2), False),
    ],
)
def test_rounding_is_told_from_a_leak(isolation: Isolation, is_proven: bool) -> None:
    assert isolation.is_proven == is_proven


def test_a_leak_stops_the_run_before_anything_is_written(make_plan: MakePlan, tokenizer: Any, tmp_path: Path) -> None:
    save_tiny("falcon", tmp_path / "model", tokenizer)
    plan = make_plan(model={"path": str(tmp_path / "model")}, data={"packing": True}, lora={"r": 4})

    (tmp_path / "model" / "model.safetensors").write_bytes(b"never loaded")

    with pytest.raises(PlanFailure, match="falcon a packed document sees"):
        run_plan(plan, RunOptions("cpu", show_progress=False))
    assert not Path(plan.output.path).exists()
