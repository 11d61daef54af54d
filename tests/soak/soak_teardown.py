"""Train a sharded model in 4 bit with two processes a hundred times; every process must end with 0.

The processes are forked from one that imported the libraries, but end as a command does, by the interpreter's
finalization: there gloo's threads used to abort one in about fifteen.

Usage: python tests/soak/soak_teardown.py [NUM_RUNS]
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

from child_runs import ENVIRONMENT  # noqa: E402  (after the path)
from short_plan import short_plan  # noqa: E402

import kaitoc.runtime.launch.run  # noqa: E402, F401  (what every run imports)
from kaitoc.compiler.plan.plan import Plan  # noqa: E402
from kaitoc.runtime.__main__ import main  # noqa: E402
from kaitoc.runtime.world import leave  # noqa: E402

NUM_RUNS = 100
SHARDED_4_BIT = {"method": "nf4", "compute_dtype": "float32", "kbit_prep": False}
TRAINING = {"max_steps": 2, "save_strategy": "steps", "save_steps": 2}


def soak() -> int:
    """Run and return 1 once a process ended otherwise."""
    os.environ.update(ENVIRONMENT)
    num_runs = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_RUNS
    folder = Path(tempfile.mkdtemp())  # as a context, its children would remove it when they end
    # What starts threads does so in a process of its own: one that has some cannot be forked safely.
    saving = get_context("spawn").Process(target=_save_model, args=(folder / "model",))
    saving.start()
    saving.join()
    (folder / "rows.jsonl").write_text('{"text": "one two three"}\n' * 24, encoding="utf-8")
    for number in range(num_runs):
        output = folder / f"run-{number}"
        plan = short_plan(
            folder / "model", folder / "rows.jsonl", output, quantization=SHARDED_4_BIT, training=TRAINING
        ).model_copy(update={"num_processes": 2, "sharding": "fsdp2"})
        codes = _run(plan, folder / "plan.json", folder / "errors")
        if codes != [0, 0] or not (output / "fine_tuning_completed.txt").exists():
            sys.stderr.write(f"run {number}: {codes}\n{(folder / 'errors').read_text()}\n")
            return 1
    shutil.rmtree(folder)
    sys.stdout.write(f"{num_runs} sharded runs of two processes: all ended with 0\n")
    return 0


def _save_model(folder: Path) -> None:
    from build_tiny_model import build_tokenizer
    from tiny_phi3 import save_tiny_phi3

    save_tiny_phi3(folder, build_tokenizer())


def _run(plan: Plan, file: Path, errors: Path) -> list[int]:
    """Run a plan in two processes and return their exit codes."""
    file.write_text(plan.to_json(), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [_fork(file, errors, rank, port) for rank in range(plan.num_processes)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _fork(file: Path, errors: Path, rank: int, port: int) -> int:
    """Start a process of a run and return its id."""
    child = os.fork()
    if child != 0:
        return child
    os.environ.update(
        WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(rank),
    )  # fmt: skip
    for stream in (1, 2):
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = ["kaitoc.runtime", str(file), "--device", "cpu"]
    leave(main())


if __name__ == "__main__":
    sys.exit(soak())
