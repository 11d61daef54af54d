"""`kaitoc.run`: a plan executed in this process, without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import kaitoc

pytestmark = pytest.mark.runtime


def test_a_run_returns_its_report_and_prints_nothing(
    make_plan: Callable[..., kaitoc.Plan], capfd: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan()
    report = kaitoc.run(plan, device="cpu")
    assert report.num_steps > 0
    assert report.adapter_folder.startswith(plan.output.path)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_fails_raises_what_the_user_can_put_right(make_plan: Callable[..., kaitoc.Plan]) -> None:
    with pytest.raises(kaitoc.RunFailure, match="no such folder") as caught:
        kaitoc.run(make_plan(model={"path": "/nowhere"}), device="cpu")
    assert caught.value.exit_code == 2


def test_a_plan_for_several_processes_is_refused(make_plan: Callable[..., kaitoc.Plan]) -> None:
    plan = make_plan().model_copy(update={"num_processes": 2})
    with pytest.raises(kaitoc.RunError, match="several processes"):
        kaitoc.run(plan, device="cpu")
