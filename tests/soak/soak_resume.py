"""Interrupt runs at random steps, and some after their last; each must end as a run that was left alone.

Twenty-one times with each of SIGKILL, SIGTERM and SIGINT, with one process and with two. SIGKILL takes one process, as
the kernel does that runs out of memory; the others go to all, as a launcher or a terminal sends them.

Usage: python tests/soak/soak_resume.py [SEED [NUM_PROCESSES SIGNAL]], for one of the six, say `7 2 SIGTERM`
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

from child_runs import ChildRun, run_ranks, start_ranks  # noqa: E402  (after the path)
from short_plan import short_plan  # noqa: E402

from kaitoc.compiler.plan.plan import Plan  # noqa: E402
from kaitoc.runtime.output.checkpoints import checkpoints, is_whole  # noqa: E402

NUM_SIGNALS = 21
NUM_STEPS = 250
"""More than 21 runs come to that are asked to stop: each takes some steps before it hears of it."""
TRAINING = {
    "max_steps": NUM_STEPS, "gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2,
    "save_total_limit": 2,
}  # fmt: skip
EXIT_CODES = {signal.SIGKILL: {0, -9}, signal.SIGTERM: {0, -15, 143}, signal.SIGINT: {0, 130}}
"""What a process ends with that gets a signal: 0 when it was done; by SIGTERM itself before the first step."""
LOST_PEER = 1
GRACE_SECONDS = 15
NOTES = ("notes.txt", "checkpoints/notes.txt", "checkpoints/mine/notes.txt")


def main() -> None:
    """Run, interrupt, resume and compare."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 32)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data.jsonl"
        data.write_text("".join(f'{{"text": "Rule {row} finds {"a key. " * (1 + row % 5)}"}}\n' for row in range(80)))
        _save_model(folder / "model")
        for num_processes in (1, 2) if len(sys.argv) < 4 else (int(sys.argv[2]),):
            alone = _plan(folder, f"alone-{num_processes}", num_processes)
            _require(_codes(run_ranks(alone, folder / "alone")) == {0}, seed, "the run that was left alone failed")
            for number in EXIT_CODES if len(sys.argv) < 4 else (signal.Signals[sys.argv[3]],):
                plan = _plan(folder, f"{number.name}-{num_processes}", num_processes)
                num_signals = _interrupt(plan, folder / "interrupted", number, chance, seed)
                _require(_losses(plan) == _losses(alone), seed, "the losses differ")
                _require(_weights(plan) == _weights(alone), seed, "the weights differ")
                for note in NOTES:
                    text = (Path(plan.output.path) / note).read_text()
                    _require(text == note, seed, f"{note} of the user's is not what it was")
                told = f"{num_processes} process(es), {num_signals} x {number.name} in {NUM_STEPS} steps, seed {seed}"
                print(f"{told}: same losses, same weights, the user's files untouched", flush=True)


def _interrupt(plan: Plan, folder: Path, number: signal.Signals, chance: random.Random, seed: int) -> int:
    """Run a plan to its end through interruptions, one of them after its last step; return their number."""
    output = Path(plan.output.path)
    num_signals = 0
    while num_signals < NUM_SIGNALS:
        is_last = num_signals == NUM_SIGNALS - 1
        runs = start_ranks(plan, folder, "--resume")
        step = NUM_STEPS if is_last else min(_last_step(plan) + chance.randint(0, 3), NUM_STEPS - 2)
        num_signals += _signal_after(runs, plan, step, number, chance)
        _end_survivors(runs)
        ended = [run.end() for run in runs]
        allowed = EXIT_CODES[number] | ({LOST_PEER, -9} if plan.num_processes > 1 else set())
        _require(_codes(ended) <= allowed, seed, f"{number.name}: {ended}")
        if is_last:
            break
        if (output / "plan.json").exists():  # before that, a run refuses a folder that holds checkpoints
            _add_notes(output)
        is_complete = (output / "fine_tuning_completed.txt").exists()
        is_done = _codes(ended) == {0}
        _require(is_done or not is_complete, seed, f"an interrupted run looks complete: {ended}")
        _require(not is_done, seed, f"{NUM_STEPS} steps were done after {num_signals} signals: it takes more")
    ended = run_ranks(plan, folder, "--resume")
    _require(_codes(ended) == {0}, seed, f"the run does not go on after {number.name}: {ended}")
    _require(all(map(is_whole, checkpoints(output / "checkpoints"))), seed, "a checkpoint is damaged")
    return num_signals


def _end_survivors(runs: list[ChildRun]) -> None:
    """End what outlives a process of its run, as a launcher does: before they have met, the others wait for it."""
    while all(run.is_alive() for run in runs):
        time.sleep(0.01)
    end = time.monotonic() + GRACE_SECONDS
    while any(run.is_alive() for run in runs) and time.monotonic() < end:
        time.sleep(0.01)
    for run in runs:
        if run.is_alive():
            with suppress(ProcessLookupError):  # it ended in the meantime
                run.send_signal(signal.SIGKILL)


def _add_notes(output: Path) -> None:
    """Put files of the user's among those of the run."""
    for note in NOTES:
        (output / note).parent.mkdir(parents=True, exist_ok=True)
        if not (output / note).exists():
            (output / note).write_text(note)


def _signal_after(runs: list[ChildRun], plan: Plan, step: int, number: signal.Signals, chance: random.Random) -> bool:
    """Send a signal a moment after a step was logged; return whether the runs still were there to get it."""
    while all(run.is_alive() for run in runs):
        if _last_step(plan) >= step and all(run.has_started() for run in runs):
            time.sleep(0.0 if step == NUM_STEPS else chance.random() / 10)
            for run in [chance.choice(runs)] if number == signal.SIGKILL else runs:
                with suppress(ProcessLookupError):  # it ended in the meantime
                    run.send_signal(number)
            return True
        time.sleep(0.005)
    return False


def _plan(folder: Path, name: str, num_processes: int) -> Plan:
    """A run that draws random numbers, for dropout and shuffling."""
    plan = short_plan(
        folder / "model", folder / "data.jsonl", folder / name, lora={"lora_dropout": 0.1}, training=TRAINING,
        data={"max_length": 48},
    )  # fmt: skip
    return plan.model_copy(update={"num_processes": num_processes})


def _save_model(folder: Path) -> None:
    from build_tiny_model import build_tokenizer
    from tiny_phi3 import save_tiny_phi3

    save_tiny_phi3(folder, build_tokenizer())


def _codes(ended: list[Any]) -> set[int]:
    return {one.returncode for one in ended}


def _losses(plan: Plan) -> list[tuple[int, float]]:
    """The steps that were logged and their losses, as far as whole lines go."""
    path = Path(plan.output.path) / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines) if "loss" in entry]


def _last_step(plan: Plan) -> int:
    return max((step for step, _ in _losses(plan)), default=0)


def _weights(plan: Plan) -> bytes:
    return (Path(plan.output.path) / "adapter" / "adapter_model.safetensors").read_bytes()


def _require(holds: bool, seed: int, otherwise: str) -> None:
    """Stop with a message unless something holds."""
    if not holds:
        sys.exit(f"seed {seed}: {otherwise}")


if __name__ == "__main__":
    main()
