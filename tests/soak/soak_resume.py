"""Kill a run twenty times at random steps and once after its last; it must end as a run that was left alone.

Usage: python tests/soak/soak_resume.py [SEED]
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

import interrupted_runs as runs  # noqa: E402  (after the path)
from build_tiny_model import build_tokenizer  # noqa: E402
from tiny_phi3 import save_tiny_phi3  # noqa: E402

from kaitoc.runtime.output.checkpoints import checkpoints, is_whole  # noqa: E402

NUM_KILLS = 20
NUM_STEPS = 100


def main() -> None:
    """Run, kill, resume and compare."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(1 << 32)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tiny_phi3(folder / "model", build_tokenizer())
        data = folder / "data.jsonl"
        data.write_text("".join(f'{{"text": "Rule {row} finds {"a key. " * (1 + row % 5)}"}}\n' for row in range(80)))
        alone, killed = (
            runs.plan(folder / "model", data, folder / kind, max_steps=NUM_STEPS) for kind in ("alone", "killed")
        )
        require(runs.finish(runs.start(alone))[0] == 0, seed, "the run that was left alone failed")
        num_kills = 0
        while num_kills < NUM_KILLS:
            process = runs.start(killed, resume=num_kills > 0)
            step = min(runs.last_step(killed) + chance.randint(0, 3), NUM_STEPS - 2)
            if not runs.signal_after(process, killed, step, signal.SIGKILL, chance.random() / 10):
                break
            runs.finish(process)
            num_kills += 1
            require(not (folder / "killed" / "fine_tuning_completed.txt").exists(), seed, "a killed run looks complete")
        process = runs.start(killed, resume=True)
        if runs.signal_after(process, killed, NUM_STEPS, signal.SIGKILL, 0.0):
            num_kills += 1
        runs.finish(process)
        code, errors = runs.finish(runs.start(killed, resume=True))
        require(code == 0, seed, errors)
        require(runs.losses(killed) == runs.losses(alone), seed, "the losses differ")
        require(runs.adapter_bytes(killed) == runs.adapter_bytes(alone), seed, "the weights differ")
        require(all(map(is_whole, checkpoints(folder / "killed" / "checkpoints"))), seed, "a checkpoint is damaged")
    sys.stdout.write(f"{num_kills} kills, {NUM_STEPS} steps, seed {seed}: same losses, same weights\n")


def require(holds: bool, seed: int, otherwise: str) -> None:
    """Stop with a message unless something holds."""
    if not holds:
        sys.exit(f"seed {seed}: {otherwise}")


if __name__ == "__main__":
    main()
