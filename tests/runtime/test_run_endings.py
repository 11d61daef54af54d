"""How a run ends: exit codes, the time to save after SIGTERM, and Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from child_runs import ChildRun

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.__main__ import execute
from kaitoc.runtime.failures import Stopped
from kaitoc.runtime.launch.processes import Execution, exit_code_of, grace_seconds_of
from kaitoc.runtime.launch.ready import Ready, RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import is_whole
from kaitoc.runtime.training.callbacks import TerminationCallback

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
OPTIONS = RunOptions("cpu", show_progress=False)
SAVING = {"save_strategy": "steps", "save_steps": 2}


@pytest.mark.parametrize(
    ("process_code", "code"),
    [(0, 0), (1, 1), (2, 2), (3, 3), (130, 130), (143, 143), (134, 1), (77, 1),
     (-signal.SIGTERM, 143), (-signal.SIGHUP, 143), (-signal.SIGINT, 130), (-signal.SIGKILL, 1), (-signal.SIGABRT, 1)],
)  # fmt: skip
def test_a_run_ends_with_the_documented_exit_codes_only(process_code: int, code: int) -> None:
    assert exit_code_of(process_code) == code


@pytest.mark.parametrize(
    ("option", "environment", "seconds"),
    [(None, {}, 25.0), (None, {"KAITOC_GRACE_SECONDS": "110"}, 110.0), (5.0, {"KAITOC_GRACE_SECONDS": "110"}, 5.0)],
)
def test_the_grace_comes_from_the_option_or_the_environment(
    option: float | None, environment: dict[str, str], seconds: float
) -> None:
    assert grace_seconds_of(option, environment) == seconds


@pytest.mark.parametrize("stated", ["", "soon", "0", "-1", "inf", "nan"])
def test_a_grace_that_is_no_time_is_refused(
    stated: str, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAITOC_GRACE_SECONDS", stated)

    assert execute(make_plan(), Execution("cpu")) == 2
    assert "KAITOC_GRACE_SECONDS must be a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_ctrl_c_saves_a_checkpoint_and_exits_130(make_plan: MakePlan, tmp_path: Path, num_processes: int) -> None:
    plan = make_plan(training={"max_steps": 100_000}, data={"max_length": 32}).model_copy(
        update={"num_processes": num_processes}
    )
    output = Path(plan.output.path)
    child = ChildRun(plan, tmp_path / "child")
    child.wait_for_step()
    child.send_signal(signal.SIGINT, to_group=True)
    ended = child.end()

    assert ended.returncode == 130, ended.stderr
    assert "`--resume` continues from its checkpoint" in ended.stderr
    (checkpoint,) = (output / "checkpoints").iterdir()
    assert is_whole(checkpoint)


def test_ctrl_c_before_the_first_step_says_that_nothing_was_saved(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kaitoc.runtime.launch.ready.build_model", interrupted)

    assert execute(make_plan(), Execution("cpu")) == 130
    assert "stopped by Ctrl-C; nothing was saved" in capsys.readouterr().err


def test_processes_that_are_stopped_at_once_say_so_whichever_ends_first(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process hears of one that ended before it is an error of the network."""

    def lose_a_peer(_plan: Plan, _ready: Ready, trainer: Any) -> None:
        (termination,) = (one for one in trainer.callback_handler.callbacks if isinstance(one, TerminationCallback))
        termination.requested, termination.exit_code = True, 130
        raise RuntimeError("Read error: Connection reset by peer")

    monkeypatch.setattr("kaitoc.runtime.launch.run._train", lose_a_peer)
    with pytest.raises(Stopped, match="before its checkpoint was saved; nothing was saved") as caught:
        run_plan(make_plan().model_copy(update={"num_processes": 2}), OPTIONS)
    assert caught.value.exit_code == 130
