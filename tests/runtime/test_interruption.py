"""What a run leaves behind when it is stopped or killed, and that it goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

pytest.importorskip("torch")

import interrupted_runs as runs

from kaitoc.runtime.checkpoints import checkpoints, is_whole

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
NUM_KILLS = 2


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[int, float]]]:
    """The weights and losses of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    plan = runs.plan(tiny_model, data(folder), folder / "results")
    code, errors = runs.finish(runs.start(plan))
    assert code == 0, errors
    return runs.adapter_bytes(plan), runs.losses(plan)


def data(folder: Path) -> Path:
    path = folder / "data.jsonl"
    path.write_text(
        "".join(f'{{"text": "Rule {number} finds {"a wrong key. " * (1 + number % 3)}"}}\n' for number in range(40))
    )
    return path


def test_a_killed_run_goes_on_to_the_same_weights_and_losses(
    tiny_model: Path, tmp_path: Path, uninterrupted: tuple[bytes, list[tuple[int, float]]]
) -> None:
    plan = runs.plan(tiny_model, data(tmp_path), tmp_path / "results")
    chance = random.Random(0)
    for kill in range(NUM_KILLS):
        process = runs.start(plan, resume=kill > 0)
        step = min(runs.last_step(plan) + chance.randint(1, 4), runs.NUM_STEPS - 1)
        assert runs.signal_after(process, plan, step, signal.SIGKILL, chance.random() / 20)
        runs.finish(process)
        assert not (tmp_path / "results" / "fine_tuning_completed.txt").exists()

    code, errors = runs.finish(runs.start(plan, resume=True))

    weights, losses = uninterrupted
    assert code == 0, errors
    assert runs.losses(plan) == losses
    assert runs.adapter_bytes(plan) == weights
    assert all(map(is_whole, checkpoints(tmp_path / "results" / "checkpoints")))


def test_sigterm_saves_a_checkpoint_and_exits_143(
    tiny_model: Path, tmp_path: Path, uninterrupted: tuple[bytes, list[tuple[int, float]]]
) -> None:
    plan = runs.plan(tiny_model, data(tmp_path), tmp_path / "results", save_strategy="no")
    process = runs.start(plan)
    assert runs.signal_after(process, plan, 3, signal.SIGTERM, 0.0)

    code, errors = runs.finish(process)

    assert code == 143
    assert "--resume" in errors
    assert "Traceback" not in errors
    (checkpoint,) = checkpoints(tmp_path / "results" / "checkpoints")
    assert is_whole(checkpoint)

    code, errors = runs.finish(runs.start(plan, resume=True))

    assert code == 0, errors
    assert runs.adapter_bytes(plan) == uninterrupted[0]
