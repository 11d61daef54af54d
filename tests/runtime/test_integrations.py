"""Trackers and kernels that a plan may ask for: the real ones where they run here, else one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.arguments import training_arguments
from kaitoc.runtime.training.integrations import require_integrations

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]


def test_tensorboard_gets_every_logged_loss_beside_the_results(make_plan: MakePlan) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plan = make_plan(training={"report_to": ["tensorboard"]})
    run_plan(plan, RunOptions("cpu", show_progress=False))

    events = accumulator.EventAccumulator(str(Path(plan.output.path) / "runs")).Reload()

    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert all(event.value > 0 for event in events.Scalars("train/tokens_per_second"))


def test_the_environment_may_name_another_place(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "elsewhere"))
    plan = make_plan(training={"report_to": ["tensorboard"]})
    run_plan(plan, RunOptions("cpu", show_progress=False))

    assert list((tmp_path / "elsewhere").iterdir())
    assert not (Path(plan.output.path) / "runs").exists()


@pytest.mark.parametrize(("tracker", "words"), [("wandb", "wandb"), ("tensorbord", "tensorbord is not supported")])
def test_a_tracker_that_is_not_there_is_named_before_anything_is_loaded(
    make_plan: MakePlan, tracker: str, words: str
) -> None:
    plan = make_plan(model={"path": "/nowhere"}, training={"report_to": [tracker]})

    with pytest.raises(PlanFailure, match=words):
        run_plan(plan, RunOptions("cpu", show_progress=False))


def test_liger_s_kernels_are_left_out_on_a_cpu(make_plan: MakePlan) -> None:
    plan = make_plan(training={"extra_training_arguments": {"use_liger_kernel": True}})
    require_integrations(plan, "cpu")

    with quiet_libraries():
        assert training_arguments(plan, "cpu").use_liger_kernel is False


def test_liger_s_kernels_that_are_missing_on_a_gpu_say_what_to_install(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaitoc.runtime.training.integrations.find_spec", lambda name: None)
    plan = make_plan(training={"extra_training_arguments": {"use_liger_kernel": True}})

    with pytest.raises(PlanFailure, match=r"kaitoc\[liger\]"):
        require_integrations(plan, "cuda")
